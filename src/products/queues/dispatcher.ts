import { createLogger } from "#core/log.ts";
import { Courier } from "#products/queues/courier.ts";
import type { Deliver } from "#products/queues/delivery.ts";
import { Load } from "#products/queues/load.ts";
import type { PushStore } from "#products/queues/store.ts";

const log = createLogger("queues.dispatcher");

/**
 * Hands messages to the Workers that consume them. It runs beside the store, in the state process, and nowhere else: so what is
 * being delivered needs no lease on disk, and an acknowledgement is one write. Whatever is killed, the messages are still there:
 * this process begins anew with all that is not acknowledged on disk; the ingress and the Worker's process only carry a batch.
 */
export class Dispatcher {
  readonly #store: PushStore;
  readonly #deliver: Deliver;
  readonly #load = new Load();
  readonly #stopping = new AbortController();
  #couriers = new Map<number, Courier>();

  constructor(store: PushStore, deliver: Deliver) {
    this.#store = store;
    this.#deliver = deliver;
    store.onChange((num) => {
      if (num === undefined) this.#refresh();
      else this.#couriers.get(num)?.nudge();
    });
    this.#refresh();
  }

  /** Deliveries under way of a queue with this number. */
  running(num: number): number {
    return this.#couriers.get(num)?.running ?? 0;
  }

  /** Begins nothing more, waits `graceMs` for what is under way, and gives up on the rest: it is delivered again. */
  async stop(graceMs: number): Promise<void> {
    const left = [...this.#couriers.values()];
    for (const courier of left) courier.stop();
    const timer = setTimeout(() => this.#stopping.abort(), graceMs);
    await Promise.all(left.map((courier) => courier.finished()));
    clearTimeout(timer);
  }

  /** Which queues have a consumer, and how it is set. */
  #refresh(): void {
    if (this.#stopping.signal.aborted) return;
    const before = this.#couriers;
    this.#couriers = new Map();
    for (const queue of this.#store.pushQueues()) {
      const courier = before.get(queue.num);
      if (courier) courier.change(queue);
      else log.debug("a queue has a consumer", { queue: queue.name, script: queue.consumer.script });
      this.#couriers.set(
        queue.num,
        courier ??
          new Courier({
            queue,
            store: this.#store,
            deliver: this.#deliver,
            load: this.#load,
            signal: this.#stopping.signal,
            othersLook: () => this.#lookAll(),
          }),
      );
    }
    for (const [num, courier] of before) if (!this.#couriers.has(num)) courier.stop();
    this.#lookAll();
  }

  #lookAll(): void {
    for (const courier of this.#couriers.values()) courier.nudge();
  }
}
