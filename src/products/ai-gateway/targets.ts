import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import {
  forwardedHeaders,
  readRetryOptions,
  sha256,
  type CallOptions,
  type GatewayCall,
  type RetryOptions,
} from "#products/ai-gateway/call.ts";
import { addressOf } from "#products/ai-gateway/providers/addressing.ts";
import { aliases, customEntry, providers, type Provider } from "#products/ai-gateway/providers/catalogue.ts";
import { awsKeyOf, type AwsKey } from "#products/ai-gateway/providers/aws-signature.ts";
import { parseJson } from "#products/ai-gateway/meter.ts";
import type { CustomProvider, Gateway } from "#products/ai-gateway/schema.ts";
import type { SpendBucket } from "#products/ai-gateway/spend-writes.ts";
import { isObject } from "#products/ai-gateway/usage.ts";

/** One provider to ask, with all that a request to it needs. */
export type Target = {
  step: number;
  /** As logs and limits name it. */
  slug: string;
  provider: Provider;
  url: URL;
  method: string;
  headers: Map<string, string>;
  body: Buffer;
  model: string;
  streams: boolean;
  /** Tells callers with different keys apart, and says nothing of the key. */
  credential: string;
  /** The key came from the gateway's own store. */
  byok: boolean;
  /** Signs each try. */
  awsKey: AwsKey | undefined;
  /** Token counts were asked for on the caller's behalf: the event that holds them is kept back. */
  asksForUsage: boolean;
  retry: RetryOptions;
  buckets: SpendBucket[];
  /** The answer is put into OpenAI's words. */
  chat: ChatWords | undefined;
};

/** `withUsage`: of a stream the caller wants the event with the counts, too. */
export type ChatWords = { withUsage: boolean };

/** What planning needs to know about an account. */
export interface Registry {
  customProvider(accountId: string, slug: string): CustomProvider | undefined;
  storedKey(gateway: Gateway, slug: string, alias: string): string | undefined;
  /** An installation's own address for a provider. */
  baseOf(slug: string): string | undefined;
}

/** A provider, a path and a body: what a step of any kind comes down to. */
export type Step = {
  step: number;
  provider: string;
  rest: string;
  method: string;
  headers: Map<string, string>;
  body: Buffer;
  retry: RetryOptions;
  /** The answer is put into OpenAI's words. */
  chat?: ChatWords;
  /** Limits of a dynamic route that its cost counts towards. */
  buckets: SpendBucket[];
};

export function planTarget(
  step: Step,
  context: { gateway: Gateway; options: CallOptions; registry: Registry },
): Target {
  const { gateway, options, registry } = context;
  const { slug, provider, base, extra } = findProvider(step.provider, gateway.accountId, registry);
  const url = addressOf(provider, step.rest.replace(/^\/+/, ""), base);
  const headers = step.headers;
  for (const [name, value] of Object.entries(extra)) headers.set(name, value);
  const byok = putKey({ provider, slug, url, headers, gateway, alias: options.keyAlias, registry });
  const given = parseBody(step.body, headers.get("content-type"));
  const streams = given?.["stream"] === true || /:streamGenerateContent|-stream(\?|$)/.test(url.pathname);
  const asksForUsage = streams && provider.wire === "openai" && lacksUsage(given, url);
  return {
    step: step.step,
    slug,
    provider,
    url,
    method: step.method,
    headers,
    body: asksForUsage ? withUsage(step.body) : step.body,
    model: typeof given?.["model"] === "string" ? given["model"] : modelInPath(url),
    streams,
    credential: sha256(...credentialOf(provider, url, headers), byok?.awsKey?.accessKeyId ?? ""),
    byok: byok !== undefined,
    awsKey: byok?.awsKey,
    asksForUsage,
    retry: step.retry,
    chat: step.chat,
    buckets: step.buckets,
  };
}

/** The steps of a call to a provider's own path, or of a list of them. */
export function stepsOf(call: GatewayCall, options: CallOptions): Step[] {
  const { wanted, headers, method, body } = call;
  if (wanted.kind === "native") {
    const { provider, rest } = wanted;
    return [{ step: 0, provider, rest, method, headers: forwardedHeaders(headers), body, retry: options, buckets: [] }];
  }
  const list = parseJson(body.toString());
  if (!Array.isArray(list) || list.length === 0) throw gatewayErrors.invalid("the body must be an array of steps");
  return list.map((item, step) => universalStep(item, step, options));
}

function universalStep(item: unknown, step: number, options: CallOptions): Step {
  if (!isObject(item) || typeof item["provider"] !== "string")
    throw gatewayErrors.invalid(`step ${step} needs a provider and an endpoint`);
  const { provider, endpoint = "", query, headers, config } = item;
  const own = new Map<string, string>();
  if (isObject(headers))
    for (const [name, value] of Object.entries(headers)) own.set(name.toLowerCase(), asText(value));
  if (typeof item["authorization"] === "string") own.set("authorization", item["authorization"]);
  for (const [name, value] of own)
    // Line breaks would let a value forge headers.
    if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name) || /[\r\n\0]/.test(value))
      throw gatewayErrors.invalid(`step ${step} has a header that cannot be sent`);
  if (!own.has("content-type")) own.set("content-type", "application/json");
  const retry = { ...options, ...readRetryOptions((name) => own.get(name)), ...configOf(config) };
  return {
    step,
    provider,
    rest: asText(endpoint),
    method: "POST",
    headers: forwardedHeaders(own),
    body: Buffer.from(JSON.stringify(query ?? {})),
    retry,
    buckets: [],
  };
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

