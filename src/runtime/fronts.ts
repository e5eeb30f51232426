import { existsSync } from "node:fs";
import { pollUntil } from "#core/deadline.ts";
import { createLogger } from "#core/log.ts";
import type { TrialOutcome } from "#products/workers/deployer.ts";
import { placesOf } from "#products/workers/places.ts";
import type { Child } from "#runtime/child.ts";
import { Departures } from "#runtime/departures.ts";
import { Front, type FrontSurroundings } from "#runtime/front.ts";
import {
  describeFront,
  launchFront,
  parseProcessName,
  runningFront,
  type FrontParts,
  type Startable,
} from "#runtime/front-launch.ts";
import { askSocket } from "#runtime/probe.ts";
import type { ChildMark, ProcessFacts } from "#runtime/proc.ts";
import { StartGate } from "#runtime/start-gate.ts";
import { readHandlers, type TrialLimits } from "#runtime/trial.ts";
import { Trials } from "#runtime/trials.ts";
import { VersionFronts, type FrontTarget } from "#runtime/version-fronts.ts";

export type FrontStatus = {
  workerId: string;
  scriptName: string;
  versionId: string;
  state: string;
  pid: number | undefined;
  restarts: number;
  lastEnd: string | undefined;
  /** CPU time of the process and those before it, ms. */
  cpuMs: number;
  memoryBytes: number;
};

/** What a version has used since this supervisor runs, processes that have ended among it, and what it holds now. */
export type VersionUsage = {
  workerId: string;
  scriptName: string;
  versionId: string;
  asleep: boolean;
  processes: number;
  cpuMs: number;
  memoryBytes: number;
};

/** A version that should run. What it takes to start it is read only when it is not known yet. */
/** `places`: where its Durable Objects are, see `placesOf`. */
export type Wanted = { versionId: string; places: string; startable: () => Startable };

export type FrontOptions = {
  instance: string;
  parts: FrontParts;
  trialLimits: TrialLimits;
  drainMs: number;
  drainingMax: number;
  /** Processes that may be starting at once; others wait in order. */
  startsAtOnce: number;
  /** Open requests and WebSockets of a process as the ingress counts them. */
  openRequests: (socket: string) => Promise<number>;
  changed: () => void;
};

const limits = {
  /** How long the start of a version that sleeps is waited for when a deployment names it. */
  wakeMs: 10_000,
  answerMs: 1000,
  /** Versions whose CPU time is remembered after their last process has ended. */
  rememberedVersions: 10_000,
};

const log = createLogger("supervisor.fronts");

/** The processes of Workers' versions: on trial, serving, asleep and leaving. */
export class Fronts {
  readonly #parts: FrontParts;
  readonly #around: FrontSurroundings;
  readonly #trials: Trials;
  readonly #departures: Departures;
  readonly #kept = new Map<string, VersionFronts>();
  /** Processes of a supervisor before us that are not what we would start: they serve until a table does without them. */
  #leftovers: Front[] = [];
  /** CPU time of processes that have ended, by version, ms. */
  readonly #endedCpuMs = new Map<string, number>();
  /** Until the first call of `setDesired`: what is deployed by then sleeps until somebody asks for it. */
  #first = true;
  /** Versions that should run, whether or not a table names them yet: a new one that starts while the old one serves. */
  readonly #wanted = new Set<string>();

  constructor(options: FrontOptions) {
    const { instance, parts, changed } = options;
    this.#parts = parts;
    this.#around = { instance, changed, turn: new StartGate(options.startsAtOnce).enter };
    this.#trials = new Trials({ instance, parts, limits: options.trialLimits, startsAtOnce: options.startsAtOnce });
    this.#departures = new Departures({ ...options, ended: (front, cpuMs) => this.#remember(front, cpuMs) });
  }

  /** Starts a version that is about to be deployed, and keeps the process for that. Refused with 10021 when it does not start. */
  async trial(startable: Startable, signal: AbortSignal): Promise<TrialOutcome> {
    const { versionId } = startable.version;
    const kept = this.#kept.get(versionId) ?? this.#takeBack(versionId, placesOf(startable.version));
    if (kept?.asleep) kept.wake();
    const serving = kept && (await untilServing(kept));
    const known = serving === undefined ? undefined : await probe(serving).catch(() => undefined);
    // A process that is too busy to answer says nothing about the version; another one will.
    return known ?? this.#trials.start(startable, signal);
  }

