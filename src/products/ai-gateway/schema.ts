import { z } from "zod";

const mebibyte = 1024 * 1024;

/** Cloudflare's limits (https://developers.cloudflare.com/ai-gateway/reference/limits/), then our own. */
export const limits = {
  /** Characters of a gateway's id. */
  gatewayIdLength: 64,
  /** Entries of `cf-aig-metadata`; more are left out. */
  metadataEntries: 5,
  /** Seconds of `cf-aig-cache-ttl`, at most a month. */
  cacheTtlSecondsMax: 2_592_000,
  cacheTtlSecondsMin: 60,
  /** For a request with `cf-aig-cache-key` and no other word on caching. */
  cacheKeyTtlSeconds: 300,
  /** Bytes of a request, and of an answer, that the cache takes. */
  cachedBytes: 25 * mebibyte,
  /** Tries of one step, the first one included. */
  attempts: 5,
  /** Longest wait between two tries that a header can ask for; a gateway's setting may be longer. */
  retryDelayMsMax: 5000,
  gatewayRetryDelayMsMax: 60_000,
  spendRules: 20,
  logsPerPage: 50,
  /** Rows that one request deletes. */
  logsDeleted: 10_000,

  /** Request bytes that are held, so that a try can be repeated. Larger requests are refused. */
  requestBytes: 64 * mebibyte,
  /** Bytes of a request or an answer that a log keeps. */
  loggedBytes: mebibyte,
  /** Bytes of an answer that is looked through for its token counts. */
  meteredBytes: 8 * mebibyte,
  /** Bytes of one server-sent event that are held to be read. */
  eventBytes: 2 * mebibyte,
  /** Bytes of all cached answers; the ones that were not used longest go first. */
  cacheBytes: 512 * mebibyte,
  /** Rows of a gateway that does not say how many it keeps. */
  logRows: 100_000,
  /** Rows waiting to be written; past it they are dropped and counted. */
  logRowsWaiting: 10_000,
  /** Bytes of bodies among them; past it rows go on without their bodies. */
  logBytesWaiting: 64 * mebibyte,
  logFlushMs: 100,
  /** Unread bytes of an answer past which its sender is held back. */
  unreadBytes: 256 * 1024,
  /** To a connection; then to the first byte of an answer that may take its time; then between two pieces of one. */
  connectMs: 10_000,
  headersMs: 10 * 60 * 1000,
  idleMs: 5 * 60 * 1000,
  /** A provider that asks for a longer pause than this is left alone until then. */
  inlineRetryAfterMs: 5000,
  cooldownMsMax: 5 * 60 * 1000,
  /** Connections to one provider. */
  connections: 512,
  /** How long the word of the control process on a token is taken for true. */
  tokenMs: 30_000,
} as const;

const backoff = z.enum(["constant", "linear", "exponential"]);
const spendDimension = z.union([
  z.looseObject({ mode: z.literal("partition") }),
  z.looseObject({ mode: z.literal("filter"), values: z.array(z.string()) }),
]);

/** A spend limit. Cost is the only kind: Terraform calls it `limit_type`, the SDK `limitType`. */
const spendRule = z.looseObject({
  id: z.string().min(1).max(64).optional(),
  enabled: z.boolean().default(true),
  limitType: z.literal("cost").default("cost"),
  /** Dollars. */
  limit: z.number().positive(),
  /** Seconds. */
  window: z.number().int().positive(),
  technique: z.enum(["fixed", "sliding"]).default("fixed"),
  model: spendDimension.optional(),
  provider: spendDimension.optional(),
  metadata: z.record(z.string(), spendDimension).optional(),
});
export type SpendRule = z.infer<typeof spendRule>;

/**
 * What a gateway can be told (https://developers.cloudflare.com/api/resources/ai_gateway/methods/create/). Members that are not
 * here are kept and shown as they came; those that would promise something are refused (`unkeptPromise`).
 */
export const gatewaySettings = z.looseObject({
  cache_invalidate_on_update: z.boolean(),
  cache_ttl: z.number().int().min(0).max(limits.cacheTtlSecondsMax).nullable(),
  collect_logs: z.boolean(),
  rate_limiting_interval: z.number().int().min(0).nullable(),
  rate_limiting_limit: z.number().int().min(0).max(1_000_000).nullable(),
  rate_limiting_technique: z.enum(["fixed", "sliding"]).nullish(),
  authentication: z.boolean().optional(),
  log_management: z.number().int().min(10_000).max(10_000_000).nullish(),
  log_management_strategy: z.enum(["STOP_INSERTING", "DELETE_OLDEST"]).nullish(),
  retry_max_attempts: z.number().int().min(1).max(limits.attempts).nullish(),
  retry_delay: z.number().int().min(0).max(limits.gatewayRetryDelayMsMax).nullish(),
  retry_backoff: backoff.nullish(),
  spend_limits: z
    .looseObject({ enabled: z.boolean().default(true), rules: z.array(spendRule).max(limits.spendRules).default([]) })
    .nullish(),
  zdr: z.boolean().optional(),
});
export type GatewaySettings = z.infer<typeof gatewaySettings>;

