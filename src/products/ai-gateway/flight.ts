import { attemptAll, EverybodyLeft, type Answer, type AnswerWatcher } from "#products/ai-gateway/attempts.ts";
import { isCacheable, type CacheStore } from "#products/ai-gateway/cache-store.ts";
import { storedHeaders, type CallOptions, type GatewayCall } from "#products/ai-gateway/call.ts";
import type { Cooldowns } from "#products/ai-gateway/cooldowns.ts";
import { Capture, usageMetadata, type Ending } from "#products/ai-gateway/ending.ts";
import type { Ledger } from "#products/ai-gateway/ledger.ts";
import type { LogStore } from "#products/ai-gateway/log-store.ts";
import { createMeter, type Meter, type Reading } from "#products/ai-gateway/meter.ts";
import { costOf, customCostOf, priceOf } from "#products/ai-gateway/price.ts";
import { limits, type Gateway } from "#products/ai-gateway/schema.ts";
import type { SpendHeld, SpendStore } from "#products/ai-gateway/spend.ts";
import type { Target } from "#products/ai-gateway/targets.ts";
import type { Upstream } from "#products/ai-gateway/upstream.ts";
import type { Usage } from "#products/ai-gateway/usage.ts";

export type FlightParts = {
  upstream: Upstream;
  cooldowns: Cooldowns;
  cache: CacheStore;
  logs: LogStore;
  spend: SpendStore;
};

/** One request to the providers, for whoever asked first and for those who ask the same meanwhile. */
export interface Flight {
  readonly answer: Promise<Answer>;
  /** What became of it: as soon as it is known. Never rejects. */
  readonly told: Promise<Ending>;
  /** Nothing is left to be done, and it can be found in the cache if it is to be found anywhere. */
  readonly over: Promise<void>;
  readonly isCacheable: boolean;
  /** Whether somebody else can still get the whole answer. */
  readonly isOpen: boolean;
  /** One more who waits until `signal` aborts; when all have left, the providers are not asked any further. */
  join(signal: AbortSignal): void;
}

type FlightOptions = {
  call: GatewayCall;
  gateway: Gateway;
  options: CallOptions;
  targets: readonly Target[];
  ledger: Ledger;
  parts: FlightParts;
  /** Where the answer is kept, and for how many seconds. */
  cached: { key: string; ttl: number } | undefined;
};

export function startFlight(given: FlightOptions): Flight {
  const { call, gateway, options, targets, ledger, parts, cached } = given;
  let held: SpendHeld | undefined;
  let attempts = 0;
  const controller = new AbortController();
  let open = true;
  /** The last byte is here: whoever leaves now stops nothing. */
  let isWhole = false;
  const join = audience(() => {
    if (isWhole) return;
    open = false;
    controller.abort(new Error("the client has left"));
  });
  join(call.signal);

  const told = Promise.withResolvers<Ending>();
  const over = Promise.withResolvers<void>();
  const tell = async (ending: Omit<Ending, "costNano">) => {
    isWhole = ending.complete;
    open &&= isWhole;
    const costNano = await costOfEnding(ending, options);
    const whole = { ...ending, costNano };
    ledger.record(parts.logs, { kind: "asked", ending: whole });
    told.resolve(whole);
    return whole;
  };
  const finish = async (telling: Promise<Ending>) => {
    const ending = await telling;
    await held?.settle(ending.costNano);
    // Until it can be found on disk, it can be had from here.
    await keepAnswer(given, ending);
    over.resolve();
  };
  const watch = (answer: Answer): AnswerWatcher => {
    ledger.startAnswer(answer.target, answer.status, answer.headers);
    const meter = meterOf(answer);
    const capture = new Capture();
    return {
      piece(bytes) {
        meter.push(bytes);
        capture.push(bytes);
        if (cached && answer.body.bytes > limits.cachedBytes) {
          open = false;
          answer.body.stopKeeping();
        }
      },
      end(error) {
        const reading = meter.finish();
        const truncated = error === undefined && !reading.complete && answer.status < 400;
        // A stream that stops before its end must not look like one that came to it.
        if (truncated) answer.body.fail(new Error("the provider's stream stopped before its end"));
        const complete = error === undefined && !truncated;
        const left = controller.signal.aborted || error instanceof EverybodyLeft;
        const telling = tell(endingOf({ answer, reading, capture, complete, left }));
        // Who reads the last byte and then asks for its log row finds it.
        parts.logs.expect(telling);
        void finish(telling);
      },
    };
  };
  const answer = attemptAll(targets, {
    upstream: parts.upstream,
    cooldowns: parts.cooldowns,
    signal: controller.signal,
    keepBody: cached !== undefined,
    watch,
    async reserve(target) {
      held = await parts.spend.hold(`${ledger.id}/${attempts++}`, gateway, target, options);
    },
    async failed(attempt) {
      ledger.addAttempt(attempt);
      await held?.settle(0);
      held = undefined;
    },
  });
  answer.catch(() => {
    // Whoever leads or follows records this failure; there is no answer that could cost anything.
    open = false;
    told.resolve(nothing(controller));
    over.resolve();
    void held?.settle(0);
  });
  return {
    answer,
    told: told.promise,
    over: over.promise,
    isCacheable: cached !== undefined,
    get isOpen() {
      return open;
    },
    join,
  };
}

