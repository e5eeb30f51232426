import { sleep } from "#core/deadline.ts";
import { ApiError } from "#core/errors.ts";
import { AnswerBody } from "#products/ai-gateway/answer-body.ts";
import type { RetryOptions } from "#products/ai-gateway/call.ts";
import type { Cooldowns } from "#products/ai-gateway/cooldowns.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { hasError, parseData } from "#products/ai-gateway/meter.ts";
import { awsHeaders } from "#products/ai-gateway/providers/aws-signature.ts";
import { limits, type Attempt } from "#products/ai-gateway/schema.ts";
import { withoutUsage, type Target } from "#products/ai-gateway/targets.ts";
import { RefusedAddress, type Upstream, type UpstreamCall } from "#products/ai-gateway/upstream.ts";

/** An answer that has begun. `body` is being filled. */
export type Answer = {
  target: Target;
  status: number;
  headers: Record<string, string>;
  body: AnswerBody;
};

/** What goes on around the attempts of one request. */
export type AttemptContext = {
  upstream: Upstream;
  cooldowns: Cooldowns;
  signal: AbortSignal;
  /** Keeps the body for readers who come later. */
  keepBody: boolean;
  /** Sees each piece of the answer that is given in the end, as it comes. */
  watch: (answer: Answer) => AnswerWatcher;
  /** Before each attempt; throws when it must not be made. */
  reserve: (target: Target) => Promise<void>;
  /** After each attempt that is not the one whose answer is given. */
  failed: (attempt: Attempt) => Promise<void>;
};

/** How an answer ends whose readers have all gone: seen by a connection that breaks before its end is announced. */
export class EverybodyLeft extends Error {
  override readonly name = "EverybodyLeft";
}

export type AnswerWatcher = {
  piece(bytes: Buffer): void;
  end(error: Error | undefined): void;
};

/**
 * Asks one target after the other, each as often as it may be asked, until one answers well; the last one's answer is given
 * whatever it is. Nothing is tried again once a byte of an answer was passed on.
 */
export async function attemptAll(targets: readonly Target[], context: AttemptContext): Promise<Answer> {
  let last: ApiError | undefined;
  for (const [index, planned] of targets.entries()) {
    const isLastTarget = index === targets.length - 1;
    if (!isLastTarget && context.cooldowns.isCooling(placeOf(planned))) continue;
    let target = context.cooldowns.refusesUsage(planned.url.origin) ? withoutUsage(planned) : planned;
    const tries = target.retry.maxAttempts ?? 1;
    for (let attempt = 1; attempt <= tries; attempt++) {
      const isLast = isLastTarget && attempt === tries;
      // With tries to spare the last one waits for as long as it takes, as on Cloudflare.
      const timeout = isLast && tries > 1 ? undefined : target.retry.requestTimeoutMs;
      const outcome = await once(target, { timeout, isLast, isLastTarget, context });
      if (outcome.kind === "answer") return outcome.answer;
      if (outcome.kind === "error") last = outcome.error;
      if (outcome.kind === "without usage") {
        target = withoutUsage(target);
        attempt--;
        continue;
      }
      if (!outcome.retry || attempt === tries) break;
      await sleep(waitOf(target.retry, attempt, outcome.retryAfterMs), context.signal);
    }
  }
  throw last ?? gatewayErrors.noAnswer(targets.at(-1)?.slug ?? "");
}

type Outcome =
  | { kind: "answer"; answer: Answer }
  /** The provider did not know the member that asks for token counts. */
  | { kind: "without usage" }
  | { kind: "status"; retry: boolean; retryAfterMs: number | undefined }
  | { kind: "error"; error: ApiError; retry: boolean; retryAfterMs: undefined };

type Once = { timeout: number | undefined; isLast: boolean; isLastTarget: boolean; context: AttemptContext };