  /**
   * Takes up versions that are deployed now: with the process of their trial, one that was just leaving, or a new one.
   * Versions that are not wanted any more stay until `release`.
   */
  setDesired(desired: readonly Wanted[]): void {
    this.#wanted.clear();
    for (const wanted of desired) {
      this.#wanted.add(wanted.versionId);
      const added = this.#takeUp(wanted);
      if (!this.#first) added?.wake({ waitFor: true });
    }
    this.#first = false;
  }

  /** Versions that answer at an address of their own for as long as somebody asks for them. */
  addPreviews(previews: readonly Wanted[]): void {
    for (const preview of previews) {
      this.#wanted.add(preview.versionId);
      this.#takeUp(preview)?.wake();
    }
  }

  isAsleep(versionId: string): boolean {
    return this.#kept.get(versionId)?.asleep ?? false;
  }

  /** A request waits for this version. False when it is not deployed. */
  wake(versionId: string): boolean {
    const version = this.#kept.get(versionId);
    if (version?.asleep) version.wake();
    return version !== undefined;
  }

  /**
   * Lets go of processes that nobody is sent to any more. Call it after the ingress has acknowledged a table: `versionIds`
   * and `sockets` are what that names.
   */
  release(versionIds: ReadonlySet<string>, sockets: ReadonlySet<string>): void {
    for (const [versionId, version] of this.#kept) {
      if (!versionIds.has(versionId) && !this.#wanted.has(versionId)) {
        this.#kept.delete(versionId);
        for (const front of version.fronts) front.offered = false;
      }
      for (const front of version.release(sockets)) this.#departures.add(front);
    }
    for (const front of this.#leftovers) this.#departures.add(front);
    this.#leftovers = [];
  }

  targetOf(versionId: string): FrontTarget {
    return this.#kept.get(versionId)?.target() ?? { sockets: [] };
  }

  /** Whether a version either serves, has failed or sleeps: nothing is gained by waiting for it. */
  isSettled(versionId: string): boolean {
    return this.#kept.get(versionId)?.isSettled ?? false;
  }

  /**
   * Takes over a process of the supervisor before us. One that is what we would start goes on serving; any other finishes
   * what it has begun once the ingress has a table without it.
   */
  async adopt(
    mark: ChildMark,
    facts: ProcessFacts,
    child: Child,
    startableOf: (versionId: string) => Startable | undefined,
  ): Promise<"serving" | "leaving" | "unknown"> {
    const name = parseProcessName(mark.name);
    if (name?.role !== "front") return "unknown";
    const startable = startableOf(name.versionId);
    const launch = startable && (await describeFront(this.#parts, startable, name));
    // It need not answer now: it may be computing, and when it is caught in that the watch will see it.
    if (startable && launch?.spec.hash === mark.hash && existsSync(launch.socket)) {
      (this.#kept.get(name.versionId) ?? this.#keep(startable)).adopt({ launch, child });
      log.info("took over a process", { process: mark.name, pid: facts.pid });
      return "serving";
    }
    // It was in use, so its successor is not left asleep.
    if (startable) (this.#kept.get(name.versionId) ?? this.#keep(startable)).wake();
    const { workerId, versionId } = name;
    const scriptName = startable?.version.scriptName ?? workerId;
    const front = new Front({ workerId, versionId, scriptName }, this.#around);
    front.start({ launch: runningFront(this.#parts, name), child });
    front.keeper.retire();
    this.#leftovers.push(front);
    log.info("a process of another version or configuration will leave", { process: mark.name, pid: facts.pid });
    return "leaving";
  }

  /** Ends everything, once what is under way is done or the time for that is over. */
  async stop(): Promise<void> {
    this.#wanted.clear();
    this.release(new Set(), new Set());
    await Promise.all([this.#trials.stop(), this.#departures.finished()]);
  }

  /** Versions that are deployed, or were until a moment ago. */
  versions(): VersionFronts[] {
    return [...this.#kept.values()];
  }

  /** Every process but those on trial, with the limit of CPU time of its version where that is known. */
  *all(): Iterable<{ front: Front; cpuMs: number | undefined }> {
    for (const { fronts, startable } of this.#kept.values())
      for (const front of fronts) yield { front, cpuMs: startable.cpuMs };
    // Of one whose version nobody knows any more it is not known what it may do; it ends soon.
    for (const front of [...this.#leftovers, ...this.#departures.fronts])
      yield { front, cpuMs: front.startable ? front.startable.cpuMs : Infinity };
  }

  /** Workers that have a process in any state. */
  workerIds(): string[] {
    const serving = this.versions().filter(({ fronts }) => fronts.length > 0);
    return [
      ...this.#trials.workerIds(),
      ...serving.map(({ startable }) => startable.version.workerId),
      ...[...this.#leftovers, ...this.#departures.fronts].map(({ version }) => version.workerId),
    ];
  }

  status(): { fronts: FrontStatus[]; versions: VersionUsage[] } {
    const leaving = [...this.#leftovers, ...this.#departures.fronts];
    const fronts = [
      ...this.versions().flatMap((version) => version.fronts.map((front) => statusOf(front, front.keeper.state))),
      ...leaving.map((front) => statusOf(front, "leaving")),
    ];
    return { fronts, versions: this.versions().map((version) => this.#usageOf(version)) };
  }

  /** Log files that grow, for whoever keeps them small. */
  logFiles(): string[] {
    return [...this.all()].flatMap(({ front }) => front.logFile ?? []);
  }

  /** Knows a version from now on, with a process of it that is there already. Answers a new one that has none. */
  #takeUp({ versionId, places, startable }: Wanted): VersionFronts | undefined {
    this.#dropMoved(versionId, places);
    if (this.#kept.has(versionId) || this.#takeBack(versionId, places)) return undefined;
    const version = this.#keep(startable());
    const started = this.#trials.take(versionId);
    if (!started) return version;
    version.adopt(started);
    return undefined;
  }

  /** Lets go of processes of a version that look for Durable Objects where they were before they moved. */
  #dropMoved(versionId: string, places: string): void {
    const kept = this.#kept.get(versionId);
    if (!kept || placesOf(kept.startable.version) === places) return;
    this.#kept.delete(versionId);
    for (const front of kept.fronts) front.keeper.retire();
    this.#leftovers.push(...kept.fronts);
  }

  #keep(startable: Startable): VersionFronts {
    const { version, secrets, cpuMs } = startable;
    // An accepted version's modules are blobs by now; where they were staged is gone.
    const accepted: Startable = { version, secrets, cpuMs };
    const fronts = new VersionFronts(accepted, this.#around, () => launchFront(this.#parts, accepted));
    this.#kept.set(version.versionId, fronts);
    return fronts;
  }

  /** The version with the process that was just leaving, if it can stay after all. */
  #takeBack(versionId: string, places: string): VersionFronts | undefined {
    const back = this.#departures.takeBack(versionId, places);
    if (!back?.startable) return undefined;
    const version = this.#keep(back.startable);
    version.adopt(back);
    return version;
  }

  #remember(front: Front, cpuMs: number): void {
    const { versionId } = front.version;
    const sum = (this.#endedCpuMs.get(versionId) ?? 0) + cpuMs;
    this.#endedCpuMs.delete(versionId);
    this.#endedCpuMs.set(versionId, sum);
    const [oldest] = this.#endedCpuMs.keys();
    if (this.#endedCpuMs.size > limits.rememberedVersions && oldest !== undefined) this.#endedCpuMs.delete(oldest);
  }

  #usageOf({ startable, fronts, asleep }: VersionFronts): VersionUsage {
    const { workerId, scriptName, versionId } = startable.version;
    const leaving = this.#departures.fronts.filter(({ version }) => version.versionId === versionId);
    const usages = [...fronts, ...leaving].map(({ usage }) => usage);
    return {
      workerId,
      scriptName,
      versionId,
      asleep,
      processes: usages.length,
      cpuMs: usages.reduce((sum, { cpuMs }) => sum + cpuMs, this.#endedCpuMs.get(versionId) ?? 0),
      memoryBytes: usages.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
    };
  }
}

function statusOf(front: Front, state: string): FrontStatus {
  const { keeper, version, usage } = front;
  const { pid, restarts, lastEnd } = keeper;
  return { ...version, state, pid, restarts, lastEnd, ...usage };
}

/** The probe of a process that serves, once one does; undefined when they fail. */
async function untilServing(version: VersionFronts): Promise<string | undefined> {
  const wait = { ms: limits.wakeMs, everyMs: 5, what: "starting a version" };
  const found = await pollUntil(wait, () => {
    const [first] = version.offered.flatMap(({ sockets }) => sockets?.probe ?? []);
    if (first !== undefined) return { first };
    return version.offered.some(({ keeper }) => keeper.failures === 0) ? undefined : {};
  }).catch((): { first?: string } => ({}));
  return found.first;
}

async function probe(socket: string): Promise<TrialOutcome> {
  const { body } = await askSocket(socket, { ms: limits.answerMs });
  return { startupMs: 0, ...readHandlers(body) };
}
