import { rm } from "node:fs/promises";
import { pollUntil } from "#core/deadline.ts";
import { privateFolder, syncFolder } from "#core/durable-file.ts";
import { messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { drainPath, updatedText } from "#products/durable-objects/broker-protocol.ts";
import { ownPlacesOf } from "#products/workers/places.ts";
import type { Child } from "#runtime/child.ts";
import { Front, type FrontSurroundings } from "#runtime/front.ts";
import { launchFront, type FrontLaunch, type FrontParts, type Startable } from "#runtime/front-launch.ts";
import { askSocket } from "#runtime/probe.ts";

const limits = {
  /** How long calls that have begun may go on when the code is replaced: an owner's swap is what all others wait for. */
  drainMs: 50,
  /** On top of that, for the answer itself. */
  answerMs: 500,
  /** How long a call waits for the start. */
  startMs: 10_000,
  /** How long after a swap it is what explains a call that was cut off. */
  swapExplainsMs: 30_000,
};

/** Whether two have the same code and look for objects in the same places. */
function runsAlike({ version }: Startable, { version: other }: Startable): boolean {
  return version.versionId === other.versionId && ownPlacesOf(version) === ownPlacesOf(other);
}

/** Lives in a row that ended too soon, from which on calls are refused instead of waiting. */
const downAfterFailures = 2;

const log = createLogger("supervisor.owner");

/**
 * The process that has the Durable Objects of one Worker: none until somebody calls one, never two. What changes it happens
 * one after the other.
 */
export class Owner {
  readonly workerId: string;
  readonly #parts: FrontParts;
  readonly #around: FrontSurroundings;
  #startable: Startable;
  #front: Front | undefined;
  #launch: { brokerSocket: string } | undefined;
  /** For the next process, before the present one has ended. */
  #prepared: FrontLaunch | undefined;
  /** Changes that are under way or wait for their turn. */
  #turns = 0;
  #last: Promise<unknown> = Promise.resolve();
  /** When the present process took the place of one of other code, `performance.now()`. */
  #swappedAt: number | undefined;
  /** When somebody last wanted it, `performance.now()`. */
  usedAt = performance.now();

  constructor(startable: Startable, parts: FrontParts, around: FrontSurroundings) {
    this.workerId = startable.version.workerId;
    this.#startable = startable;
    this.#parts = parts;
    this.#around = around;
  }

  get front(): Front | undefined {
    return this.#front;
  }

  get versionId(): string {
    return this.#startable.version.versionId;
  }

  get startable(): Startable {
    return this.#startable;
  }

  /** Nothing about it is changing. */
  get isSettled(): boolean {
    return this.#turns === 0;
  }

  /** Where its process is asked about its Workflows. */
  get brokerSocket(): string | undefined {
    return this.#launch?.brokerSocket;
  }

  /** Runs what serves already: a process of the supervisor before us. */
  adopt(running: { launch: FrontLaunch; child: Child }): void {
    this.usedAt = performance.now();
    this.#front = this.#newFront();
    this.#launch = running.launch;
    this.#front.start(running);
  }

  /** Resolves once it answers: true when it took the place of one of other code a moment ago. */
  async wake(): Promise<boolean> {
    this.usedAt = performance.now();
    if (!this.#isServing) await this.#inTurn(async () => this.#start());
    const front = this.#front;
    const { failures = 0, lastEnd } = front?.keeper ?? {};
    if (!this.#isServing && failures >= downAfterFailures)
      throw new Error(`The process of this Durable Object does not start: ${lastEnd ?? "it could not be started"}`);
    const since = this.#swappedAt === undefined ? Infinity : performance.now() - this.#swappedAt;
    return since < limits.swapExplainsMs && front?.keeper.restarts === 0;
  }

  /** Runs `startable` from now on; a process of other code makes room at once. */
  async become(startable: Startable): Promise<void> {
    await this.#inTurn(async () => {
      if (runsAlike(startable, this.#startable)) return;
      this.#startable = startable;
      if (!this.#front) return;
      // All that can be done before calls have to wait.
      const prepared = await this.#prepare(startable);
      const began = performance.now();
      await this.#end(updatedText, limits.drainMs);
      const endedMs = Math.round(performance.now() - began);
      this.#swappedAt = performance.now();
      this.#prepared = prepared;
      await this.#start();
      const ms = Math.round(performance.now() - began);
      log.info("a Worker's objects have new code", { worker: startable.version.scriptName, ms, endedMs });
    });
  }

  /** Ends the process when `still` says so after whatever was under way. The next call starts one. */
  async sleep(still: () => boolean = () => true): Promise<void> {
    await this.#inTurn(async () => {
      if (still()) await this.#end("asleep", 0);
    });
  }

  /** Does `work` while there is no process: calls wait for it. */
  async without(work: () => Promise<void>): Promise<void> {
    await this.#inTurn(async () => {
      await this.#end("moved", limits.drainMs);
      await work();
    });
  }

  /** Ends the process for good. */
  async stop(): Promise<void> {
    await this.#inTurn(async () => this.#end("stopped", limits.drainMs));
  }

  get #isServing(): boolean {
    return this.#turns === 0 && this.#front?.keeper.state === "ready";
  }

  async #start(): Promise<void> {
    if (!this.#front) {
      this.#front = this.#newFront();
      this.#front.start();
    }
    const { keeper } = this.#front;
    await pollUntil({ ms: limits.startMs, everyMs: 2, what: "Starting the process of a Durable Object" }, () =>
      keeper.state === "ready" || keeper.failures >= downAfterFailures ? true : undefined,
    );
  }

  #newFront(): Front {
    const startable = this.#startable;
    const { versionId, scriptName } = startable.version;
    const launch = async () => this.#take(startable);
    return new Front({ workerId: this.workerId, versionId, scriptName }, this.#around, { startable, launch });
  }

  async #prepare(startable: Startable): Promise<FrontLaunch> {
    const { data, runtime } = this.#parts;
    await privateFolder(data.objectsOf(this.workerId));
    await syncFolder(data.objects);
    await privateFolder(runtime.owner(this.workerId).root);
    return launchFront(this.#parts, startable, "owner");
  }

  /** What is started now: there is no process any more. */
  async #take(startable: Startable): Promise<FrontLaunch> {
    const launch = this.#prepared ?? (await this.#prepare(startable));
    this.#prepared = undefined;
    await rm(this.#parts.runtime.owner(this.workerId).debug, { force: true });
    this.#launch = launch;
    return launch;
  }

  /** Lets nothing more begin, tells everybody who is connected, and ends the process at once: there is nothing to flush. */
  async #end(why: string, drainMs: number): Promise<void> {
    const front = this.#front;
    if (!front) return;
    const socket = this.#launch?.brokerSocket;
    if (front.sockets && socket !== undefined) {
      const path = `${drainPath}?ms=${drainMs}&why=${why}`;
      await askSocket(socket, { path, ms: drainMs + limits.answerMs }).catch((error: unknown) =>
        log.warn("a process of objects is ended without a word", { error: messageOf(error) }),
      );
    }
    front.keeper.retire();
    front.keeper.condemn(why);
    await front.stop(0);
    this.#front = undefined;
  }

  async #inTurn(work: () => Promise<void>): Promise<void> {
    this.#turns++;
    const turn = this.#last.then(work).finally(() => {
      this.#turns--;
      this.#around.changed();
    });
    this.#last = turn.catch(() => undefined);
    await turn;
  }
}
