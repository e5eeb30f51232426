import { messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import type { Front, FrontVersion } from "#runtime/front.ts";
import type { Fronts } from "#runtime/fronts.ts";
import { lateWork } from "#runtime/late-work.ts";
import type { CondemnOutcome, OpenReport } from "#runtime/routes.ts";
import { isIdle, nextCount, scaling } from "#runtime/scaling.ts";
import type { VersionFronts } from "#runtime/version-fronts.ts";

export type WatchOptions = {
  fronts: Fronts;
  /** Looked at as well; how many there are and when they sleep is their own affair. */
  owners: Pick<Fronts, "all">;
  /** Processes that one version may have at once. */
  frontsMax: number;
  /** A version that nobody used for so long has none. */
  idleMs: number;
  /** CPU time of one computation, for versions whose upload names none, ms. */
  cpuMs: number;
  memoryBytes: number;
  /** What is open, as the ingress counts it. */
  open: () => Promise<OpenReport>;
  /** Tells the ingress that the process behind a socket is about to be ended. */
  condemn: (socket: string, outcome: CondemnOutcome) => Promise<void>;
  /** Tells the Worker's log, once that has happened. */
  logOutcome: (version: FrontVersion, outcome: CondemnOutcome) => Promise<void>;
};

const limits = {
  /** Between two looks at a process that does something. A memory bomb grows by 175 MB in that time (measured). */
  lookMs: 100,
  /** Processes that stand still and are looked at in one go: with more of them each is looked at less often. */
  stillAtOnce: 40,
  /** How often idle versions are searched for, at most and at least. */
  idleLookMinMs: 100,
  idleLookMaxMs: 15_000,
};

const reasons: Record<CondemnOutcome, string> = {
  exceededCpu: "exceeded its CPU time limit",
  exceededMemory: "exceeded its memory limit",
};

const log = createLogger("supervisor.watch");

/** Looks at what Workers' processes use: ends runaways, gives a busy version more processes and takes them from an idle one. */
export class FrontWatch {
  readonly #options: WatchOptions;
  #timer: NodeJS.Timeout | undefined;
  #count = 0;
  #loadAt = performance.now();
  #idleAt = performance.now();
  /** CPU time at the last look, ms: whose did not move stands still. */
  readonly #seenCpuMs = new WeakMap<Front, number>();
  readonly #still = new WeakSet<Front>();
  readonly #ending = new Set<Front>();
  #asking = false;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.#tick(), limits.lookMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = performance.now();
    this.#look();
    if (now - this.#loadAt >= scaling.windowMs) this.#inBackground(this.#scale(now));
    const { idleMs } = this.#options;
    const everyMs = Math.min(limits.idleLookMaxMs, Math.max(limits.idleLookMinMs, idleMs / 4));
    if (now - this.#idleAt < everyMs || this.#asking) return;
    this.#idleAt = now;
    this.#asking = true;
    this.#inBackground(this.#putToSleep(now).finally(() => (this.#asking = false)));
  }

  #look(): void {
    const all = [...this.#options.fronts.all(), ...this.#options.owners.all()];
    const still = all.filter(({ front }) => this.#still.has(front)).length;
    const every = Math.ceil(still / limits.stillAtOnce);
    this.#count++;
    for (const [index, { front, cpuMs }] of all.entries()) {
      if (this.#still.has(front) && (index + this.#count) % every !== 0) continue;
      if (this.#ending.has(front)) continue;
      const { memoryBytes } = this.#options;
      const verdict = front.look({ cpuMs: cpuMs ?? this.#options.cpuMs, memoryBytes });
      if (verdict !== "fine") this.#inBackground(this.#end(front, verdict));
      const used = front.usage.cpuMs;
      if (this.#seenCpuMs.get(front) === used) this.#still.add(front);
      else this.#still.delete(front);
      this.#seenCpuMs.set(front, used);
    }
  }

  async #end(front: Front, outcome: CondemnOutcome): Promise<void> {
    this.#ending.add(front);
    const { keeper, sockets, version, usage } = front;
    const { pid } = keeper;
    log.warn("a process is ended", { process: keeper.name, pid, outcome, ...usage });
    try {
      if (sockets) await this.#options.condemn(sockets.http, outcome);
    } finally {
      if (keeper.pid === pid) keeper.condemn(reasons[outcome]);
      this.#ending.delete(front);
    }
    await this.#options.logOutcome(version, outcome);
  }

  async #scale(now: number): Promise<void> {
    this.#loadAt = now;
    const loads = this.#options.fronts.versions().map((version) => {
      const shares = version.offered.map((front) => front.load(now) ?? 0);
      return { version, cores: shares.reduce((sum, share) => sum + share, 0) };
    });
    const busy = loads.some(({ version, cores }) => cores > version.offered.length * scaling.busyShare);
    const report = busy ? await this.#options.open() : undefined;
    for (const { version, cores } of loads) {
      const count = version.offered.length;
      const use = report?.targets[version.startable.version.versionId];
      const open = (use?.requests ?? 0) + (use?.webSockets ?? 0);
      const next = nextCount({ count, max: this.#options.frontsMax, cores, open, quietFor: version.quietFor });
      version.quietFor = next.quietFor;
      // It may have gone to sleep while the ingress was asked.
      if (next.count !== count && version.offered.length === count) version.scaleTo(next.count);
    }
  }

  async #putToSleep(now: number): Promise<void> {
    const awake = this.#options.fronts.versions().filter(({ asleep, isSettled }) => !asleep && isSettled);
    const { idleMs } = this.#options;
    const candidates = awake.filter(({ awakeSince }) => isIdle({ now, idleMs, awakeSince, lastUsedAgoMs: undefined }));
    if (candidates.length === 0) return;
    const { targets } = await this.#options.open();
    for (const version of candidates) {
      const lastUsedAgoMs = targets[version.startable.version.versionId]?.lastUsedAgoMs;
      if (isIdle({ now, idleMs, awakeSince: version.awakeSince, lastUsedAgoMs }) && (await isDone(version)))
        version.sleep();
    }
  }

  #inBackground(work: Promise<void>): void {
    // The next look comes anyway.
    work.catch((error: unknown) => log.warn("a look at the Workers failed", { error: messageOf(error) }));
  }
}

/** Whether nothing goes on after answers either. A process that does not serve has nothing to finish. */
async function isDone(version: VersionFronts): Promise<boolean> {
  const late = await Promise.all(version.offered.flatMap(({ sockets }) => (sockets ? [lateWork(sockets.probe)] : [])));
  return late.every((count) => count === 0);
}
