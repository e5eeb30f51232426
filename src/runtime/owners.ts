import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { pollUntil, sleep } from "#core/deadline.ts";
import { messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import type { NamespacePlace } from "#products/durable-objects/store.ts";
import { ownPlacesOf } from "#products/workers/places.ts";
import { stopChild, type Child } from "#runtime/child.ts";
import { StartGate } from "#runtime/start-gate.ts";
import type { Front, FrontSurroundings } from "#runtime/front.ts";
import { describeFront, parseProcessName, type FrontParts, type Startable } from "#runtime/front-launch.ts";
import { misplaced, putInPlace } from "#runtime/object-folders.ts";
import { Alarms } from "#runtime/object-alarms.ts";
import { openConnections } from "#runtime/open-connections.ts";
import { ownersOf } from "#runtime/object-pieces.ts";
import { Owner } from "#runtime/owner.ts";
import { askSocket } from "#runtime/probe.ts";
import type { ChildMark, ProcessFacts } from "#runtime/proc.ts";

/** The version whose code a Worker's objects should run. */
export type WantedOwner = { workerId: string; versionId: string; places: string; startable: () => Startable };

export type OwnerStatus = {
  workerId: string;
  scriptName: string;
  versionId: string;
  state: string;
  pid: number | undefined;
  restarts: number;
  lastEnd: string | undefined;
  cpuMs: number;
  memoryBytes: number;
};

export type OwnersOptions = {
  instance: string;
  parts: FrontParts;
  /** An owner that nobody is connected to for so long is put to sleep. */
  idleMs: number;
  startsAtOnce: number;
  /** Processes that may be connected to owners, with the versions they run. */
  clients: () => Iterable<{ front: Front }>;
  changed: () => void;
};

const limits = {
  /** How long a call waits until it is known that its Worker has objects. */
  knownMs: 2000,
  idleLookMinMs: 50,
  idleLookMaxMs: 15_000,
  answerMs: 1000,
  /** After a step of moving data that failed. */
  retryMs: 1000,
  /** How long after an answer fronts take an owner to run; see `proxyFor`. */
  trustMs: 1000,
};

const log = createLogger("supervisor.owners");

/** The processes of Workers' Durable Objects, one for each Worker that has a class of them. */
export class Owners {
  readonly #options: OwnersOptions;
  readonly #around: FrontSurroundings;
  readonly #owners = new Map<string, Owner>();
  readonly #alarms: Alarms;
  /** What data was compared with last. */
  #placed: readonly NamespacePlace[] | undefined;
  /** Workers whose process ended with the supervisor before us: their successors are not left asleep. */
  readonly #wakeFirst = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #looking = false;
  #stopping = false;

  constructor(options: OwnersOptions) {
    this.#options = options;
    const { instance, changed } = options;
    this.#around = { instance, changed, turn: new StartGate(options.startsAtOnce).enter };
    this.#alarms = new Alarms(async (workerId) => void (await this.wake(workerId)));
  }

  /** How long after an answer of an owner a front may take it to run. */
  get trustMs(): number {
    return Math.min(limits.trustMs, this.#options.idleMs / 2);
  }

  start(): void {
    const { idleMs } = this.#options;
    const everyMs = Math.min(limits.idleLookMaxMs, Math.max(limits.idleLookMinMs, idleMs / 4));
    this.#timer = setInterval(() => void this.#putIdleToSleep(), everyMs);
    this.#timer.unref();
  }

  /** Knows these from now on, moves those to new code that run other, and ends those that are not wanted any more. */
  setDesired(desired: readonly WantedOwner[], namespaces: readonly NamespacePlace[]): void {
    if (this.#stopping) return;
    const wanted = new Set(desired.map(({ workerId }) => workerId));
    const added = desired.filter(({ workerId }) => !this.#owners.has(workerId));
    for (const { startable } of added) this.#add(startable());
    // Before anybody can have a process started that would find its data missing.
    if (namespaces !== this.#placed) this.#inBackground(this.#place(namespaces));
    for (const { workerId, versionId, places, startable } of desired) {
      const owner = this.#owners.get(workerId);
      if (owner && (owner.versionId !== versionId || ownPlacesOf(owner.startable.version) !== places))
        this.#inBackground(owner.become(startable()));
    }
    for (const { workerId } of added) {
      if (this.#wakeFirst.delete(workerId)) this.#inBackground(this.wake(workerId));
      else this.#plan(workerId);
    }
    for (const [workerId, owner] of this.#owners)
      if (!wanted.has(workerId)) this.#inBackground(this.#remove(workerId, owner));
  }

  /**
   * Puts data of objects where it belongs while none of the Workers concerned has a process. A step that fails is tried again:
   * an object must not begin anew because its data is elsewhere.
   */
  async #place(namespaces: readonly NamespacePlace[]): Promise<void> {
    this.#placed = namespaces;
    const { data } = this.#options.parts;
    const steps = misplaced(data, namespaces);
    if (steps.length === 0) return;
    const workers = [...new Set(steps.flatMap(({ from, to }) => (to === undefined ? [from] : [from, to])))].toSorted();
    const owners = workers.flatMap((workerId) => this.#owners.get(workerId) ?? []);
    for (const workerId of workers) this.#alarms.forget(workerId);
    // All of them wait from this moment on: one that was still free could begin with new code, and without its data.
    const done = Promise.withResolvers<void>();
    const waiting = owners.map(async (owner) => {
      const ended = Promise.withResolvers<void>();
      const turn = owner.without(async () => {
        ended.resolve();
        await done.promise;
      });
      await Promise.race([ended.promise, turn]);
    });
    try {
      await Promise.all(waiting);
      // A change of before may have moved some of it while we waited.
      const held = new Set(workers);
      const due = misplaced(data, namespaces).filter(({ from, to }) => held.has(from) && held.has(to ?? from));
      for (const step of due) await this.#untilDone(async () => putInPlace(data, step));
      log.info("moved or removed data of Durable Objects", { namespaces: due.length });
    } catch (error) {
      // The next pass looks again.
      this.#placed = undefined;
      throw error;
    } finally {
      done.resolve();
    }
    for (const workerId of workers) if (this.#owners.has(workerId)) this.#plan(workerId);
    // Somewhere else than where we looked first.
    if (this.#placed === namespaces && misplaced(data, namespaces).length > 0) await this.#place(namespaces);
  }

  async #untilDone(work: () => Promise<void>): Promise<void> {
    for (;;) {
      if (this.#stopping) throw new Error("Solum is being stopped.");
      try {
        return await work();
      } catch (error) {
        log.error("data of Durable Objects could not be put in its place", { error: messageOf(error) });
        await sleep(limits.retryMs);
      }
    }
  }

  /** Resolves when the owner of a Worker's objects answers: true when it has just taken the place of one of other code. */
  async wake(workerId: string): Promise<boolean> {
    const wait = { ms: limits.knownMs, everyMs: 5, what: "finding the Worker of a Durable Object" };
    const owner = await pollUntil(wait, () => this.#owners.get(workerId));
    if (this.#stopping) throw new Error("Solum is being stopped.");
    this.#alarms.forget(workerId);
    return owner.wake();
  }

  /** The same for whoever asks about its Workflows: where its process answers. */
  async wakeForWorkflows(workerId: string): Promise<string> {
    await this.wake(workerId);
    const socket = this.#owners.get(workerId)?.brokerSocket;
    if (socket === undefined) throw new Error("The process of this Workflow has ended.");
    return socket;
  }

  /** Whether a Worker's objects run the code that they should, if any. */
  isSettled(workerId: string): boolean {
    return this.#owners.get(workerId)?.isSettled ?? true;
  }

  /** Takes over the process of a supervisor before us when it is what we would start; any other is ended before its successor starts. */
  async adopt(mark: ChildMark, facts: ProcessFacts, child: Child, wanted: WantedOwner | undefined): Promise<void> {
    const name = parseProcessName(mark.name);
    if (wanted && name && name.versionId === wanted.versionId) {
      const startable = wanted.startable();
      const launch = await describeFront(this.#options.parts, startable, name);
      if (launch.spec.hash === mark.hash && existsSync(launch.socket) && !this.#owners.has(name.workerId)) {
        this.#add(startable).adopt({ launch, child });
        log.info("took over a process", { process: mark.name, pid: facts.pid });
        return;
      }
    }
    await stopChild(child, 0);
    // It was in use. Its data may have to move before the next one starts.
    if (wanted) this.#wakeFirst.add(wanted.workerId);
  }

  /** Every process, with the limit of CPU time of its version. */
  *all(): Iterable<{ front: Front; cpuMs: number | undefined }> {
    for (const { front } of this.#owners.values()) if (front) yield { front, cpuMs: front.startable?.cpuMs };
  }

  /** Log files that grow, for whoever keeps them small. */
  logFiles(): string[] {
    return [...this.all()].flatMap(({ front }) => front.logFile ?? []);
  }

  /** Workers whose owner runs. */
  workerIds(): string[] {
    return [...this.#owners.values()].filter(({ front }) => front).map(({ workerId }) => workerId);
  }

  status(): OwnerStatus[] {
    return [...this.#owners.values()].map(({ workerId, versionId, startable, front }) => ({
      workerId,
      scriptName: startable.version.scriptName,
      versionId,
      state: front?.keeper.state ?? "asleep",
      pid: front?.keeper.pid,
      restarts: front?.keeper.restarts ?? 0,
      lastEnd: front?.keeper.lastEnd,
      ...(front?.usage ?? { cpuMs: 0, memoryBytes: 0 }),
    }));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#timer);
    this.#alarms.stop();
    await Promise.all([...this.#owners.values()].map(async (owner) => owner.stop()));
  }

  #add(startable: Startable): Owner {
    const { version, secrets, cpuMs } = startable;
    // An accepted version's modules are blobs by now; where they were staged is gone.
    const owner = new Owner({ version, secrets, cpuMs }, this.#options.parts, this.#around);
    this.#owners.set(owner.workerId, owner);
    return owner;
  }

  async #remove(workerId: string, owner: Owner): Promise<void> {
    this.#owners.delete(workerId);
    this.#alarms.forget(workerId);
    await owner.stop();
    await rm(this.#options.parts.runtime.owner(workerId).root, { recursive: true, force: true });
  }

  /** Has an owner that sleeps started in time for the next alarm of its objects. */
  #plan(workerId: string): void {
    this.#alarms.plan(workerId, this.#options.parts.data.objectsOf(workerId));
  }

  async #putIdleToSleep(): Promise<void> {
    if (this.#looking || this.#stopping) return;
    this.#looking = true;
    try {
      for (const owner of this.#owners.values()) {
        if (owner.front && (this.#isConnected(owner.workerId) || (await isAtWork(owner))))
          owner.usedAt = performance.now();
        const isIdle = () => performance.now() - owner.usedAt >= this.#options.idleMs;
        if (!owner.front || !isIdle()) continue;
        await owner.sleep(isIdle);
        if (!owner.front) this.#plan(owner.workerId);
      }
    } catch (error) {
      // The next look comes anyway.
      log.warn("a look at the owners failed", { error: messageOf(error) });
    } finally {
      this.#looking = false;
    }
  }

  /** Whether a process is connected to a Worker's objects: calls, WebSockets, streams and stubs all hold a connection. */
  #isConnected(workerId: string): boolean {
    const { debug } = this.#options.parts.runtime.owner(workerId);
    for (const { front } of [...this.#options.clients(), ...this.all()]) {
      const { pid } = front.keeper;
      const mayCall = !front.startable || ownersOf(front.startable.version).includes(workerId);
      if (pid !== undefined && mayCall && openConnections(pid, debug) > 0) return true;
    }
    return false;
  }

  #inBackground(work: Promise<unknown>): void {
    work.catch((error: unknown) => log.error("a Worker's objects have no process", { error: messageOf(error) }));
  }
}

/** Whether an object does something that nobody waits for: an alarm, work after an answer. */
async function isAtWork({ front, brokerSocket }: Owner): Promise<boolean> {
  // One that is just starting does so for somebody.
  if (!front?.sockets || brokerSocket === undefined) return true;
  const answers = [front.sockets.probe, brokerSocket].map(async (socket) => askSocket(socket, { ms: limits.answerMs }));
  try {
    const [code, broker] = (await Promise.all(answers)).map(({ body }) => JSON.parse(body) as Record<string, number>);
    const { inFlight = 0, waitUntil = 0, unsent = 0 } = code ?? {};
    const { open = 0, busy = 0 } = broker ?? {};
    return inFlight + waitUntil + unsent + open + busy > 0;
  } catch {
    // One that does not answer computes, or has ended, which its keeper sees.
    return true;
  }
}
