import { accountOf, createRoutes, ok, pathTail, readBody, type Api, type ApiContext } from "#http/app.ts";
import { failure } from "#http/envelope.ts";
import type { WireResponse } from "#http/wire/server.ts";
import type { GatewayCall, Wanted } from "#products/ai-gateway/call.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { runLocally } from "#products/ai-gateway/local/run.ts";
import { parseJson } from "#products/ai-gateway/meter.ts";
import type { Pipeline } from "#products/ai-gateway/pipeline.ts";
import { limits } from "#products/ai-gateway/schema.ts";
import { isObject } from "#products/ai-gateway/usage.ts";

/**
 * Below `/accounts/:account_id/ai`: models by one address and the API's own token
 * (https://developers.cloudflare.com/ai-gateway/usage/rest-api/). The providers' keys are the gateway's, which `cf-aig-gateway-id`
 * names; without it the one named `default`.
 */
export function aiRestRoutes(pipeline: Pipeline): Api {
  const app = createRoutes();
  const ask = (c: ApiContext, asked: Asked) => pipeline(callOf(c, asked));
  app.post("/v1/chat/completions", async (c) => {
    const body = await chatOf(c);
    return asResponse(await ask(c, { wanted: { kind: "compat", path: "chat/completions" }, body }));
  });
  for (const path of ["v1/responses", "v1/messages"])
    app.post(`/${path}`, async (c) => {
      const { model, ...body } = await chatOf(c);
      const slash = model.indexOf("/");
      if (slash < 1) throw gatewayErrors.invalid('model must be "<author>/<model>"');
      const wanted: Wanted = { kind: "native", provider: model.slice(0, slash), rest: path };
      return asResponse(await ask(c, { wanted, body: { ...body, model: model.slice(slash + 1) } }));
    });
  app.post("/run", async (c) => {
    const { model, input } = await chatOf(c);
    if (model.startsWith("@")) return asLocal(c, model, input);
    if (!isObject(input)) throw gatewayErrors.invalid("input must be an object");
    const answer = await ask(c, { wanted: { kind: "compat", path: "chat/completions" }, body: { ...input, model } });
    if (input["stream"] === true && answer.status < 400) return asResponse(answer);
    const told = parseJson(await asResponse(answer).text());
    if (answer.status < 400) return ok(c, told);
    const message = isObject(told) && typeof told["message"] === "string" ? told["message"] : JSON.stringify(told);
    const code = isObject(told) && typeof told["internalCode"] === "number" ? told["internalCode"] : answer.status;
    return Response.json(failure([{ code, message }]), { status: answer.status });
  });
  // Workers AI's own address, with the model in the path.
  app.post("/run/*", async (c) => {
    const bytes = await readBody(c.req.raw, limits.requestBytes);
    return asLocal(c, pathTail(c, "/ai/run/"), parseJson(Buffer.from(bytes).toString()));
  });
  return app;
}

function asLocal(c: ApiContext, model: string, input: unknown): Response {
  const answer = runLocally(model, input);
  if ("json" in answer) return ok(c, answer.json);
  return new Response(answer.events.join(""), { headers: { "content-type": "text/event-stream" } });
}

type Chat = Record<string, unknown> & { model: string };

async function chatOf(c: ApiContext): Promise<Chat> {
  const body = parseJson(Buffer.from(await readBody(c.req.raw, limits.requestBytes)).toString());
  if (!isObject(body) || typeof body["model"] !== "string")
    throw gatewayErrors.invalid("the body must be JSON with a model");
  return { ...body, model: body["model"] };
}

type Asked = { wanted: Wanted; body: object };

function callOf(c: ApiContext, { wanted, body }: Asked): GatewayCall {
  const headers = new Map([...c.req.raw.headers, ["content-type", "application/json"]]);
  // Anthropic's SDK says which version it speaks; others need not know that there are any.
  const isAnthropic = wanted.kind === "native" && wanted.rest === "v1/messages";
  if (isAnthropic && !headers.has("anthropic-version")) headers.set("anthropic-version", "2023-06-01");
  return {
    accountId: accountOf(c),
    gatewayId: c.req.header("cf-aig-gateway-id") ?? "default",
    wanted,
    method: "POST",
    headers,
    body: Buffer.from(JSON.stringify(body)),
    signal: c.req.raw.signal,
    // The guards of the API have looked at the token, and kept it.
    trusted: true,
    workerId: null,
  };
}

function asResponse({ status, headers = {}, body = "" }: WireResponse): Response {
  const isWhole = typeof body === "string" || body instanceof Uint8Array;
  return new Response(isWhole ? Buffer.from(body as Uint8Array) : ReadableStream.from(body), { status, headers });
}
