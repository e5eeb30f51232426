import type { IngressLimits } from "#ingress/limits.ts";
import type { Routing } from "#ingress/routing.ts";

/** A request that waits for a process; `tryAgain` is called until it leaves. */
export interface Waiting {
  tryAgain(): void;
}

/** Where requests wait whose process is starting or restarting. They look again every few milliseconds and at each new table. */
export class WaitingRoom {
  readonly #limits: IngressLimits;
  readonly #waiting = new Set<Waiting>();
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: IngressLimits, routing: Routing) {
    this.#limits = limits;
    routing.onInstall(() => this.#lookAgain());
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** False when there is no room. */
  enter(one: Waiting): boolean {
    if (this.#waiting.size >= this.#limits.heldRequests) return false;
    this.#waiting.add(one);
    this.#timer ??= setTimeout(() => this.#lookAgain(), this.#limits.holdEveryMs);
    return true;
  }

  leave(one: Waiting): void {
    this.#waiting.delete(one);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting.clear();
  }

  #lookAgain(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const all = [...this.#waiting];
    this.#waiting.clear();
    for (const one of all) one.tryAgain();
  }
}