async function once(target: Target, { timeout, isLast, isLastTarget, context }: Once): Promise<Outcome> {
  const { cooldowns, signal } = context;
  await context.reserve(target);
  const began = performance.now();
  const attempt = (status: number | null, error?: string): Attempt => ({
    step: target.step,
    provider: target.slug,
    model: target.model || null,
    status,
    durationMs: Math.round(performance.now() - began),
    costNano: 0,
    ...(error === undefined ? {} : { error }),
  });
  let answer: Pending;
  try {
    answer = await begin(target, timeout, context);
  } catch (error) {
    signal.throwIfAborted();
    const known = error instanceof ApiError ? error : failureOf(error, target);
    await context.failed(attempt(null, known.message));
    return { kind: "error", error: known, retry: !(error instanceof RefusedAddress), retryAfterMs: undefined };
  }
  const { status, headers } = answer;
  if (
    target.asksForUsage &&
    (status === 400 || status === 422) &&
    (await answer.beginning()).includes("stream_options")
  ) {
    cooldowns.refuseUsage(target.url.origin);
    answer.drop();
    await context.failed(attempt(status));
    return { kind: "without usage" };
  }
  const retryAfterMs = retryAfter(headers);
  const isLong = retryAfterMs !== undefined && retryAfterMs > limits.inlineRetryAfterMs;
  if (isRetryable(status) && isLong) cooldowns.cool(placeOf(target), retryAfterMs);
  const good = status < 400 && (isLast || !(await answer.beginsWithError()));
  const retry = (status < 400 || isRetryable(status)) && !isLong;
  if (good || isLast || (isLastTarget && !retry)) return { kind: "answer", answer: answer.give() };
  answer.drop();
  await context.failed(attempt(status));
  return { kind: "status", retry, retryAfterMs };
}

/** An answer whose head is here and of which nothing was given to anybody yet. */
type Pending = {
  status: number;
  headers: Record<string, string>;
  /** Text of a short answer, or how a long one begins. */
  beginning(): Promise<string>;
  beginsWithError(): Promise<boolean>;
  give(): Answer;
  drop(): void;
};

async function begin(target: Target, timeout: number | undefined, context: AttemptContext): Promise<Pending> {
  const headers = await headersFor(target);
  // A connection that the provider closed while it was idle: nothing of the answer came, and the request was not taken.
  try {
    return await send({ target, headers, timeout, context });
  } catch (error) {
    if (!wasIdle(error) || context.signal.aborted) throw error;
    return send({ target, headers, timeout, context });
  }
}

/** Compressed events could not be counted as they pass; what comes compressed all the same is passed on so. */
async function headersFor({ url, method, headers, body, awsKey }: Target): Promise<Record<string, string>> {
  const all = { ...Object.fromEntries(headers), "accept-encoding": "identity" };
  return awsKey ? awsHeaders(awsKey, { url, method, headers: all, body }) : all;
}

type Sending = {
  target: Target;
  headers: Record<string, string>;
  timeout: number | undefined;
  context: AttemptContext;
};

function send({ target, headers, timeout, context }: Sending): Promise<Pending> {
  const { signal } = context;
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    let received: Receiving | undefined;
    let call: UpstreamCall | undefined;
    const stop = () => {
      call?.abort();
      received?.fail(new Error("the request was cancelled"));
      reject(signal.reason as Error);
    };
    const cleanUp = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    };
    signal.addEventListener("abort", stop, { once: true });
    call = context.upstream.send(
      {
        url: target.url,
        method: target.method,
        headers,
        body: target.body.length === 0 && target.method === "GET" ? undefined : target.body,
        headersMs: limits.headersMs,
      },
      {
        onHead(head) {
          clearTimeout(timer);
          received = new Receiving({ ...head, target, keep: context.keepBody, call: () => call, watch: context.watch });
          resolve(received);
        },
        onData: (piece) => received?.take(piece),
        onEnd() {
          cleanUp();
          received?.end();
        },
        onError(error) {
          cleanUp();
          received?.fail(error);
          reject(error);
        },
      },
    );
    if (timeout === undefined) return;
    timer = setTimeout(() => {
      cleanUp();
      call.abort();
      reject(gatewayErrors.timedOut(target.slug));
    }, timeout);
  });
}