const configHeaders: Record<string, string> = {
  "cf-aig-request-timeout": "requestTimeout",
  "cf-aig-max-attempts": "maxAttempts",
  "cf-aig-retry-delay": "retryDelay",
  "cf-aig-backoff": "backoff",
};

/** A step's `config` says in camel case what the headers say. */
function configOf(config: unknown): RetryOptions {
  if (!isObject(config)) return {};
  return readRetryOptions((name) => {
    const value = config[configHeaders[name] ?? ""];
    return value === undefined ? undefined : asText(value);
  });
}

type Found = { slug: string; provider: Provider; base: string | undefined; extra: Record<string, string> };

export function findProvider(name: string, accountId: string, registry: Registry): Found {
  if (name.startsWith("custom-")) {
    const custom = registry.customProvider(accountId, name.slice("custom-".length));
    if (!custom || custom.body.enable === false) throw gatewayErrors.noProvider(name);
    const extra = custom.body.headers === undefined ? {} : parseJson(custom.body.headers);
    const headers = isObject(extra)
      ? Object.fromEntries(Object.entries(extra).map(([key, value]) => [key.toLowerCase(), asText(value)]))
      : {};
    return { slug: name, provider: customEntry(custom.body.base_url), base: undefined, extra: headers };
  }
  const slug = Object.hasOwn(providers, name) ? name : (aliases[name] ?? name);
  const provider = Object.hasOwn(providers, slug) ? providers[slug] : undefined;
  if (!provider) throw gatewayErrors.noProvider(name);
  return { slug, provider, base: registry.baseOf(slug), extra: {} };
}

/** Puts the gateway's stored key in when the request brings none; undefined when there is nothing to put in. */
function putKey(options: {
  provider: Provider;
  slug: string;
  url: URL;
  headers: Map<string, string>;
  gateway: Gateway;
  alias: string;
  registry: Registry;
}): { awsKey: AwsKey | undefined } | undefined {
  const { provider, headers, url } = options;
  const { header, scheme } = provider.auth;
  const brings =
    [header, ...(provider.otherAuth ?? [])].some((name) => headers.has(name)) || url.searchParams.has("key");
  if (brings) return undefined;
  const key = options.registry.storedKey(options.gateway, options.slug, options.alias);
  if (key === undefined) return undefined;
  const awsKey = provider.addressing === "bedrock" ? awsKeyOf(key) : undefined;
  if (awsKey) return { awsKey };
  headers.set(header, scheme === undefined ? key : `${scheme} ${key}`);
  return { awsKey };
}

function credentialOf(provider: Provider, url: URL, headers: ReadonlyMap<string, string>): string[] {
  const names = [provider.auth.header, ...(provider.otherAuth ?? [])];
  return [...names.map((name) => headers.get(name) ?? ""), url.searchParams.get("key") ?? ""];
}

function parseBody(body: Buffer, contentType = ""): Record<string, unknown> | undefined {
  if (contentType.startsWith("multipart/form-data")) return formFields(body);
  const value = body[0] === openBrace || contentType.includes("json") ? parseJson(body.toString()) : undefined;
  return isObject(value) ? value : undefined;
}

const openBrace = 0x7b;
const formBytes = 64 * 1024;

/** The text fields that a log wants, of a form whose files are passed on unread. */
function formFields(body: Buffer): Record<string, unknown> {
  const model = /name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,256})/.exec(
    body.toString("latin1", 0, formBytes),
  )?.[1];
  return model === undefined ? {} : { model };
}

/** `models/gemini-2.5-flash:generateContent`, `model/anthropic.claude-…/converse`, `deployments/gpt-4o/…`. */
function modelInPath(url: URL): string {
  const found = /\/(?:models?|deployments)\/([^/:]+(?::\d+)?)(?=[/:]|$)/.exec(decodePath(url.pathname))?.[1];
  return found ?? "";
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function lacksUsage(body: Record<string, unknown> | undefined, url: URL): boolean {
  return body?.["stream_options"] === undefined && /\/(chat\/)?completions$/.test(url.pathname);
}

/** Asks for token counts without writing the rest of the body anew. */
function withUsage(body: Buffer): Buffer {
  const at = body.indexOf(openBrace) + 1;
  return Buffer.concat([
    body.subarray(0, at),
    Buffer.from('"stream_options":{"include_usage":true},'),
    body.subarray(at),
  ]);
}

/** The body as it was before `withUsage`. */
export function withoutUsage(target: Target): Target {
  if (!target.asksForUsage) return target;
  const added = Buffer.from('"stream_options":{"include_usage":true},');
  const at = target.body.indexOf(added);
  const body = Buffer.concat([target.body.subarray(0, at), target.body.subarray(at + added.length)]);
  return { ...target, body, asksForUsage: false };
}
