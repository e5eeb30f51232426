import { bindHeader, externalService, type BindingPiece } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { ApiError } from "#core/errors.ts";
import { failure, success } from "#http/envelope.ts";
import type { WireHandler, WireRequest, WireResponse } from "#http/wire/server.ts";
import type { GatewayCall, Wanted } from "#products/ai-gateway/call.ts";
import { gatewayErrorBody, gatewayErrors } from "#products/ai-gateway/errors.ts";
import { logDetailJson } from "#products/ai-gateway/log-json.ts";
import { runLocally } from "#products/ai-gateway/local/run.ts";
import { parseJson } from "#products/ai-gateway/meter.ts";
import type { Pipeline } from "#products/ai-gateway/pipeline.ts";
import { headersOf, readBody } from "#products/ai-gateway/public.ts";
import type { RoutesParts } from "#products/ai-gateway/routes.ts";
import { logChange } from "#products/ai-gateway/schema.ts";
import { isObject } from "#products/ai-gateway/usage.ts";

const kind = "ai";

/** Bytes of a provider's error that are read, to be told in the binding's words. */
const errorBytes = 64 * 1024;
const patchBytes = 64 * 1024;

/** What an AI binding adds to a version's configuration: workerd's own class, and the way here. */
export function aiPiece(options: {
  name: string;
  accountId: string;
  workerId: string;
  /** Path of the Worker's own socket to the AI process. */
  socket: string;
  capabilityKey: Buffer;
}): BindingPiece {
  const { name, accountId, workerId, socket, capabilityKey } = options;
  const service = `ai:${name}`;
  const capability = signCapability(capabilityKey, { kind, scope: workerId, resource: accountId });
  const inner = [{ name: "fetcher", service }];
  return {
    bindings: [{ name, wrapped: { moduleName: "cloudflare-internal:ai-api", innerBindings: inner } }],
    services: [externalService({ name: service, socket, capability })],
  };
}

type BindingParts = RoutesParts & {
  pipeline: Pipeline;
  workerId: string;
  reader: (token: string | undefined, kind: string) => string | undefined;
};

/**
 * Answers what workerd's AI binding asks (workerd-runtime §1; workerd's `src/cloudflare/internal/ai-api.ts` and `aig-api.ts`).
 * The account is what the capability names, whatever the request says.
 */
export function aiBindingHandler(parts: BindingParts): WireHandler {
  return async (request) => {
    const accountId = parts.reader(request.header(bindHeader), kind);
    if (accountId === undefined) return { status: 403, reason: "Forbidden" };
    try {
      return await answer(parts, accountId, request);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // `gateway()` reads `errors`, `run()` the other members.
      const body = { ...(parseJson(gatewayErrorBody(error)) as object), ...failure(error.entries) };
      return { status: error.status, headers: jsonType, body: JSON.stringify(body) };
    }
  };
}

/** The binding parses an answer when it is of exactly this type. */
const jsonType = { "content-type": "application/json" };

async function answer(parts: BindingParts, accountId: string, request: WireRequest): Promise<WireResponse> {
  const [path = ""] = request.target.split("?");
  if (request.method === "POST" && (path === "/run" || path === "/ai-gateway/run"))
    return run(parts, accountId, request);
  if (request.method === "GET" && path === "/ai-api/models/search") return result([]);
  const [, area, gateways, gatewayId = "", what = "", id = ""] = path.split("/");
  if (area === "ai-gateway" && gateways === "universal" && gatewayId === "run" && request.method === "POST")
    return universal(parts, { accountId, gatewayId: what }, request);
  if (area === "ai-gateway" && gateways === "gateways") {
    if (what === "url") return result({ url: parts.urlOf(accountId, gatewayId, id === "universal" ? undefined : id) });
    if (what === "logs") return log(parts, { accountId, gatewayId, id }, request);
  }
  throw gatewayErrors.notHere(path);
}

async function universal(
  { pipeline, workerId }: BindingParts,
  place: { accountId: string; gatewayId: string },
  request: WireRequest,
): Promise<WireResponse> {
  return pipeline(await callOf(request, { ...place, wanted: { kind: "universal" }, workerId }));
}

async function callOf(
  request: WireRequest,
  place: { accountId: string; gatewayId: string; wanted: Wanted; workerId: string },
): Promise<GatewayCall> {
  const body = await readBody(request);
  if (body instanceof ApiError) throw body;
  return { ...place, method: "POST", headers: headersOf(request), body, signal: request.signal, trusted: true };
}