class Receiving implements Pending {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly #options: ReceivingOptions;
  readonly #body: AnswerBody;
  #watcher: AnswerWatcher | undefined;
  /** What came before the answer was given. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #over: { error: Error | undefined } | undefined;
  #wake: (() => void) | undefined;

  constructor(options: ReceivingOptions) {
    this.status = options.status;
    this.headers = options.headers;
    this.#options = options;
    this.#body = new AnswerBody({
      keep: options.keep,
      source: {
        pause: () => options.call()?.pause(),
        resume: () => options.call()?.resume(),
        cancel: () => this.#cancel(),
      },
    });
  }

  take(piece: Buffer): void {
    if (this.#watcher) {
      this.#watcher.piece(piece);
      this.#body.push(piece);
      return;
    }
    this.#held.push(piece);
    this.#heldBytes += piece.length;
    if (this.#heldBytes > limits.unreadBytes) this.#options.call()?.pause();
    this.#wake?.();
  }

  end(): void {
    this.#finish(undefined);
  }

  fail(error: Error): void {
    this.#finish(error);
  }

  async beginning(): Promise<string> {
    while (!this.#over && this.#heldBytes < limits.unreadBytes) await this.#more();
    return Buffer.concat(this.#held).toString();
  }

  /** Looks at the first event of a stream: some providers answer 200 and say there that they failed. */
  async beginsWithError(): Promise<boolean> {
    if (!(this.headers["content-type"] ?? "").startsWith("text/event-stream")) return false;
    for (;;) {
      const text = Buffer.concat(this.#held).toString();
      const data = text
        .split(/\r?\n/)
        .find((line, index, lines) => line.startsWith("data:") && index < lines.length - 1);
      if (data !== undefined) return hasError(parseData(Buffer.from(data)));
      if (this.#over) return this.#over.error !== undefined;
      if (this.#heldBytes > limits.unreadBytes) return false;
      await this.#more();
    }
  }

  async #more(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  give(): Answer {
    const { target } = this.#options;
    const answer = { target, status: this.status, headers: this.headers, body: this.#body };
    this.#watcher = this.#options.watch(answer);
    const held = this.#held;
    this.#held = [];
    for (const piece of held) this.take(piece);
    this.#options.call()?.resume();
    if (this.#over) this.#finish(this.#over.error);
    return answer;
  }

  drop(): void {
    this.#held = [];
    this.#options.call()?.abort();
  }

  #cancel(): void {
    this.#options.call()?.abort();
    this.#finish(new EverybodyLeft("nobody reads the answer any more"));
  }

  #finish(error: Error | undefined): void {
    this.#over ??= { error };
    this.#wake?.();
    if (!this.#watcher) return;
    const watcher = this.#watcher;
    this.#watcher = { piece: () => {}, end: () => {} };
    watcher.end(error);
    if (error) this.#body.fail(error);
    else this.#body.end();
  }
}

type ReceivingOptions = {
  status: number;
  headers: Record<string, string>;
  target: Target;
  keep: boolean;
  call: () => UpstreamCall | undefined;
  watch: (answer: Answer) => AnswerWatcher;
};

/** Who asks whom: a provider that has enough of one key has not of another's. */
function placeOf({ url, credential }: Target): string {
  return `${url.origin} ${credential}`;
}

function failureOf(error: unknown, target: Target): ApiError {
  return error instanceof RefusedAddress
    ? gatewayErrors.refusedAddress(target.url.hostname, error.message)
    : gatewayErrors.noAnswer(target.slug, error);
}

/** A connection that was used before and ended without a byte of an answer to this request. */
function wasIdle(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  if (error.code !== "UND_ERR_SOCKET" && error.code !== "ECONNRESET") return false;
  const socket = "socket" in error ? (error.socket as { bytesRead?: number } | undefined) : undefined;
  return (socket?.bytesRead ?? 0) > 0;
}

const retryableStatus = new Set([408, 409, 425, 429, 500, 502, 503, 504, 522, 523, 524, 529]);

function isRetryable(status: number): boolean {
  return retryableStatus.has(status);
}

/** How long a provider asks to be left alone: seconds, a date, or OpenAI's and Azure's milliseconds. */
function retryAfter(headers: Readonly<Record<string, string>>, now = Date.now()): number | undefined {
  const ms = headers["retry-after-ms"];
  if (ms !== undefined && /^[0-9.]+$/.test(ms)) return Number(ms);
  const text = headers["retry-after"];
  if (text === undefined) return undefined;
  if (/^[0-9.]+$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

function waitOf(
  { retryDelayMs = 0, backoff = "constant" }: RetryOptions,
  attempt: number,
  asked: number | undefined,
): number {
  const factor = backoff === "linear" ? attempt : backoff === "exponential" ? 2 ** (attempt - 1) : 1;
  return Math.min(Math.max(retryDelayMs * factor, asked ?? 0), limits.gatewayRetryDelayMsMax);
}
