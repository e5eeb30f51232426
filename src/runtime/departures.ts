import { sleep } from "#core/deadline.ts";
import { createLogger } from "#core/log.ts";
import { placesOf } from "#products/workers/places.ts";
import type { Front } from "#runtime/front.ts";
import { lateWork } from "#runtime/late-work.ts";

const limits = {
  /** Between looks at what is still under way. */
  pollMs: 100,
  /** From SIGTERM to SIGKILL once nothing is under way. */
  stopMs: 2000,
};

const log = createLogger("supervisor.departures");

type Departure = { front: Front; cut: AbortController; done: Promise<void>; stopping: boolean };

/**
 * Processes that get no more requests: each finishes what it has begun, for as long as it may, and ends. Nobody waits for
 * that. When a Worker has too many of them the one that left first is cut off.
 */
export class Departures {
  readonly #drainMs: number;
  readonly #perWorker: number;
  /** Open requests and WebSockets of a process as the ingress counts them. */
  readonly #openRequests: (socket: string) => Promise<number>;
  readonly #ended: (front: Front, cpuMs: number) => void;
  /** The first to leave first. */
  #departures: Departure[] = [];

  /** `ended` is told of each, with the CPU time that it has used. */
  constructor(options: {
    drainMs: number;
    /** Of one Worker; with more of them the first one is cut off. */
    drainingMax: number;
    openRequests: (socket: string) => Promise<number>;
    ended: (front: Front, cpuMs: number) => void;
  }) {
    this.#drainMs = options.drainMs;
    this.#perWorker = options.drainingMax;
    this.#openRequests = options.openRequests;
    this.#ended = options.ended;
  }

  get fronts(): Front[] {
    return this.#departures.map(({ front }) => front);
  }

  add(front: Front): void {
    front.offered = false;
    // Nobody is sent to it: when it ends, then it has ended.
    front.keeper.retire();
    const departure: Departure = { front, cut: new AbortController(), done: Promise.resolve(), stopping: false };
    this.#departures.push(departure);
    departure.done = this.#see(departure);
    const ofWorker = this.#departures.filter(
      ({ front: other, cut }) => other.version.workerId === front.version.workerId && !cut.signal.aborted,
    );
    for (const { cut, front: oldest } of ofWorker.slice(0, -this.#perWorker)) {
      log.warn("a process is cut off: too many of its Worker are leaving", { process: oldest.keeper.name });
      cut.abort();
    }
  }

  /** A process of a version that need not leave after all: it serves still, and the version is wanted again with its objects in the same `places`. */
  takeBack(versionId: string, places: string): Front | undefined {
    const found = this.#departures.findLast(
      ({ front, stopping, cut }) =>
        !stopping &&
        !cut.signal.aborted &&
        front.version.versionId === versionId &&
        front.startable &&
        placesOf(front.startable.version) === places &&
        front.sockets,
    );
    if (!found) return undefined;
    this.#departures = this.#departures.filter((departure) => departure !== found);
    found.cut.abort();
    found.front.keeper.unretire();
    return found.front;
  }

  /** Resolves when all have ended. */
  async finished(): Promise<void> {
    await Promise.all(this.#departures.map(({ done }) => done));
  }

  async #see(departure: Departure): Promise<void> {
    const { front, cut } = departure;
    try {
      await this.#untilDone(front, cut.signal);
      if (!this.#departures.includes(departure)) return;
      departure.stopping = true;
      this.#ended(front, await front.stop(limits.stopMs));
    } catch (error) {
      log.error("a process could not be stopped", { process: front.keeper.name, error });
    }
    this.#departures = this.#departures.filter((other) => other !== departure);
  }

  /** Resolves when nothing is under way, when the time is over, or when it is cut off. */
  async #untilDone(front: Front, cut: AbortSignal): Promise<void> {
    const end = performance.now() + this.#drainMs;
    while (front.sockets && !cut.aborted && performance.now() < end) {
      const { http, probe } = front.sockets;
      // An ingress that does not answer is being restarted: nobody knows, so the process stays.
      const [open, late] = await Promise.all([this.#openRequests(http).catch(() => 1), lateWork(probe)]);
      if (open + late === 0) return;
      await sleep(limits.pollMs, cut).catch(() => undefined);
    }
  }
}
