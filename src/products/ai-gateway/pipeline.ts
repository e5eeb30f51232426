import { ApiError } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { STATUS_CODES } from "node:http";
import type { WireResponse } from "#http/wire/server.ts";
import type { Answer } from "#products/ai-gateway/attempts.ts";
import { cacheKeyOf, cacheTtlOf, type CacheStore, type StoredAnswer } from "#products/ai-gateway/cache-store.ts";
import { passedHeaders, readOptions, retrySettings, type GatewayCall } from "#products/ai-gateway/call.ts";
import { chatSteps, compatStep, type ChatParts } from "#products/ai-gateway/chat-steps.ts";
import type { DynamicRoutes } from "#products/ai-gateway/dynamic-routes.ts";
import { gatewayErrorBody, gatewayErrors } from "#products/ai-gateway/errors.ts";
import { startFlight, type Flight, type FlightParts } from "#products/ai-gateway/flight.ts";
import { Ledger } from "#products/ai-gateway/ledger.ts";
import type { LogStore } from "#products/ai-gateway/log-store.ts";
import { parseJson } from "#products/ai-gateway/meter.ts";
import { toChat, toChatEvents } from "#products/ai-gateway/providers/anthropic-chat.ts";
import type { RateLimiter } from "#products/ai-gateway/rate-limiter.ts";
import { limits, type Gateway } from "#products/ai-gateway/schema.ts";
import type { GatewayStore } from "#products/ai-gateway/store.ts";
import { planTarget, stepsOf, type Registry, type Step, type Target } from "#products/ai-gateway/targets.ts";
import { withoutUsageEvent } from "#products/ai-gateway/usage-filter.ts";

/** Whether a token may act for an account. */
export type TokenCheck = (accountId: string, token: string) => Promise<boolean>;

export type PipelineParts = Omit<FlightParts, "cache" | "logs"> & {
  gateways: GatewayStore;
  registry: Registry;
  cache: CacheStore;
  logs: LogStore;
  mayAct: TokenCheck;
  rates: RateLimiter;
  routes: DynamicRoutes;
};

export type Pipeline = (call: GatewayCall) => Promise<WireResponse>;

const log = createLogger("ai-gateway");

/**
 * What happens to a request, in order: who asks → what for → an answer that is kept, or one that is on its way for somebody
 * else → how many may ask, and for how much money → the providers, one after the other → the answer, piece by piece, while its
 * tokens are counted → its cost and log row.
 */
export function createPipeline(parts: PipelineParts): Pipeline {
  /** Answers on their way that others may join, by cache key. */
  const flights = new Map<string, Flight>();

  return async (call) => {
    const ledger = new Ledger(call);
    let gateway: Gateway | undefined;
    try {
      const authorized = await authorize(call, parts);
      gateway = authorized.gateway;
      const options = { ...retrySettings(gateway), ...readOptions((name) => call.headers.get(name)) };
      ledger.open(gateway, options, authorized.byToken);
      const { steps, route } = planSteps(authorized.call, { ...parts, gateway, options });
      ledger.route(route);
      const context = { gateway, options, registry: parts.registry };
      const targets = steps.map((step) => planTarget(step, context));
      const [first] = targets;
      if (!first) throw gatewayErrors.invalid("there is nothing to ask");
      ledger.plan(first);
      const ttl = cacheTtlOf(gateway, options);
      const key = ttl === undefined ? undefined : cacheKeyOf(gateway, first, options);
      if (key !== undefined) {
        const stored = parts.cache.find(key);
        if (stored) return replay(stored, ledger, parts.logs);
        const joined = flights.get(key);
        if (joined?.isOpen) return await follow(joined, call, ledger, parts.logs);
      }
      parts.rates.admit(gateway);
      const flight = startFlight({ call, gateway, options, targets, ledger, parts, cached: keeping(key, ttl) });
      if (key !== undefined) {
        flights.set(key, flight);
        void flight.over.then(() => flights.get(key) === flight && flights.delete(key));
      }
      return await lead(flight, call, ledger);
    } catch (error) {
      return refuse(error, { call, gateway, ledger, logs: parts.logs });
    }
  };
}

function planSteps(call: GatewayCall, parts: ChatParts): { steps: Step[]; route: string | null } {
  if (call.wanted.kind === "compat") return chatSteps(call, parts);
  const steps = stepsOf(call, parts.options);
  if (call.wanted.kind === "native") return { steps, route: null };
  return { steps: steps.map((one) => (one.provider === "compat" ? compatStep(one, call, parts) : one)), route: null };
}

function keeping(key: string | undefined, ttl: number | undefined) {
  return key === undefined || ttl === undefined ? undefined : { key, ttl };
}

type Authorized = { gateway: Gateway; call: GatewayCall; byToken: boolean };

