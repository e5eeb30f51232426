import { forwardedHeaders, type CallOptions, type GatewayCall } from "#products/ai-gateway/call.ts";
import type { DynamicRoutes } from "#products/ai-gateway/dynamic-routes.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { parseJson } from "#products/ai-gateway/meter.ts";
import { toMessages } from "#products/ai-gateway/providers/anthropic-chat.ts";
import type { RateLimiter } from "#products/ai-gateway/rate-limiter.ts";
import { modelsOf, type RouteLimit, type RouteModel } from "#products/ai-gateway/route-graph.ts";
import { limits, type Gateway } from "#products/ai-gateway/schema.ts";
import type { SpendStore } from "#products/ai-gateway/spend.ts";
import type { SpendBucket } from "#products/ai-gateway/spend-writes.ts";
import { findProvider, type Registry, type Step } from "#products/ai-gateway/targets.ts";
import { isObject } from "#products/ai-gateway/usage.ts";

export type ChatParts = {
  gateway: Gateway;
  options: CallOptions;
  registry: Registry;
  routes: DynamicRoutes;
  rates: RateLimiter;
  spend: SpendStore;
};

/** OpenAI's chat completions: for the provider before the slash in `model`, or by the dynamic route after it. */
export function chatSteps(call: GatewayCall, parts: ChatParts): { steps: Step[]; route: string | null } {
  if (call.wanted.kind !== "compat" || call.wanted.path !== "chat/completions")
    throw gatewayErrors.invalid("compat answers at /compat/chat/completions");
  const body = parseJson(call.body.toString());
  const name = isObject(body) && typeof body["model"] === "string" ? body["model"] : "";
  const slash = name.indexOf("/");
  if (!isObject(body) || slash < 1)
    throw gatewayErrors.invalid('model must be "<provider>/<model>" or "dynamic/<route>"');
  const [provider, model] = [name.slice(0, slash), name.slice(slash + 1)];
  const asked = { call, body, parts };
  if (provider !== "dynamic") {
    const headers = forwardedHeaders(call.headers);
    return { steps: [chatStep({ ...asked, provider, model, step: 0, headers })], route: null };
  }
  const models = routeModels(call, body, model, parts);
  if (models.length === 0) throw gatewayErrors.noRoute(model);
  return { steps: models.map((one, step) => routeStep(asked, one, step)), route: model };
}

/** A step of the universal endpoint that names `compat` as its provider: the provider before the slash is meant. */
export function compatStep(step: Step, call: GatewayCall, parts: ChatParts): Step {
  const body = parseJson(step.body.toString());
  const name = isObject(body) && typeof body["model"] === "string" ? body["model"] : "";
  const slash = name.indexOf("/");
  if (step.rest.replace(/^\/+/, "") !== "chat/completions" || !isObject(body) || slash < 1)
    throw gatewayErrors.invalid(`step ${step.step}: compat answers at chat/completions, for "<provider>/<model>"`);
  const [provider, model] = [name.slice(0, slash), name.slice(slash + 1)];
  const planned = chatStep({ call, body, parts, provider, model, step: step.step, headers: step.headers });
  return { ...planned, retry: step.retry };
}

type Asked = { call: GatewayCall; body: Record<string, unknown>; parts: ChatParts };

function routeModels(call: GatewayCall, body: Record<string, unknown>, route: string, parts: ChatParts): RouteModel[] {
  const { gateway, options, routes, rates, spend } = parts;
  const elements = routes.elements(gateway, route);
  if (!elements) throw gatewayErrors.noRoute(route);
  return modelsOf(elements, {
    values: { metadata: options.metadata, headers: Object.fromEntries(forwardedHeaders(call.headers)), body },
    chance: Math.random() * 100,
    takesCount: (limit) =>
      rates.takes(keyOf(gateway, limit), { limit: limit.limit, windowMs: limit.windowSeconds * 1000, sliding: false }),
    hasMoney: (limit) => spend.hasRoom(bucketOf(gateway, limit)),
  });
}

/** A route says which providers are asked, so their stored keys go before the caller's. */
function routeStep({ call, body, parts }: Asked, model: RouteModel, step: number): Step {
  const { gateway, options, registry } = parts;
  const headers = forwardedHeaders(call.headers);
  const { slug } = findProvider(model.provider, gateway.accountId, registry);
  if (registry.storedKey(gateway, slug, options.keyAlias) !== undefined) headers.delete("authorization");
  const planned = chatStep({ call, body, parts, provider: model.provider, model: model.model, step, headers });
  const retry = {
    maxAttempts: Math.min(model.retries + 1, limits.attempts),
    ...(model.timeoutMs > 0 ? { requestTimeoutMs: model.timeoutMs } : {}),
  };
  const buckets = model.costLimits.map((limit) => bucketOf(gateway, limit));
  return { ...planned, retry: { ...options, ...retry }, buckets };
}

function chatStep(
  asked: Asked & { provider: string; model: string; step: number; headers: Map<string, string> },
): Step {
  const { body, parts, provider: name, model, step, headers } = asked;
  const { provider } = findProvider(name, parts.gateway.accountId, parts.registry);
  if (provider.wire === "anthropic") return anthropicStep(asked);
  if (provider.chat === undefined) throw gatewayErrors.invalid(`${name} has no chat completions`);
  const sent = Buffer.from(JSON.stringify({ ...body, model }));
  return {
    step,
    provider: name,
    rest: provider.chat,
    method: "POST",
    headers,
    body: sent,
    retry: parts.options,
    buckets: [],
  };
}

/** Anthropic has messages of its own: the request is put into its words, and its answer back into OpenAI's. */
function anthropicStep({ body, parts, provider, model, step, headers }: Parameters<typeof chatStep>[0]): Step {
  const key = /^Bearer (sk-.+)$/i.exec(headers.get("authorization") ?? "")?.[1];
  if (key !== undefined) {
    headers.delete("authorization");
    headers.set("x-api-key", key);
  }
  if (!headers.has("anthropic-version")) headers.set("anthropic-version", "2023-06-01");
  const options = body["stream_options"];
  return {
    step,
    provider,
    rest: "v1/messages",
    method: "POST",
    headers,
    body: Buffer.from(JSON.stringify(toMessages({ ...body, model }))),
    retry: parts.options,
    buckets: [],
    chat: { withUsage: isObject(options) && options["include_usage"] === true },
  };
}

function keyOf({ accountId, id, createdAt }: Gateway, { elementId, key, windowSeconds }: RouteLimit): string {
  return JSON.stringify(["route", accountId, id, createdAt, elementId, key, windowSeconds]);
}

function bucketOf(gateway: Gateway, limit: RouteLimit): SpendBucket {
  return {
    key: keyOf(gateway, limit),
    about: `route element '${limit.elementId}' (cost limit ${limit.limit} per ${limit.windowSeconds}s)`,
    limitNano: Math.round(limit.limit * 1e9),
    windowMs: limit.windowSeconds * 1000,
    sliding: false,
  };
}
