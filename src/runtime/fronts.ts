import { sleep } from "#core/deadline.ts";
import { createLogger } from "#core/log.ts";
import type { TrialOutcome } from "#products/workers/deployer.ts";
import { stopChild, type Child } from "#runtime/child.ts";
import {
  describeFront,
  launchFront,
  parseFrontName,
  type FrontLaunch,
  type FrontParts,
  type Startable,
} from "#runtime/front-launch.ts";
import { Keeper } from "#runtime/keeper.ts";
import { askSocket } from "#runtime/probe.ts";
import type { ChildMark, ProcessFacts } from "#runtime/proc.ts";
import { readHandlers, startFront, type Started, type TrialLimits } from "#runtime/trial.ts";

/** A version's process: on trial until a deployment names it, kept while one does, drained when none does any more. */
type Front = { startable: Startable; keeper: Keeper; launch: () => FrontLaunch | undefined };
type Trial = { started: Started; workerId: string; expires: NodeJS.Timeout };

export type FrontStatus = {
  workerId: string;
  scriptName: string;
  versionId: string;
  state: string;
  pid: number | undefined;
  restarts: number;
  lastEnd: string | undefined;
};

/** How the ingress sees a version. */
export type FrontTarget = { sockets: string[]; down?: string };

const limits = {
  /** How long a version that was uploaded waits for the deployment that usually follows within a second. */
  trialMs: 30_000,
  /** Between looks at what is still under way on a version that is being replaced. */
  drainPollMs: 100,
  /** From SIGTERM to SIGKILL once nothing is under way. */
  stopMs: 2000,
};

const log = createLogger("supervisor.fronts");

/** The processes of Workers' versions. */
export class Fronts {
  readonly #instance: string;
  readonly #parts: FrontParts;
  readonly #trialLimits: TrialLimits;
  readonly #drainMs: number;
  readonly #changed: () => void;
  /** Open requests of a front as the ingress counts them. */
  readonly #openRequests: (socket: string) => Promise<number>;
  readonly #kept = new Map<string, Front>();
  readonly #trials = new Map<string, Trial>();
  readonly #leaving = new Set<Promise<void>>();

  constructor(options: {
    instance: string;
    parts: FrontParts;
    trialLimits: TrialLimits;
    drainMs: number;
    openRequests: (socket: string) => Promise<number>;
    changed: () => void;
  }) {
    this.#instance = options.instance;
    this.#parts = options.parts;
    this.#trialLimits = options.trialLimits;
    this.#drainMs = options.drainMs;
    this.#openRequests = options.openRequests;
    this.#changed = options.changed;
  }

