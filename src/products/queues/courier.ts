import { sleep } from "#core/deadline.ts";
import { createLogger } from "#core/log.ts";
import type { Deliver, Delivered } from "#products/queues/delivery.ts";
import type { Load } from "#products/queues/load.ts";
import { limits } from "#products/queues/schema.ts";
import type { Claimed, PushQueue, PushStore, RetryRule } from "#products/queues/store.ts";
import { settlement } from "#products/queues/settlement.ts";

const log = createLogger("queues.courier");

/** Timers longer than this are set again: `setTimeout` takes 31 bits. */
const timerMsMax = 60_000;

type Parts = {
  queue: PushQueue;
  store: PushStore;
  deliver: Deliver;
  load: Load;
  signal: AbortSignal;
  /** The load has gone down. */
  othersLook: () => void;
};

/**
 * Takes the messages of one queue to its consumer: as many batches at a time as the backlog asks for and the consumer allows.
 * https://developers.cloudflare.com/queues/configuration/batching-retries/ and consumer-concurrency/.
 */
export class Courier {
  readonly #parts: Parts;
  #queue: PushQueue;
  #stopped = false;
  #running = new Set<Promise<void>>();
  /** How many deliveries there may be at a time just now. */
  #allowed = 1;
  #timer: NodeJS.Timeout | undefined;
  #nudged: NodeJS.Immediate | undefined;
  /** Nobody could be reached: no try before this time. */
  #pausedUntil = 0;
  #unreachableMs: number = limits.unreachableMsMin;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#queue = parts.queue;
  }

  get running(): number {
    return this.#running.size;
  }

  change(queue: PushQueue): void {
    this.#queue = queue;
    // A consumer that was just mended or deployed is tried at once.
    this.#pausedUntil = 0;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async finished(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** There may be something to do: many such words in a row are one look. */
  nudge(): void {
    if (this.#nudged) return;
    this.#nudged = setImmediate(() => {
      this.#nudged = undefined;
      this.#look();
    });
  }

  /** Begins the deliveries that are due, and sets the clock for the next. */
  readonly #look = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (!this.#stopped && !this.#queue.paused && this.#hasRoom) {
      const due = this.#due();
      if (due === "later") return;
      const delivery = this.#carry(due).catch((error: unknown) =>
        log.error("a delivery failed", { queue: this.#queue.name, error }),
      );
      const tracked: Promise<void> = delivery.finally(() => {
        this.#running.delete(tracked);
        this.nudge();
      });
      this.#running.add(tracked);
    }
  };

  get #hasRoom(): boolean {
    const most = Math.min(this.#allowed, this.#queue.consumer.settings.max_concurrency ?? limits.concurrency);
    // One delivery at least goes on whatever the others hold.
    return this.#running.size < most && (this.#running.size === 0 || !this.#parts.load.isFull);
  }

  /** Rows of a batch that is full or has waited long enough; else the clock is set. */
  #due(): number[] | "later" {
    const { store } = this.#parts;
    const { num, consumer } = this.#queue;
    const now = store.now();
    if (now < this.#pausedUntil) return this.#lookIn(this.#pausedUntil - now);
    const { batch_size: size, max_wait_time_ms: waitMs } = consumer.settings;
    const ready = store.ready(num, size);
    const [first] = ready;
    if (!first) {
      this.#allowed = Math.max(1, this.#running.size);
      const next = store.nextVisibleAt(num);
      return next === undefined ? "later" : this.#lookIn(next - now);
    }
    const waited = now - first.visibleAt;
    if (ready.length < size && waited < waitMs) {
      const next = store.nextVisibleAt(num) ?? Infinity;
      return this.#lookIn(Math.min(waitMs - waited, next - now));
    }
    return ready.map(({ row }) => row);
  }

  #lookIn(ms: number): "later" {
    this.#timer = setTimeout(this.#look, Math.max(1, Math.min(ms, timerMsMax)));
    return "later";
  }

  async #carry(rows: readonly number[]): Promise<void> {
    const { store, load } = this.#parts;
    const queue = this.#queue;
    const { num } = queue;
    store.claim(num, rows);
    const { messages, damaged } = store.read(num, rows);
    const bytes = messages.reduce((sum, { body }) => sum + body.length, 0);
    load.bytes += bytes;
    try {
      if (damaged.length > 0) await this.#putOff(num, damaged);
      if (messages.length > 0) await this.#handOver(queue, messages);
    } finally {
      load.bytes -= bytes;
      store.release(num, rows);
      this.#parts.othersLook();
    }
  }

  async #handOver(queue: PushQueue, messages: readonly Claimed[]): Promise<void> {
    const { store, deliver, signal } = this.#parts;
    const delivered = await deliver(queue, { messages, metrics: store.metricsOf(queue.num), signal });
    if (signal.aborted) return;
    this.#learn(delivered, queue);
    if (delivered.kind === "unreached") return;
    const outcome = delivered.kind === "done" ? delivered.outcome : undefined;
    await this.#finish(queue.num, settlement(messages, outcome, queue.consumer.settings.retry_delay), ruleOf(queue));
  }

  /** What a delivery says about how many there may be, and about when to try again. */
  #learn(delivered: Delivered, queue: PushQueue): void {
    if (delivered.kind === "unreached") {
      log.debug("a consumer could not be reached", { queue: queue.name, why: delivered.why });
      this.#pausedUntil = this.#parts.store.now() + this.#unreachableMs;
      this.#unreachableMs = Math.min(2 * this.#unreachableMs, limits.unreachableMsMax);
      this.#allowed = 1;
      return;
    }
    this.#unreachableMs = limits.unreachableMsMin;
    const succeeded = delivered.kind === "done" && delivered.outcome.outcome === "ok";
    // Only what throws counts as failed; messages that are retried by their own word do not (consumer-concurrency/).
    if (succeeded) this.#allowed = Math.min(this.#allowed + 1, limits.concurrency);
    else this.#allowed = Math.max(1, Math.floor(this.#allowed / 2));
  }

  async #putOff(num: number, damaged: readonly number[]): Promise<void> {
    log.error("messages are damaged on disk and cannot be delivered", { queue: this.#queue.name, rows: damaged });
    const retries = damaged.map((row) => ({ row, delaySeconds: limits.damagedDelaySeconds }));
    await this.#finish(num, { acks: [], retries }, ruleOf(this.#queue));
  }

  /** Until it is on disk: to let go of the messages before would deliver again what was acknowledged. */
  async #finish(num: number, result: ReturnType<typeof settlement>, rule: RetryRule): Promise<void> {
    const { store, signal } = this.#parts;
    for (let waitMs = 50; ; waitMs = Math.min(2 * waitMs, 5000)) {
      try {
        return await store.finish(num, { ...result, rule });
      } catch (error) {
        log.warn("a delivery could not be settled yet", { queue: this.#queue.name, error });
        if (signal.aborted) return;
        await sleep(waitMs);
      }
    }
  }
}

function ruleOf({ consumer }: PushQueue): RetryRule {
  return { maxRetries: consumer.settings.max_retries, deadLetterQueue: consumer.deadLetterQueue };
}