function meterOf({ headers, target }: Answer): Meter {
  return createMeter({
    contentType: headers["content-type"] ?? "",
    contentEncoding: headers["content-encoding"] ?? "",
    wire: target.provider.wire,
    reasoningBeside: target.provider.reasoningBeside ?? false,
  });
}

/** Counts who waits: `empty` is called when the last one has left. */
function audience(empty: () => void): (signal: AbortSignal) => void {
  let waiting = 0;
  return (signal) => {
    waiting++;
    const leave = () => {
      if (--waiting === 0) empty();
    };
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
  };
}

function nothing(controller: AbortController): Ending {
  return {
    answer: undefined,
    complete: false,
    failed: true,
    cancelled: controller.signal.aborted,
    usage: undefined,
    estimated: false,
    model: undefined,
    costNano: 0,
    capture: new Capture(),
  };
}

type EndingParts = {
  answer: Answer;
  reading: Reading;
  capture: Capture;
  complete: boolean;
  left: boolean;
};

function endingOf({ answer, reading, capture, complete, left }: EndingParts): Omit<Ending, "costNano"> {
  const cancelled = !complete && left;
  // Cut off before the counts came: the bytes that were seen are all there is to go by.
  const estimate = !complete && answer.status < 400 && (reading.usage?.output ?? 0) <= 1;
  const usage = estimate ? estimated(answer.target, capture.bytes, reading.usage) : reading.usage;
  return {
    answer,
    complete,
    failed: reading.failed,
    cancelled,
    usage,
    estimated: estimate,
    model: reading.model,
    capture,
  };
}

/** English text has about four bytes a token; an event of a stream holds a token in about two hundred bytes of JSON. */
const bytesPerToken = { plain: 4, event: 200 };

function estimated(target: Target, bytes: number, seen: Usage | undefined): Usage {
  const output = Math.ceil(bytes / (target.streams ? bytesPerToken.event : bytesPerToken.plain));
  const input = seen?.input ? seen.input : Math.ceil(target.body.length / bytesPerToken.plain);
  const rest = seen ?? { cacheRead: 0, cacheWrite: 0, cacheWriteHour: 0, reasoning: 0 };
  return { ...rest, input, output };
}

/** Nano-dollars: by the caller's price, by the provider's own word, by the price data; null when nobody knows. */
async function costOfEnding(ending: Omit<Ending, "costNano">, options: CallOptions): Promise<number | null> {
  const { answer, usage, model } = ending;
  if (!answer || (answer.status >= 400 && !usage)) return 0;
  if (options.customCost) return customCostOf(options.customCost, usage);
  if (usage?.dollars !== undefined) return Math.round(usage.dollars * 1e9);
  const { provider, model: asked } = answer.target;
  if (!usage) return asked === "" ? 0 : null;
  const price =
    (await priceOf(provider.prices, model ?? asked)) ?? (model ? await priceOf(provider.prices, asked) : undefined);
  return price ? costOf(price, usage) : null;
}

async function keepAnswer({ cached, gateway, parts }: FlightOptions, ending: Ending): Promise<void> {
  const { answer, complete, failed, usage, costNano } = ending;
  if (!cached || !answer || !complete || failed || !answer.body.isWhole) return;
  if (!isCacheable(answer.status, answer.headers)) return;
  await parts.cache.keep(gateway, cached.key, cached.ttl, {
    status: answer.status,
    headers: storedHeaders(answer.headers),
    provider: answer.target.slug,
    model: ending.model ?? answer.target.model,
    step: answer.target.step,
    usage: usageMetadata(usage, ending.estimated),
    costNano,
    pieces: answer.body.lengths(),
    body: answer.body.whole(),
    asksForUsage: answer.target.asksForUsage,
    chat: answer.target.chat,
  });
}