/** `env.AI.run(model, inputs)`: our own answer for Cloudflare's models, else OpenAI's chat for the provider that the model's name begins with. */
async function run(
  { pipeline, workerId }: BindingParts,
  accountId: string,
  request: WireRequest,
): Promise<WireResponse> {
  const model = (request.header("cf-consn-model-id") ?? "").replace(/^[^/]*:/, "");
  const given = await callOf(request, { accountId, gatewayId: "default", wanted: chat, workerId });
  const asked = parseJson(given.body.toString());
  const { inputs, options } = isObject(asked) ? asked : {};
  if (!isObject(inputs)) throw gatewayErrors.invalid("inputs must be an object");
  if (model.startsWith("@")) return localResponse(model, inputs);
  const gateway = isObject(options) && isObject(options["gateway"]) ? options["gateway"] : {};
  const headers = new Map([...given.headers, ...optionHeaders(gateway)]);
  const gatewayId = typeof gateway["id"] === "string" ? gateway["id"] : "default";
  const body = Buffer.from(JSON.stringify({ ...inputs, model }));
  const response = await pipeline({ ...given, gatewayId, headers, body });
  if (response.status >= 400) return inBindingsWords(response);
  const type = response.headers?.["content-type"] ?? "";
  return type.startsWith("application/json")
    ? { ...response, headers: { ...response.headers, ...jsonType } }
    : response;
}

function localResponse(model: string, inputs: unknown): WireResponse {
  const told = runLocally(model, inputs);
  if ("json" in told) return { status: 200, headers: jsonType, body: JSON.stringify(told.json) };
  return { status: 200, headers: { "content-type": "text/event-stream" }, body: told.events.join("") };
}

const chat: Wanted = { kind: "compat", path: "chat/completions" };

const optionNames: Record<string, string> = {
  cacheKey: "cf-aig-cache-key",
  cacheTtl: "cf-aig-cache-ttl",
  skipCache: "cf-aig-skip-cache",
  metadata: "cf-aig-metadata",
  collectLog: "cf-aig-collect-log",
  eventId: "cf-aig-event-id",
  requestTimeoutMs: "cf-aig-request-timeout",
};
const retryNames: Record<string, string> = {
  maxAttempts: "cf-aig-max-attempts",
  retryDelayMs: "cf-aig-retry-delay",
  backoff: "cf-aig-backoff",
};

/** The binding's options as the headers that say the same. */
function optionHeaders(options: Record<string, unknown>): [string, string][] {
  const { retries } = options;
  return [...namedHeaders(options, optionNames), ...(isObject(retries) ? namedHeaders(retries, retryNames) : [])];
}

function namedHeaders(options: Record<string, unknown>, names: Record<string, string>): [string, string][] {
  return Object.entries(names).flatMap(([name, header]): [string, string][] => {
    const value = options[name];
    if (value === undefined || value === null) return [];
    return [[header, typeof value === "string" ? value : JSON.stringify(value)]];
  });
}

/** A provider's error as the binding throws it: `<code>: <description>`. */
async function inBindingsWords(response: WireResponse): Promise<WireResponse> {
  const { body = "", length: _, ...rest } = response;
  let text = "";
  if (typeof body === "string" || body instanceof Uint8Array) text = Buffer.from(body as Uint8Array).toString();
  else
    for await (const piece of body) {
      text += Buffer.from(piece).toString();
      if (text.length > errorBytes) break;
    }
  const own = parseJson(text);
  if (isObject(own) && own["internalCode"] !== undefined) return { ...rest, body: text };
  const told = { internalCode: response.status, name: "InferenceUpstreamError", description: text, message: text };
  return { ...rest, headers: { ...rest.headers, ...jsonType }, body: JSON.stringify(told) };
}

async function log(
  { logs }: BindingParts,
  place: { accountId: string; gatewayId: string; id: string },
  request: WireRequest,
): Promise<WireResponse> {
  if (request.method === "PATCH") {
    const change = logChange.safeParse(parseJson((await request.bytes(patchBytes)).toString()));
    if (!change.success) throw gatewayErrors.invalid("feedback, score or metadata is not valid");
    await logs.change(place, change.data);
  }
  return result(logDetailJson(await logs.get(place)));
}

function result(value: unknown): WireResponse {
  return { status: 200, headers: jsonType, body: JSON.stringify(success(value)) };
}
