import { createHash } from "node:crypto";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { parseJson } from "#products/ai-gateway/meter.ts";
import type { CustomCost } from "#products/ai-gateway/price.ts";
import { limits, type Gateway, type Metadata } from "#products/ai-gateway/schema.ts";
import { isObject } from "#products/ai-gateway/usage.ts";

/** What a request asks for, by its path: a provider's own API, a list of steps, or OpenAI's chat for any provider. */
export type Wanted =
  | { kind: "native"; provider: string; rest: string }
  | { kind: "universal" }
  | { kind: "compat"; path: string };

/** One request to a gateway, from whichever door. */
export type GatewayCall = {
  accountId: string;
  gatewayId: string;
  wanted: Wanted;
  method: string;
  /** Names in lower case. */
  headers: ReadonlyMap<string, string>;
  body: Buffer;
  /** Aborts when whoever asks has left. */
  signal: AbortSignal;
  /** Comes from a binding, whose capability says for which account: needs no token. */
  trusted: boolean;
  workerId: string | null;
};

export type Backoff = "constant" | "linear" | "exponential";

export type RetryOptions = {
  requestTimeoutMs?: number;
  maxAttempts?: number;
  retryDelayMs?: number;
  backoff?: Backoff;
};

/** The `cf-aig-*` headers of a request. */
export type CallOptions = RetryOptions & {
  /** Seconds. */
  cacheTtl: number | undefined;
  skipCache: boolean;
  cacheKey: string | undefined;
  collectLog: boolean | undefined;
  collectPayload: boolean;
  metadata: Metadata;
  customCost: CustomCost | undefined;
  eventId: string | null;
  keyAlias: string;
};

type Header = (name: string) => string | undefined;

/** `/v1/<account>/<gateway>/…` → who and what; undefined for other paths. */
export function parseTarget(target: string): { accountId: string; gatewayId: string; wanted: Wanted } | undefined {
  const found = /^\/v1\/([0-9a-f]{32})\/([a-zA-Z0-9_-]{1,64})(?:\/([^?]*))?(\?.*)?$/.exec(target);
  if (!found) return undefined;
  const [, accountId = "", gatewayId = "", path = "", query = ""] = found;
  return { accountId, gatewayId, wanted: wantedOf(path, query) };
}

function wantedOf(path: string, query: string): Wanted {
  if (path === "" || path === "universal") return { kind: "universal" };
  const slash = path.indexOf("/");
  const provider = slash < 0 ? path : path.slice(0, slash);
  const rest = slash < 0 ? "" : path.slice(slash + 1);
  if (provider === "compat") return { kind: "compat", path: rest };
  return { kind: "native", provider, rest: rest + query };
}

export function readOptions(header: Header): CallOptions {
  const cacheTtl = seconds(header("cf-aig-cache-ttl") ?? header("cf-cache-ttl"));
  return {
    ...readRetryOptions(header),
    cacheTtl,
    skipCache: (header("cf-aig-skip-cache") ?? header("cf-skip-cache")) === "true",
    cacheKey: header("cf-aig-cache-key"),
    collectLog: boolean(header("cf-aig-collect-log")),
    collectPayload: header("cf-aig-collect-log-payload") !== "false",
    metadata: readMetadata(header("cf-aig-metadata")),
    customCost: readCustomCost(header("cf-aig-custom-cost")),
    eventId: header("cf-aig-event-id") ?? null,
    keyAlias: header("cf-aig-byok-alias") ?? "default",
  };
}

export function readRetryOptions(header: Header): RetryOptions {
  const timeout = count(header("cf-aig-request-timeout"));
  const attempts = count(header("cf-aig-max-attempts"));
  const delay = count(header("cf-aig-retry-delay"));
  const backoff = header("cf-aig-backoff");
  return {
    ...(timeout === undefined || timeout === 0 ? {} : { requestTimeoutMs: timeout }),
    ...(attempts === undefined ? {} : { maxAttempts: Math.min(Math.max(1, attempts), limits.attempts) }),
    ...(delay === undefined ? {} : { retryDelayMs: Math.min(delay, limits.retryDelayMsMax) }),
    ...(backoff === "constant" || backoff === "linear" || backoff === "exponential" ? { backoff } : {}),
  };
}

