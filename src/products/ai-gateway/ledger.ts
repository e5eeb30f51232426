import type { ApiError } from "#core/errors.ts";
import { newTimeUuid } from "#core/ids.ts";
import type { StoredAnswer } from "#products/ai-gateway/cache-store.ts";
import type { CallOptions, GatewayCall } from "#products/ai-gateway/call.ts";
import { gatewayErrorBody } from "#products/ai-gateway/errors.ts";
import { headOf, usageMetadata, type Ending } from "#products/ai-gateway/ending.ts";
import type { LogStore } from "#products/ai-gateway/log-store.ts";
import { redactedBody, redactedPath } from "#products/ai-gateway/redact.ts";
import type { Attempt, Gateway, LogRow } from "#products/ai-gateway/schema.ts";
import type { Target } from "#products/ai-gateway/targets.ts";

/** How a request came to its end. */
export type Outcome =
  /** The providers were asked on its behalf. */
  | { kind: "asked"; ending: Ending }
  /** It got what somebody else had asked for at the same time. */
  | { kind: "shared"; ending: Ending }
  | { kind: "stored"; stored: StoredAnswer }
  | { kind: "refused"; status: number; error: ApiError };

/** One request's entry in the log: begun when it comes, written once, when all is known. */
export class Ledger {
  readonly id = newTimeUuid();
  readonly #call: GatewayCall;
  readonly #createdAt = Date.now();
  readonly #began = performance.now();
  #latencyMs = 0;
  #gateway: Gateway | undefined;
  #options: CallOptions | undefined;
  #byToken = false;
  #target: Target | undefined;
  #status = 0;
  #contentType = "";
  readonly #attempts: Attempt[] = [];
  #recorded = false;
  #route: string | null = null;

  constructor(call: GatewayCall) {
    this.#call = call;
  }

  open(gateway: Gateway, options: CallOptions, byToken: boolean): void {
    this.#gateway = gateway;
    this.#options = options;
    this.#byToken = byToken;
  }

  /** The dynamic route that chooses the providers. */
  route(name: string | null): void {
    this.#route = name;
  }

  /** Which provider will be asked first: what the log names when none answers. */
  plan(target: Target): void {
    this.#target = target;
  }

  startAnswer(target: Target, status: number, headers: Readonly<Record<string, string>>): void {
    this.#target = target;
    this.#status = status;
    this.#contentType = headers["content-type"] ?? "";
    this.#latencyMs = this.#elapsed();
  }

  addAttempt(attempt: Attempt): void {
    this.#attempts.push(attempt);
  }

