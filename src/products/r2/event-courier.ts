import { ApiError, messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import type { PendingEvent, R2Events } from "#products/r2/events.ts";

const log = createLogger("r2.events");

const limits = {
  /** How often it is looked whether something waits: a few microseconds each time. */
  lookMs: 200,
  /** After a queue that did not take its messages. */
  retryMs: 5000,
  /** Events that wait for one queue; the oldest make room. */
  waiting: 1_000_000,
  /** Messages of one send, each of at most 2.6 KB; a send has 256 KB. */
  batch: 50,
};

/** Takes messages for a queue; fails with 404 when there is no such queue any more. */
export type SendToQueue = (queueId: string, bodies: readonly Uint8Array[]) => Promise<void>;

/** Brings events of objects to their queues, in the order in which they happened. */
export class EventCourier {
  readonly #events: R2Events;
  readonly #send: SendToQueue;
  /** Queues that did not take what was theirs, and when they are asked again, `performance.now()`. */
  readonly #notBefore = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> | undefined;
  #stopped = false;

  constructor(events: R2Events, send: SendToQueue) {
    this.#events = events;
    this.#send = send;
    this.#next(0);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#working;
  }

  #next(ms: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#working = this.#look().then((pauseMs) => this.#next(pauseMs));
    }, ms).unref();
  }

  /** How long to wait for the next look. A queue that does not take its own is in nobody's way. */
  async #look(): Promise<number> {
    try {
      const now = performance.now();
      const due = this.#events.queues().filter((queueId) => (this.#notBefore.get(queueId) ?? 0) <= now);
      await Promise.all(due.map(async (queueId) => this.#deliver(queueId)));
    } catch (error) {
      log.error("events of objects could not be read", { error });
    }
    return limits.lookMs;
  }

  async #deliver(queueId: string): Promise<void> {
    this.#notBefore.delete(queueId);
    while (!this.#stopped) {
      const batch = this.#events.pending(queueId, limits.batch);
      if (batch.length === 0) return;
      if (!(await this.#take(queueId, batch))) return this.#putOff(queueId);
      await this.#events.remove(batch.map(({ id }) => id));
    }
  }

  /** Whether the queue has them, or is gone. */
  async #take(queueId: string, batch: readonly PendingEvent[]): Promise<boolean> {
    try {
      await this.#send(
        queueId,
        batch.map(({ body }) => body),
      );
      return true;
    } catch (error) {
      const isGone = error instanceof ApiError && error.status === 404;
      if (isGone) log.warn("events of objects are for a queue that is gone", { queueId, events: batch.length });
      else log.warn("a queue did not take events of objects", { queueId, error: messageOf(error) });
      return isGone;
    }
  }

  async #putOff(queueId: string): Promise<void> {
    this.#notBefore.set(queueId, performance.now() + limits.retryMs);
    const leftOut = await this.#events.trim(queueId, limits.waiting);
    if (leftOut > 0) log.error("events of objects are left out: too many wait for a queue", { queueId, leftOut });
  }
}