/** What a gateway says of retries, where a request does not. */
export function retrySettings({ settings }: Gateway): RetryOptions {
  const { retry_max_attempts: maxAttempts, retry_delay: retryDelayMs, retry_backoff: backoff } = settings;
  return {
    ...(maxAttempts == null ? {} : { maxAttempts }),
    ...(retryDelayMs == null ? {} : { retryDelayMs }),
    ...(backoff == null ? {} : { backoff }),
  };
}

/** Whole numbers of a header; anything else is as if it were not there. */
function count(text: string | undefined): number | undefined {
  return text !== undefined && /^[0-9]{1,9}$/.test(text.trim()) ? Number(text) : undefined;
}

function seconds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ttl = count(text);
  if (ttl === undefined || ttl > limits.cacheTtlSecondsMax || (ttl > 0 && ttl < limits.cacheTtlSecondsMin))
    throw gatewayErrors.invalid(
      `cf-aig-cache-ttl is 0 or from ${limits.cacheTtlSecondsMin} to ${limits.cacheTtlSecondsMax} seconds`,
    );
  return ttl;
}

function boolean(text: string | undefined): boolean | undefined {
  return text === "true" ? true : text === "false" ? false : undefined;
}

/** Cloudflare forgets all of it for one nested value; here only that entry is left out. */
function readMetadata(text: string | undefined): Metadata {
  const given = text === undefined ? undefined : parseJson(text);
  if (!isObject(given)) return {};
  const entries = Object.entries(given).filter(
    (entry): entry is [string, string | number | boolean] =>
      ["string", "number", "boolean"].includes(typeof entry[1]) && !entry[0].startsWith("cf."),
  );
  return Object.fromEntries(entries.slice(0, limits.metadataEntries));
}

const costMembers = [
  "per_token_in",
  "per_token_out",
  "per_cache_read_token",
  "per_cache_write_token",
  "total_cost",
] as const;

function readCustomCost(text: string | undefined): CustomCost | undefined {
  if (text === undefined) return undefined;
  const given = parseJson(text);
  const cost: CustomCost = {};
  for (const name of costMembers) {
    const value = isObject(given) ? given[name] : undefined;
    if (typeof value === "number" && value >= 0 && value < 1e6) cost[name] = value;
  }
  if (Object.keys(cost).length === 0) throw gatewayErrors.invalid("cf-aig-custom-cost is not a JSON object of prices");
  return cost;
}

const hopByHop = new Set(
  `connection keep-alive te trailer transfer-encoding upgrade expect host content-length accept-encoding cookie forwarded via
   cdn-loop x-real-ip x-bind http2-settings`.split(/\s+/),
);
const privateHeader = /^(cf-|x-forwarded-|proxy-|x-solum-)/;

/** What of a caller's headers a provider gets: nothing of this hop, of ours, or about the caller's address. */
export function forwardedHeaders(headers: ReadonlyMap<string, string>): Map<string, string> {
  const named = new Set((headers.get("connection") ?? "").split(",").map((name) => name.trim().toLowerCase()));
  const kept = new Map<string, string>();
  for (const [name, value] of headers)
    if (!hopByHop.has(name) && !named.has(name) && !privateHeader.test(name)) kept.set(name, value);
  return kept;
}

const answerHeader =
  /^(content-type|content-encoding|content-disposition|cache-control|retry-after|retry-after-ms|location|request-id|x-request-id|anthropic-.*|openai-.*|x-ratelimit-.*|x-amzn-.*|x-goog-.*|x-should-retry|apim-request-id|x-ms-.*)$/;

/** What of a provider's headers the caller gets. Cookies are the provider's own affair, and framing is ours. */
export function passedHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => answerHeader.test(name)));
}

/** What a stored answer keeps of its headers: what it is, and nothing about the request that it answered. */
export function storedHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const kept = ["content-type", "content-encoding", "content-disposition"];
  return Object.fromEntries(kept.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])));
}

export function sha256(...parts: (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) {
    // Lengths keep two parts from passing for one.
    hash.update(`${part.length}:`);
    hash.update(part);
  }
  return hash.digest("hex");
}
