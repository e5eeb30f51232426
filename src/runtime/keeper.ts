import { sleep } from "#core/deadline.ts";
import { messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { startChild, stopChild, type Child, type ChildEnd, type ChildSpec } from "#runtime/child.ts";
import { untilAnswers } from "#runtime/probe.ts";

/** What goes with a process that runs: the socket that answers once it serves, and how to clear away what it leaves. */
export type Running = { socket: string; dispose?: () => Promise<void> };

/** The same for one that is to be started. */
export type Launch = Running & { spec: ChildSpec };

/** `waiting`: it ended, and is started again after a pause. */
export type KeeperState = "starting" | "ready" | "waiting" | "stopped";

const limits = {
  /** A process that has not answered by then is ended and started anew. */
  startMs: 30_000,
  /** One that lived this long after it was ready did not fail to start: no pause before the next. */
  stableMs: 1000,
  /** The same for one that was ended because of what it did: whoever freezes every second is paused all the same. */
  stableCondemnedMs: 30_000,
  pauseFirstMs: 100,
  pauseMaxMs: 5000,
  /** The same for one that somebody else killed, which is no fault of its own: whoever needs it should not wait much longer. */
  pauseKilledMaxMs: 400,
};

const log = createLogger("supervisor.keeper");

/** Keeps one process running: starts it, waits until it answers, and starts it again whenever it ends. */
export class Keeper {
  readonly name: string;
  /** How often it was started again. */
  restarts = 0;
  /** Lives in a row that ended too soon. */
  failures = 0;
  /** Whether it has served at all. */
  servedOnce = false;
  #state: KeeperState = "stopped";
  #running: { child: Child; launch: Running; sinceMs: number } | undefined;
  #lastEnd: ChildEnd | string | undefined;
  readonly #instance: string;
  readonly #launch: () => Promise<Launch>;
  readonly #changed: () => void;
  readonly #turn: (signal: AbortSignal) => Promise<() => void>;
  #stopping: AbortController | undefined;
  /** No other process follows the one that runs. */
  #retired = false;
  /** Why the process that runs is being ended. */
  #condemned: string | undefined;
  /** Whether the last process was ended by a SIGKILL that was not ours: the kernel's or an operator's. */
  #killed = false;
  #done: Promise<void> = Promise.resolve();

  /**
   * `changed` is called whenever `state` or `socket` is another. `turn` resolves when a start may begin and is answered with
   * what to call once it is over.
   */
  constructor(options: {
    name: string;
    instance: string;
    launch: () => Promise<Launch>;
    changed: () => void;
    turn?: (signal: AbortSignal) => Promise<() => void>;
  }) {
    this.name = options.name;
    this.#turn = options.turn ?? (async () => () => undefined);
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
    if (typeof this.#lastEnd === "string") return this.#lastEnd;
    const { code, signal } = this.#lastEnd;
    return signal ? `ended by ${signal}` : code === undefined ? "ended" : `ended with exit code ${code}`;
  }

  /** Begins. `adopted` is a process that serves already. */
  start(adopted?: { child: Child; launch: Running }): void {
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

  /** The process that runs is the last one, until `unretire`. */
  retire(): void {
    this.#retired = true;
  }

  unretire(): void {
    this.#retired = false;
  }

  /** Ends the process at once for `reason`; another follows, after a pause when that happens again and again. */
  condemn(reason: string): void {
    if (!this.#running) return;
    this.#condemned = reason;
    this.#running.child.signal("SIGKILL");
  }

  async #run(stopping: AbortSignal, adopted: { child: Child; launch: Running } | undefined): Promise<void> {
    let next = adopted;
    while (!stopping.aborted) {
      const stable = await this.#runOnce(stopping, next);
      next = undefined;
      this.failures = stable ? 0 : this.failures + 1;
      if (stopping.aborted || this.#retired) break;
      this.#set("waiting");
      this.restarts++;
      await sleep(this.#pauseMs(), stopping).catch(() => undefined);
    }
    this.#set("stopped");
  }

  #pauseMs(): number {
    if (this.failures <= 1) return 0;
    const maxMs = this.#killed ? limits.pauseKilledMaxMs : limits.pauseMaxMs;
    return Math.min(maxMs, limits.pauseFirstMs * 2 ** (this.failures - 2));
  }

  /** One life of the process. Answers whether it was long enough to count as a success. */
  async #runOnce(stopping: AbortSignal, adopted: { child: Child; launch: Running } | undefined): Promise<boolean> {
    let readyAtMs: number | undefined;
    this.#condemned = undefined;
    this.#killed = false;
    try {
      const { child, launch, serves } = adopted ? { ...adopted, serves: true } : await this.#begin(stopping);
      if (serves) {
        readyAtMs = performance.now();
        this.servedOnce = true;
        this.#running = { child, launch, sinceMs: Date.now() };
        this.#set("ready");
      }
      const end = await child.ended;
      this.#lastEnd = this.#condemned ?? end;
      this.#killed = this.#condemned === undefined && end.signal === "SIGKILL";
      if (!stopping.aborted && !this.#retired)
        log.warn("a process ended", { process: this.name, pid: child.pid, ...end, reason: this.#condemned });
      this.#running = undefined;
      await launch.dispose?.();
    } catch (error) {
      this.#running = undefined;
      if (!stopping.aborted)
        log.error("a process could not be started", { process: this.name, error: messageOf(error) });
    }
    const stableMs = this.#condemned === undefined ? limits.stableMs : limits.stableCondemnedMs;
    return readyAtMs !== undefined && performance.now() - readyAtMs >= stableMs;
  }

  /** Starts the process when its turn comes, and waits until it serves. */
  async #begin(stopping: AbortSignal): Promise<{ child: Child; launch: Running; serves: boolean }> {
    this.#set("starting");
    const over = await this.#turn(stopping);
    try {
      const launch = await this.#launch();
      const child = await startChild(this.#instance, launch.spec);
      this.#running = { child, launch, sinceMs: Date.now() };
      if (stopping.aborted) child.signal("SIGKILL");
      return { child, launch, serves: await this.#becomesReady(child, launch, stopping) };
    } finally {
      over();
    }
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
        this.#condemned = "did not answer in time";
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
