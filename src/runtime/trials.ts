import { createLogger } from "#core/log.ts";
import type { TrialOutcome } from "#products/workers/deployer.ts";
import { stopChild } from "#runtime/child.ts";
import type { FrontParts, Startable } from "#runtime/front-launch.ts";
import { StartGate } from "#runtime/start-gate.ts";
import { startFront, type Started, type TrialLimits } from "#runtime/trial.ts";

const limits = {
  /** How long a version that was uploaded waits for the deployment that usually follows within a second. */
  keepMs: 30_000,
  /** From SIGTERM to SIGKILL. */
  stopMs: 2000,
};

const log = createLogger("supervisor.trials");

type Trial = { started: Started; workerId: string; expires: NodeJS.Timeout };

/** Versions that were started once to see whether they do, and wait for a deployment that names them. */
export class Trials {
  readonly #instance: string;
  readonly #parts: FrontParts;
  readonly #limits: TrialLimits;
  readonly #gate: StartGate;
  readonly #waiting = new Map<string, Trial>();
  readonly #leaving = new Set<Promise<void>>();

  constructor(options: { instance: string; parts: FrontParts; limits: TrialLimits; startsAtOnce: number }) {
    this.#instance = options.instance;
    this.#parts = options.parts;
    this.#limits = options.limits;
    this.#gate = new StartGate(options.startsAtOnce);
  }

  /** Starts the version, or answers for the process that waits already. Refused with 10021 when it does not start. */
  async start(startable: Startable, signal: AbortSignal): Promise<TrialOutcome> {
    const { versionId, workerId } = startable.version;
    const waiting = this.#waiting.get(versionId);
    if (waiting) return waiting.started.outcome;
    const over = await this.#gate.enter(signal);
    const started = await startFront(this.#instance, this.#parts, startable, this.#limits, signal).finally(over);
    if (signal.aborted || this.#waiting.has(versionId)) {
      await discard(started);
      signal.throwIfAborted();
      return started.outcome;
    }
    const expires = setTimeout(() => {
      this.#waiting.delete(versionId);
      this.#leave(started);
    }, limits.keepMs);
    this.#waiting.set(versionId, { started, workerId, expires });
    void this.#forgetWhenEnded(versionId, started);
    return started.outcome;
  }

  /** The process of a version that is deployed now. It may have ended while it waited; whoever keeps it sees that. */
  take(versionId: string): Started | undefined {
    const trial = this.#waiting.get(versionId);
    if (!trial) return undefined;
    this.#waiting.delete(versionId);
    clearTimeout(trial.expires);
    return trial.started;
  }

  workerIds(): string[] {
    return [...this.#waiting.values()].map(({ workerId }) => workerId);
  }

  async stop(): Promise<void> {
    for (const versionId of this.#waiting.keys()) {
      const started = this.take(versionId);
      if (started) this.#leave(started);
    }
    await Promise.all(this.#leaving);
  }

  /** One that dies while it waits is of no use: the deployment starts another. */
  async #forgetWhenEnded(versionId: string, started: Started): Promise<void> {
    await started.child.ended;
    if (this.#waiting.get(versionId)?.started !== started) return;
    this.take(versionId);
    this.#leave(started);
  }

  #leave(started: Started): void {
    const tracked: Promise<void> = discard(started)
      .catch((error: unknown) => log.error("a process could not be stopped", { error }))
      .finally(() => this.#leaving.delete(tracked));
    this.#leaving.add(tracked);
  }
}

async function discard({ child, launch }: Started): Promise<void> {
  await stopChild(child, limits.stopMs);
  await launch.dispose?.();
}