  headers(cacheStatus: "HIT" | "MISS" | undefined, step: number): Record<string, string> {
    return {
      "cf-aig-log-id": this.id,
      "cf-aig-request-id": this.id,
      "cf-aig-event-id": this.#options?.eventId ?? this.id,
      "cf-aig-step": String(step),
      // Only a route leaves the caller in doubt who answered.
      ...(this.#route === null || !this.#target
        ? {}
        : { "cf-aig-provider": this.#target.slug, "cf-aig-model": this.#target.model }),
      ...(cacheStatus === undefined ? {} : { "cf-aig-cache-status": cacheStatus }),
    };
  }

  /** Writes the row, once. Nothing is written of a gateway or a request that wants no logs. */
  record(logs: LogStore, outcome: Outcome): void {
    const [gateway, options] = [this.#gateway, this.#options];
    if (!gateway || !options || this.#recorded) return;
    this.#recorded = true;
    if (!(options.collectLog ?? gateway.settings.collect_logs)) return;
    const payload = options.collectPayload && gateway.settings.zdr !== true;
    logs.record(gateway, this.#row(gateway, { options, outcome, payload }));
  }

  #row(gateway: Gateway, { options, outcome, payload }: RowParts): LogRow {
    const call = this.#call;
    const request = headOf(call.wanted.kind === "universal" ? redactedBody(call.body) : call.body);
    const told = this.#told(outcome);
    return {
      id: this.id,
      accountId: gateway.accountId,
      gatewayId: gateway.id,
      createdAt: this.#createdAt,
      path: this.#target ? redactedPath(this.#target.url) : "",
      durationMs: this.#elapsed(),
      latencyMs: this.#latencyMs || this.#elapsed(),
      requestType: typeOf(this.#target?.url.pathname ?? ""),
      requestContentType: call.headers.get("content-type") ?? "",
      customCost: options.customCost !== undefined,
      metadata: options.metadata,
      eventId: options.eventId,
      userAgent: call.headers.get("user-agent") ?? "",
      authentication: this.#byToken,
      byok: this.#target?.byok ?? false,
      route: this.#route,
      workerId: call.workerId,
      requestSize: call.body.length,
      request: payload ? request.bytes : null,
      requestComplete: request.complete,
      ...told,
      response: payload ? told.response : null,
    };
  }

  #told(outcome: Outcome): Told {
    const target = this.#target;
    const none = { provider: target?.slug ?? "", model: target?.model ?? "", step: target?.step ?? 0 };
    switch (outcome.kind) {
      case "asked":
      case "shared": {
        const { ending } = outcome;
        const asked = outcome.kind === "asked";
        const head = ending.capture.head();
        const usage = usageMetadata(ending.usage, ending.estimated);
        const status = ending.cancelled ? clientLeft : this.#status;
        const last = { ...none, status, durationMs: this.#elapsed(), costNano: ending.costNano };
        return {
          ...none,
          model: ending.model ?? none.model,
          responseContentType: this.#contentType,
          status,
          success: ending.complete && !ending.failed && this.#status < 400,
          cached: !asked,
          tokensIn: asked ? (usage?.input_tokens ?? null) : 0,
          tokensOut: asked ? (usage?.output_tokens ?? null) : 0,
          costNano: asked ? ending.costNano : 0,
          savedNano: asked ? null : ending.costNano,
          usage,
          attempts: asked ? [...this.#attempts, last] : [],
          responseSize: ending.capture.bytes,
          response: head.bytes,
          responseComplete: head.complete && ending.complete,
        };
      }
      case "stored": {
        const { stored } = outcome;
        const head = headOf(stored.body);
        return {
          provider: stored.provider,
          model: stored.model,
          step: stored.step,
          responseContentType: stored.headers["content-type"] ?? "",
          status: stored.status,
          success: true,
          cached: true,
          tokensIn: 0,
          tokensOut: 0,
          costNano: 0,
          savedNano: stored.costNano,
          usage: stored.usage,
          attempts: [],
          responseSize: stored.body.length,
          response: head.bytes,
          responseComplete: head.complete,
        };
      }
      case "refused": {
        const body = Buffer.from(gatewayErrorBody(outcome.error));
        return {
          ...none,
          responseContentType: "application/json",
          status: outcome.status,
          success: false,
          cached: false,
          tokensIn: 0,
          tokensOut: 0,
          costNano: 0,
          savedNano: null,
          usage: null,
          attempts: this.#attempts,
          responseSize: body.length,
          response: body,
          responseComplete: true,
        };
      }
    }
  }

  #elapsed(): number {
    return Math.round(performance.now() - this.#began);
  }
}

/** What a log says of a client that left before its answer was whole. */
const clientLeft = 499;

type RowParts = { options: CallOptions; outcome: Outcome; payload: boolean };

type Told = Pick<
  LogRow,
  | "provider"
  | "model"
  | "step"
  | "responseContentType"
  | "status"
  | "success"
  | "cached"
  | "tokensIn"
  | "tokensOut"
  | "costNano"
  | "savedNano"
  | "usage"
  | "attempts"
  | "responseSize"
  | "response"
  | "responseComplete"
>;

function typeOf(path: string): string {
  if (/embed/i.test(path)) return "embeddings";
  if (/images/.test(path)) return "image";
  if (/audio|speech|transcri/.test(path)) return "audio";
  return "chat";
}