/** What Cloudflare's gateway does when told so, and ours does not. */
const notDone = [
  "guardrails",
  "dlp",
  "otel",
  "logpush",
  "logpush_public_key",
  "log_classification",
  "store_id",
  "stripe",
] as const;

/** The first setting that asks for what is not done here. Nothing, `false`, empty and `{enabled: false}` ask for nothing. */
export function unkeptPromise(settings: GatewaySettings): string | undefined {
  return notDone.find((name) => asksForSomething(settings[name]));
}

function asksForSomething(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === "") return false;
  if (typeof value !== "object") return true;
  if ("enabled" in value && value.enabled === false) return false;
  return Object.keys(value).length > 0;
}

export const newGateway = gatewaySettings.extend({
  id: z
    .string()
    .min(1)
    .max(limits.gatewayIdLength)
    .regex(/^[a-zA-Z0-9_-]+$/, "has letters, digits, hyphens and underscores"),
});

export type Gateway = {
  accountId: string;
  id: string;
  settings: GatewaySettings;
  /** Grows when cached answers must not be used any more. */
  epoch: number;
  /** ISO times. */
  createdAt: string;
  modifiedAt: string;
};

/** What the gateway `default` is when a request with a token makes it. */
export const defaultGateway: GatewaySettings = {
  authentication: true,
  cache_invalidate_on_update: false,
  cache_ttl: null,
  collect_logs: true,
  rate_limiting_interval: null,
  rate_limiting_limit: null,
};

/** `custom-<slug>` names it in a gateway's addresses. `headers`: a JSON object of headers that every request gets. */
export const customProvider = z.looseObject({
  name: z.string().min(1).max(256),
  slug: z
    .string()
    .max(64)
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, "has lower case letters, digits and hyphens"),
  base_url: z.string().max(2048),
  enable: z.boolean().optional(),
  headers: z.string().max(16_384).optional(),
});
export type CustomProviderBody = z.infer<typeof customProvider>;

export type CustomProvider = {
  accountId: string;
  id: string;
  body: CustomProviderBody;
  createdAt: string;
  modifiedAt: string;
};

export const changedCustomProvider = customProvider.partial();
export type CustomProviderChange = z.infer<typeof changedCustomProvider>;

/**
 * A provider's key in a gateway. Bedrock's may be a JSON object `{accessKeyId, secretAccessKey, region?, sessionToken?}`. Limits of
 * single keys (`rate_limit`) are refused, as nothing would hold to them.
 */
export const newProviderConfig = z.object({
  alias: z.string().min(1).max(64),
  default_config: z.boolean(),
  provider_slug: z.string().min(1).max(80),
  secret: z.string().min(1).max(16_384),
  rate_limit: z.undefined().optional(),
  rate_limit_period: z.undefined().optional(),
});
export type ProviderConfigBody = z.infer<typeof newProviderConfig>;

/** What is shown of it: never the key. */
export type ProviderConfig = Omit<ProviderConfigBody, "secret"> & {
  id: string;
  gateway_id: string;
  secret_id: string;
  secret_preview: string;
  modified_at: string;
};

/** Metadata of a request: flat, as its owner sent it. */
export type Metadata = Record<string, string | number | boolean>;

/** One try of a request at a provider. */
export type Attempt = {
  step: number;
  provider: string;
  model: string | null;
  /** null: no answer came. */
  status: number | null;
  durationMs: number;
  /** Nano-dollars; null where the price is not known, 0 where nothing was used. */
  costNano: number | null;
  error?: string;
};

export type UsageMetadata = {
  input_tokens: number;
  output_tokens: number;
  total_tokens: number;
  output_reasoning_tokens: number;
  input_cached_tokens: number;
  /** The provider did not say: counted from bytes. */
  estimated?: true;
};

/** One request, as its log row. */
export type LogRow = {
  id: string;
  accountId: string;
  gatewayId: string;
  /** Milliseconds since 1970. */
  createdAt: number;
  provider: string;
  model: string;
  path: string;
  durationMs: number;
  /** Until the first byte of the answer. */
  latencyMs: number;
  requestType: string;
  requestContentType: string;
  responseContentType: string;
  status: number;
  success: boolean;
  cached: boolean;
  tokensIn: number | null;
  tokensOut: number | null;
  costNano: number | null;
  /** What a cached answer would have cost. */
  savedNano: number | null;
  customCost: boolean;
  metadata: Metadata;
  step: number;
  eventId: string | null;
  userAgent: string;
  authentication: boolean;
  byok: boolean;
  /** Dynamic route that chose the provider. */
  route: string | null;
  workerId: string | null;
  usage: UsageMetadata | null;
  attempts: Attempt[];
  requestSize: number;
  responseSize: number;
  request: Uint8Array | null;
  requestComplete: boolean;
  response: Uint8Array | null;
  responseComplete: boolean;
};

export const logChange = z.looseObject({
  feedback: z.union([z.literal(-1), z.literal(1), z.null()]).optional(),
  score: z.number().min(0).max(100).nullish(),
  metadata: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]).nullable()).nullish(),
});
export type LogChange = z.infer<typeof logChange>;