  /** Starts a version that is about to be deployed and keeps the process for that. Refused with 10021 when it does not start. */
  async trial(startable: Startable, signal: AbortSignal): Promise<TrialOutcome> {
    const { versionId, workerId } = startable.version;
    const waiting = this.#trials.get(versionId);
    if (waiting) return waiting.started.outcome;
    const kept = this.#kept.get(versionId);
    if (kept?.keeper.socket) return probe(kept.keeper.socket);
    const started = await startFront(this.#instance, this.#parts, startable, this.#trialLimits, signal);
    if (signal.aborted) {
      await this.#discard(started);
      signal.throwIfAborted();
    }
    const expires = setTimeout(() => {
      this.#trials.delete(versionId);
      void this.#discard(started);
    }, limits.trialMs);
    this.#trials.set(versionId, { started, workerId, expires });
    return started.outcome;
  }

  /** Runs exactly these versions: new ones are started or taken over from their trial, others leave once they are drained. */
  setDesired(desired: readonly Startable[]): void {
    const wanted = new Map(desired.map((startable) => [startable.version.versionId, startable]));
    for (const [versionId, startable] of wanted)
      if (!this.#kept.has(versionId)) this.#keep(startable, this.#takeTrial(versionId));
  }

  /** Lets go of versions that no table names any more. Call it after the ingress has acknowledged such a table. */
  releaseExcept(versionIds: ReadonlySet<string>): void {
    for (const [versionId, front] of this.#kept) {
      if (versionIds.has(versionId)) continue;
      this.#kept.delete(versionId);
      this.#leave(this.#drainAndStop(front));
    }
  }

  targetOf(versionId: string): FrontTarget {
    const front = this.#kept.get(versionId);
    const socket = front?.keeper.state === "ready" ? front.launch()?.sockets.http : undefined;
    if (socket !== undefined) return { sockets: [socket] };
    return { sockets: [], down: front?.keeper.lastEnd ?? "starting" };
  }

  /** Whether a version either serves or has failed: nothing is gained by waiting for it. */
  isSettled(versionId: string): boolean {
    const keeper = this.#kept.get(versionId)?.keeper;
    return keeper !== undefined && (keeper.state === "ready" || keeper.restarts > 0);
  }

  /** Takes over a process of the supervisor before us when it is what we would start; false when it is not. */
  async adopt(
    mark: ChildMark,
    facts: ProcessFacts,
    child: Child,
    desired: ReadonlyMap<string, Startable>,
  ): Promise<boolean> {
    const name = parseFrontName(mark.name);
    const startable = name && desired.get(name.versionId);
    if (!name || !startable || this.#kept.has(name.versionId)) return false;
    const launch = await describeFront(this.#parts, startable, name.processId);
    if (launch.spec.hash !== mark.hash || !(await answers(launch.socket))) return false;
    this.#keep(startable, { launch, child });
    log.info("took over a process", { process: mark.name, pid: facts.pid });
    return true;
  }

  /** Ends everything, once what is under way is done or `drainMs` is over. */
  async stop(): Promise<void> {
    for (const { expires, started } of this.#trials.values()) {
      clearTimeout(expires);
      this.#leave(this.#discard(started));
    }
    this.#trials.clear();
    this.releaseExcept(new Set());
    await Promise.all(this.#leaving);
  }

  /** Workers that have a process in any state. */
  workerIds(): string[] {
    const trials = [...this.#trials.values()].map(({ workerId }) => workerId);
    return [...trials, ...[...this.#kept.values()].map(({ startable }) => startable.version.workerId)];
  }

  status(): FrontStatus[] {
    return [...this.#kept.values()].map(({ startable: { version }, keeper }) => ({
      workerId: version.workerId,
      scriptName: version.scriptName,
      versionId: version.versionId,
      state: keeper.state,
      pid: keeper.pid,
      restarts: keeper.restarts,
      lastEnd: keeper.lastEnd,
    }));
  }

  /** Log files that grow, for whoever keeps them small. */
  logFiles(): string[] {
    return [...this.#kept.values()].flatMap((front) => front.launch()?.spec.logFile ?? []);
  }

  #keep(startable: Startable, running: { launch: FrontLaunch; child: Child } | undefined): void {
    let launch: FrontLaunch | undefined = running?.launch;
    // An accepted version's modules are blobs by now; where they were staged is gone.
    const accepted: Startable = { version: startable.version, secrets: startable.secrets };
    const keeper = new Keeper({
      name: `front of ${startable.version.scriptName}`,
      instance: this.#instance,
      launch: async () => (launch = await launchFront(this.#parts, accepted)),
      changed: this.#changed,
    });
    this.#kept.set(startable.version.versionId, { startable: accepted, keeper, launch: () => launch });
    keeper.start(running);
  }

  #takeTrial(versionId: string): { launch: FrontLaunch; child: Child } | undefined {
    const trial = this.#trials.get(versionId);
    if (!trial) return undefined;
    this.#trials.delete(versionId);
    clearTimeout(trial.expires);
    return trial.started;
  }

  async #drainAndStop(front: Front): Promise<void> {
    const end = performance.now() + this.#drainMs;
    while (front.keeper.state === "ready" && performance.now() < end) {
      const launch = front.launch();
      if (!launch) break;
      const [requests, late] = await Promise.all([
        this.#openRequests(launch.sockets.http),
        openWaitUntil(launch.socket),
      ]);
      if (requests + late === 0) break;
      await sleep(limits.drainPollMs);
    }
    await front.keeper.stop(limits.stopMs);
  }

  async #discard({ child, launch }: Started): Promise<void> {
    await stopChild(child, limits.stopMs);
    await launch.dispose?.();
  }

  #leave(work: Promise<void>): void {
    const tracked: Promise<void> = work
      .catch((error: unknown) => log.error("a process could not be stopped", { error }))
      .finally(() => this.#leaving.delete(tracked));
    this.#leaving.add(tracked);
  }
}

async function probe(socket: string): Promise<TrialOutcome> {
  const { body } = await askSocket(socket, { ms: 1000 });
  return { startupMs: 0, ...readHandlers(body) };
}

async function answers(socket: string): Promise<boolean> {
  return askSocket(socket, { ms: 1000 }).then(
    () => true,
    () => false,
  );
}

/** Work that Workers do after their answers; the ingress cannot see it, the entry module counts it. */
async function openWaitUntil(socket: string): Promise<number> {
  try {
    const { body } = await askSocket(socket, { ms: 1000 });
    return (JSON.parse(body) as { waitUntil?: number }).waitUntil ?? 0;
  } catch {
    // It does not answer, so nothing of it can be waited for.
    return 0;
  }
}