/** The gateway that is meant, and the request without the token that opened it. */
async function authorize(call: GatewayCall, { gateways, mayAct }: PipelineParts): Promise<Authorized> {
  const { accountId, gatewayId, headers } = call;
  const found = gateways.find(accountId, gatewayId);
  if (call.trusted) {
    const gateway = found ?? (gatewayId === "default" ? await gateways.ensureDefault(accountId) : undefined);
    if (!gateway) throw gatewayErrors.noGateway();
    return { gateway, call, byToken: true };
  }
  if (!found && gatewayId !== "default") throw gatewayErrors.noGateway();
  if (found && found.settings.authentication !== true) return { gateway: found, call, byToken: false };
  // A client that knows one header only may put the gateway's token where the provider's key would be.
  const own = headers.get("cf-aig-authorization");
  const token = bearerToken(own ?? headers.get("authorization"));
  if (token === undefined || !(await mayAct(accountId, token))) throw gatewayErrors.unauthorized();
  const gateway = found ?? (await gateways.ensureDefault(accountId));
  if (own !== undefined) return { gateway, call, byToken: true };
  const kept = new Map(headers);
  kept.delete("authorization");
  return { gateway, call: { ...call, headers: kept }, byToken: true };
}

function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer +([!-~]{1,512})$/i.exec(header ?? "")?.[1];
}

/** The answer to whoever asked first. */
async function lead(flight: Flight, call: GatewayCall, ledger: Ledger): Promise<WireResponse> {
  const answer = await flight.answer;
  return respond(answer, { call, cacheStatus: flight.isCacheable ? "MISS" : undefined, ledger });
}

/** The same answer to somebody who asked while it was on its way. */
async function follow(flight: Flight, call: GatewayCall, ledger: Ledger, logs: LogStore): Promise<WireResponse> {
  flight.join(call.signal);
  const answer = await flight.answer;
  ledger.startAnswer(answer.target, answer.status, answer.headers);
  void flight.told.then((ending) => ledger.record(logs, { kind: "shared", ending }));
  return respond(answer, { call, cacheStatus: "HIT", ledger });
}

type Responding = { call: GatewayCall; cacheStatus: "HIT" | "MISS" | undefined; ledger: Ledger };

function respond(answer: Answer, { call, cacheStatus, ledger }: Responding): WireResponse {
  const { status, headers, target } = answer;
  const told = { ...passedHeaders(headers), ...ledger.headers(cacheStatus, target.step) };
  const length = headers["content-length"];
  const rewritten = target.asksForUsage || target.chat || length === undefined || !/^[0-9]{1,15}$/.test(length);
  return {
    status,
    reason: STATUS_CODES[status] ?? "",
    headers: target.chat ? { ...told, "content-type": chatType(headers) } : told,
    body: inCallersWords({ ...target, headers }, answer.body.read(call.signal)),
    ...(rewritten ? {} : { length: Number(length) }),
  };
}

type Words = Pick<Target, "asksForUsage" | "chat"> & { headers: Readonly<Record<string, string>> };

/** What the caller asked for, of what the provider was asked for. */
function inCallersWords({ asksForUsage, chat, headers }: Words, pieces: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  if (chat) return isStream(headers) ? toChatEvents(pieces, chat.withUsage) : wholeChat(pieces);
  return asksForUsage ? withoutUsageEvent(pieces) : pieces;
}

async function* wholeChat(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const all: Buffer[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > limits.meteredBytes) throw new Error("an answer is too large to be translated");
    all.push(piece);
  }
  yield Buffer.from(JSON.stringify(toChat(parseJson(Buffer.concat(all).toString()))));
}

function isStream(headers: Readonly<Record<string, string>>): boolean {
  return (headers["content-type"] ?? "").startsWith("text/event-stream");
}

function chatType(headers: Readonly<Record<string, string>>): string {
  return isStream(headers) ? "text/event-stream" : "application/json";
}

/** An answer that was kept: the same bytes, in the same pieces. */
function replay(stored: StoredAnswer, ledger: Ledger, logs: LogStore): WireResponse {
  ledger.record(logs, { kind: "stored", stored });
  const headers = { ...stored.headers, ...ledger.headers("HIT", stored.step) };
  const { status, body, asksForUsage, chat } = stored;
  const reason = STATUS_CODES[status] ?? "";
  if (!chat && !isStream(stored.headers)) return { status, reason, headers, body };
  const typed = chat ? { ...headers, "content-type": chatType(stored.headers) } : headers;
  const words = { asksForUsage, chat, headers: stored.headers };
  return { status, reason, headers: typed, body: inCallersWords(words, inPieces(stored)) };
}

async function* inPieces({ body, pieces }: StoredAnswer): AsyncGenerator<Buffer> {
  let from = 0;
  for (const length of pieces) {
    yield body.subarray(from, from + length);
    from += length;
  }
}

type Refusal = { call: GatewayCall; gateway: Gateway | undefined; ledger: Ledger; logs: LogStore };

function refuse(error: unknown, { call, gateway, ledger, logs }: Refusal): WireResponse {
  const known = error instanceof ApiError ? error : gatewayErrors.internal();
  if (known !== error && !call.signal.aborted) log.error("a request failed", { error });
  if (gateway) ledger.record(logs, { kind: "refused", status: call.signal.aborted ? 499 : known.status, error: known });
  return {
    status: known.status,
    reason: STATUS_CODES[known.status] ?? "",
    headers: { "content-type": "application/json", ...ledger.headers(undefined, 0) },
    body: gatewayErrorBody(known),
  };
}
