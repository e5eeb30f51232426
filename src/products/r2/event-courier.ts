import { ApiError, messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import type { PendingEvent, R2Events } from "#products/r2/events.ts";

const log = createLogger("r2.events");

const limits = {
  /** How often it is looked whether something waits: a few microseconds each time. */
  lookMs: 200,
  /** After a queue that did not take its messages. */
  retryMs: 5000,
  atOnce: 500,
  /** Messages of one send, each of at most 2.6 KB; a send has 256 KB. */
  batch: 50,
};

/** Takes messages for a queue; fails with 404 when there is no such queue any more. */
export type SendToQueue = (queueId: string, bodies: readonly Uint8Array[]) => Promise<void>;

/** Brings events of objects to their queues, in the order in which they happened. */
export class EventCourier {
  readonly #events: R2Events;
  readonly #send: SendToQueue;
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

  /** How long to wait for the next look. */
  async #look(): Promise<number> {
    try {
      const events = this.#events.pending(limits.atOnce);
      if (events.length === 0) return limits.lookMs;
      const isDone = await this.#deliver(events);
      return isDone ? 0 : limits.retryMs;
    } catch (error) {
      log.error("events of objects could not be read", { error });
      return limits.retryMs;
    }
  }

  /** False when a queue has not taken what is meant for it; then nothing more of it is sent before that. */
  async #deliver(events: readonly PendingEvent[]): Promise<boolean> {
    const byQueue = Map.groupBy(events, ({ queueId }) => queueId);
    const taken = await Promise.all([...byQueue].map(async ([queueId, all]) => this.#sendAll(queueId, all)));
    return taken.every(Boolean);
  }

  async #sendAll(queueId: string, events: readonly PendingEvent[]): Promise<boolean> {
    for (let at = 0; at < events.length; at += limits.batch) {
      const batch = events.slice(at, at + limits.batch);
      try {
        await this.#send(
          queueId,
          batch.map(({ body }) => body),
        );
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 404) {
          log.warn("a queue did not take events of objects", { queueId, error: messageOf(error) });
          return false;
        }
        log.warn("events of objects are for a queue that is gone", { queueId, events: batch.length });
      }
      await this.#events.remove(batch.map(({ id }) => id));
    }
    return true;
  }
}
