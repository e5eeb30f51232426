import { sleep } from "#core/deadline.ts";
import { messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { startChild, stopChild, type Child, type ChildEnd, type ChildSpec } from "#runtime/child.ts";
import { untilAnswers } from "#runtime/probe.ts";

/** What a start needs: the process, the socket that answers once it serves, and the folder that goes with it. */
export type Launch = { spec: ChildSpec; socket: string; dispose?: () => Promise<void> };

/** `waiting`: it ended, and is started again after a pause. */
export type KeeperState = "starting" | "ready" | "waiting" | "stopped";

const limits = {
  /** A process that has not answered by then is ended and started anew. */
  startMs: 30_000,
  /** One that lived this long after it was ready did not fail to start: no pause before the next. */
  stableMs: 1000,
  pauseFirstMs: 100,
  pauseMaxMs: 5000,
};

const log = createLogger("supervisor.keeper");

/** Keeps one process running: starts it, waits until it answers, and starts it again whenever it ends. */
export class Keeper {
  readonly name: string;
  /** How often it was started again. */
  restarts = 0;
  #state: KeeperState = "stopped";
  #running: { child: Child; launch: Launch; sinceMs: number } | undefined;
  #lastEnd: ChildEnd | undefined;
  readonly #instance: string;
  readonly #launch: () => Promise<Launch>;
  readonly #changed: () => void;
  #stopping: AbortController | undefined;
  #done: Promise<void> = Promise.resolve();

  /** `changed` is called whenever `state` or `socket` is another. */
  constructor(options: { name: string; instance: string; launch: () => Promise<Launch>; changed: () => void }) {
    this.name = options.name;
    this.#instance = options.instance;
    this.#launch = options.launch;
    this.#changed = options.changed;
  }

  get state(): KeeperState {
    return this.#state;
  }

  /** Where the process answers; undefined while it does not. */
  get socket(): string | undefined {
    return this.#state === "ready" ? this.#running?.launch.socket : undefined;
  }

  get pid(): number | undefined {
    return this.#running?.child.pid;
  }

  get readySinceMs(): number | undefined {
    return this.#state === "ready" ? this.#running?.sinceMs : undefined;
  }

  /** How the last process ended, in words; undefined when none has. */
  get lastEnd(): string | undefined {
    if (!this.#lastEnd) return undefined;
    const { code, signal } = this.#lastEnd;
    return signal ? `ended by ${signal}` : code === undefined ? "ended" : `ended with exit code ${code}`;
  }

  /** Begins. `adopted` is a process that serves already. */
  start(adopted?: { child: Child; launch: Launch }): void {
    if (this.#stopping) return;
    const stopping = new AbortController();
    this.#stopping = stopping;
    this.#done = this.#run(stopping.signal, adopted);
  }

  /** Ends the process and stays stopped. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping?.abort();
    const running = this.#running;
    if (running) await stopChild(running.child, graceMs);
    await this.#done;
    this.#stopping = undefined;
  }

  async #run(stopping: AbortSignal, adopted: { child: Child; launch: Launch } | undefined): Promise<void> {
    let failures = 0;
    let next = adopted;
    while (!stopping.aborted) {
      const stable = await this.#runOnce(stopping, next);
      next = undefined;
      failures = stable ? 0 : failures + 1;
      this.#set(stopping.aborted ? "stopped" : "waiting");
      if (stopping.aborted) break;
      this.restarts++;
      const pauseMs = failures <= 1 ? 0 : Math.min(limits.pauseMaxMs, limits.pauseFirstMs * 2 ** (failures - 2));
      await sleep(pauseMs, stopping).catch(() => undefined);
    }
    this.#set("stopped");
  }

  /** One life of the process. Answers whether it was long enough to count as a success. */
  async #runOnce(stopping: AbortSignal, adopted: { child: Child; launch: Launch } | undefined): Promise<boolean> {
    let readyAtMs: number | undefined;
    try {
      const launch = adopted?.launch ?? (await this.#launch());
      const child = adopted?.child ?? (await startChild(this.#instance, launch.spec));
      this.#running = { child, launch, sinceMs: Date.now() };
      if (stopping.aborted) child.signal("SIGKILL");
      this.#set(adopted ? "ready" : "starting");
      if (adopted || (await this.#becomesReady(child, launch, stopping))) {
        readyAtMs = performance.now();
        this.#running = { child, launch, sinceMs: Date.now() };
        this.#set("ready");
      }
      const end = await child.ended;
      this.#lastEnd = end;
      if (!stopping.aborted) log.warn("a process ended", { process: this.name, pid: child.pid, ...end });
      this.#running = undefined;
      await launch.dispose?.();
    } catch (error) {
      this.#running = undefined;
      log.error("a process could not be started", { process: this.name, error: messageOf(error) });
    }
    return readyAtMs !== undefined && performance.now() - readyAtMs >= limits.stableMs;
  }

  async #becomesReady(child: Child, launch: Launch, stopping: AbortSignal): Promise<boolean> {
    const giveUp = AbortSignal.any([stopping, AbortSignal.timeout(limits.startMs)]);
    const died = new AbortController();
    void child.ended.then(() => died.abort());
    try {
      await untilAnswers(launch.socket, AbortSignal.any([giveUp, died.signal]));
      return true;
    } catch {
      if (!died.signal.aborted && !stopping.aborted) {
        log.error("a process did not answer in time", { process: this.name, pid: child.pid });
        child.signal("SIGKILL");
      }
      return false;
    }
  }

  #set(state: KeeperState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#changed();
  }
}
