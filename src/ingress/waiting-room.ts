import type { IngressLimits } from "#ingress/limits.ts";
import type { Routing } from "#ingress/routing.ts";

/** A request that waits for a process; `tryAgain` is called until it leaves. */
export interface Waiting {
  tryAgain(): void;
}

/**
 * What a request waits for. process: one that is expected within moments. start: one that must be started first. host: to
 * learn whether anybody answers for its host.
 */
export type WaitsFor = "process" | "start" | "host";

type Room = { waiting: Set<Waiting>; timer: NodeJS.Timeout | undefined; everyMs: number; max: number };

/** Where requests wait whose process is starting or restarting. They look again at each new table, and now and then without one. */
export class WaitingRoom {
  readonly #limits: IngressLimits;
  readonly #rooms: Record<WaitsFor, Room>;

  constructor(limits: IngressLimits, routing: Routing) {
    this.#limits = limits;
    const { heldRequests, heldUnknownHosts, holdEveryMs, wakeEveryMs } = limits;
    this.#rooms = {
      process: { waiting: new Set(), timer: undefined, everyMs: holdEveryMs, max: heldRequests },
      start: { waiting: new Set(), timer: undefined, everyMs: wakeEveryMs, max: heldRequests },
      host: { waiting: new Set(), timer: undefined, everyMs: wakeEveryMs, max: heldUnknownHosts },
    };
    routing.onInstall(() => {
      this.#lookAgain("process");
      this.news();
    });
  }

  get size(): number {
    const { process, start, host } = this.#rooms;
    return process.waiting.size + start.waiting.size + host.waiting.size;
  }

  /** False when there is no room. */
  enter(one: Waiting, what: WaitsFor): boolean {
    const room = this.#rooms[what];
    if (room.waiting.size >= room.max || this.size >= this.#limits.heldRequests) return false;
    room.waiting.add(one);
    room.timer ??= setTimeout(() => this.#lookAgain(what), room.everyMs);
    return true;
  }

  leave(one: Waiting): void {
    for (const { waiting } of Object.values(this.#rooms)) waiting.delete(one);
  }

  /** The supervisor said something, or could not be asked: those who wait for it look again. */
  news(): void {
    this.#lookAgain("start");
    this.#lookAgain("host");
  }

  close(): void {
    for (const room of Object.values(this.#rooms)) {
      clearTimeout(room.timer);
      room.timer = undefined;
      room.waiting.clear();
    }
  }

  #lookAgain(what: WaitsFor): void {
    const room = this.#rooms[what];
    clearTimeout(room.timer);
    room.timer = undefined;
    const all = [...room.waiting];
    room.waiting.clear();
    for (const one of all) one.tryAgain();
  }
}
