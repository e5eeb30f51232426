import type { Child } from "#runtime/child.ts";
import { Front, type FrontSurroundings } from "#runtime/front.ts";
import type { FrontLaunch, FrontRunning, Startable } from "#runtime/front-launch.ts";

/** How the ingress sees a version. */
export type FrontTarget = { sockets: string[]; down?: string; asleep?: true };

/** Lives in a row that ended too soon, from which on requests get a page instead of waiting. */
const downAfterFailures = 2;

/** The processes of one version: none while it sleeps, else one or more that are all alike. */
export class VersionFronts {
  readonly startable: Startable;
  /** When it was last woken, `performance.now()`. */
  awakeSince = performance.now();
  /** For `nextCount`. */
  quietFor = 0;
  /** Whether a deploy may count it as done: it has served or failed, or nobody waits for its start. */
  #settled: boolean;
  #asleep: boolean;
  #fronts: Front[] = [];
  readonly #around: FrontSurroundings;
  readonly #launch: () => Promise<FrontLaunch>;

  /** Asleep until it is woken. */
  constructor(startable: Startable, around: FrontSurroundings, launch: () => Promise<FrontLaunch>) {
    this.startable = startable;
    this.#around = around;
    this.#launch = launch;
    this.#asleep = true;
    this.#settled = true;
  }

  get fronts(): readonly Front[] {
    return this.#fronts;
  }

  get asleep(): boolean {
    return this.#asleep;
  }

  /** Those that requests may go to, whether or not they serve yet. */
  get offered(): Front[] {
    return this.#fronts.filter(({ offered }) => offered);
  }

  get isSettled(): boolean {
    this.#settled ||= this.offered.some(({ keeper }) => keeper.servedOnce || keeper.failures > 0);
    return this.#settled;
  }

  /** Gives it a process when it has none. A deploy waits until it serves when `waitFor`. */
  wake({ waitFor = false } = {}): void {
    if (this.#asleep) this.awakeSince = performance.now();
    this.#asleep = false;
    this.#settled = !waitFor;
    this.scaleTo(Math.max(1, this.offered.length));
  }

  /** Takes requests no more. Its processes end when the ingress knows. */
  sleep(): void {
    this.#asleep = true;
    this.scaleTo(0);
  }

  /** Runs `count` processes: offers those that are there before it starts others; takes away the latest first. */
  scaleTo(count: number): void {
    for (const front of this.offered.slice(count)) front.offered = false;
    for (const front of this.#fronts) {
      if (this.offered.length >= count) break;
      front.offered = true;
    }
    while (this.offered.length < count) this.#add();
    this.#around.changed();
  }

  /** A process that serves already: from its trial, from a supervisor before us, or taken back while it was leaving. */
  adopt(running: { launch: FrontRunning; child: Child } | Front): void {
    this.#asleep = false;
    this.awakeSince = performance.now();
    if (running instanceof Front) {
      running.offered = true;
      this.#fronts.push(running);
    } else this.#add(running);
  }

  target(): FrontTarget {
    if (this.#asleep) return { sockets: [], asleep: true };
    const offered = this.offered;
    const sockets = offered.flatMap(({ sockets: own }) => own?.http ?? []);
    const failing = offered.every(({ keeper }) => keeper.failures >= downAfterFailures);
    if (sockets.length > 0 || !failing) return { sockets };
    return { sockets, down: offered[0]?.keeper.lastEnd ?? "could not be started" };
  }

  /** Removes and answers the processes that nobody is sent to: not offered, and not in `sockets`, the table in force. */
  release(sockets: ReadonlySet<string>): Front[] {
    const gone = this.#fronts.filter(
      ({ offered, sockets: own }) => !offered && !(own !== undefined && sockets.has(own.http)),
    );
    this.#fronts = this.#fronts.filter((front) => !gone.includes(front));
    return gone;
  }

  #add(running?: { launch: FrontRunning; child: Child }): void {
    const { workerId, versionId, scriptName } = this.startable.version;
    const again = { startable: this.startable, launch: this.#launch };
    const front = new Front({ workerId, versionId, scriptName }, this.#around, again);
    this.#fronts.push(front);
    front.start(running);
  }
}
