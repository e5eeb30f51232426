// oxlint-disable-next-line typescript/triple-slash-reference -- declares a module; there is nothing to import.
/// <reference path="./workflow-engine.worker.ts" />
import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import {
  instanceDetails,
  stepDetails,
  type HistoryEvent,
  type Snapshot,
} from "#products/workflows/instance-details.ts";
import { InstanceList } from "#products/workflows/instance-list.ts";
import {
  isFinished,
  type EngineMeta,
  type InstanceOrigin,
  type InstanceRecord,
  type InstanceReport,
  type InstanceStatus,
  type ListQuery,
} from "#products/workflows/instance-record.ts";
import { isInstanceId, limits as workflowLimits } from "#products/workflows/limits.ts";
import { found, sizeOf, unless, workflowError } from "#products/workflows/engine-manner.ts";
import { Slots } from "#products/workflows/slots.ts";
import { stepInTurn, type EngineStep } from "#products/workflows/step-in-turn.ts";
import type { NewInstance, WorkflowRequest } from "#products/workflows/workflow-protocol.ts";
import { Engine as WorkerdEngine, WorkflowBinding } from "workerd-workflows";

/**
 * In an owner process: workerd's own Workflows engine, and around it what it lacks: a list of instances, where each came from,
 * and that what a crash interrupted goes on at once. An instance is an object named by its id; the list is one more.
 */
export { WorkflowBinding };

/** Name of the object that has the list: no instance's, whose ids begin with a letter, a digit or `_`. */
const listName = "$instances";
const originKey = "solum:origin";

const limits = {
  /** How soon after a crash instances that were at work go on: the engine alone waits ten minutes. */
  watchMs: 5000,
  /** Changes of an instance in so short a time are told to the list as one. */
  tellMs: 50,
  /** Instances asked at a time whether they are there. */
  asksAtOnce: 50,
  terminated: 100_000,
};

type Env = Record<string, unknown> & {
  /** The Worker's version. */
  VERSION: string;
  /** By Workflow's key. */
  ABOUT: Record<string, { name: string; concurrency?: number }>;
};

/** Instances that have been heard of since this process began, by Workflow: what the list says of them is true. */
const heard = new Map<string, Set<string>>();
/** Slots of Workflows that run a limited number of instances at a time. */
const slots = new Map<string, Slots>();
/** Instances whose rollback runs: they must not be put to sleep, and nobody's request is under way. */
const rollingBack = new Set<Engine>();

export class Engine extends WorkerdEngine {
  readonly #list: InstanceList | undefined;
  readonly #host: Env;
  #told: Promise<void> | undefined;
  #untold = false;

  constructor(ctx: DurableObjectState, env: Record<string, unknown>) {
    super(ctx, env);
    this.#host = env as Env;
    if (ctx.id.name === listName) this.#list = new InstanceList(ctx.storage.sql);
    else {
      this.#nameWorkflow();
      this.#watchStorage();
    }
  }

  get #key(): string {
    return this.ctx.props.workflowName;
  }

  /**
   * The instance with its origin, which the engine does not know; the list has it before it begins. The binding's API hands on no third
   * argument: what code makes comes from a binding.
   */
  override async create(params: unknown, retention?: unknown, from?: NewInstance["origin"]): Promise<void> {
    const { kv } = this.ctx.storage;
    const { id } = this.ctx;
    if (sizeOf(params) > workflowLimits.valueBytes)
      throw workflowError("instance.params_too_large", `Parameters have at most ${workflowLimits.valueBytes} bytes`);
    if (kv.get("meta") === undefined) {
      const origin: InstanceOrigin = { source: "binding", ...from, version: this.#host.VERSION };
      const now = Date.now();
      await this.#theList().report({ id: id.name ?? "", status: "queued", created: now, modified: now, origin });
      kv.put(originKey, origin);
    }
    await super.create(params, retention);
  }

  // What is answered is in the list.

  override async pause(): Promise<void> {
    await super.pause();
    await this.#told;
  }

  override async resume(): Promise<void> {
    await super.resume();
    await this.#told;
  }

  override async terminate(options?: object): Promise<void> {
    await super.terminate(options);
    await this.#told;
  }

  override async restart(options?: object): Promise<void> {
    await super.restart(options);
    await this.#told;
  }

  override async sendEvent(event: { type: string; payload: unknown }): Promise<void> {
    if (sizeOf(event.payload) > workflowLimits.valueBytes)
      throw workflowError("instance.payload_too_large", `A payload has at most ${workflowLimits.valueBytes} bytes`);
    await super.sendEvent(event);
    await this.#told;
  }

  override async destroy(): Promise<void> {
    if (this.ctx.storage.kv.get("meta") !== undefined) await this.#theList().forget(this.ctx.id.name ?? "");
    this.#slots?.give(this);
    await super.destroy();
  }

  /** The engine sets no alarm when a wait ends until the next step begins: what is killed in between would never go on. */
  override async alarm(): Promise<void> {
    await super.alarm();
    if (this.#isAtWork && (await this.ctx.storage.getAlarm()) === null)
      await this.ctx.storage.setAlarm(Date.now() + limits.watchMs);
  }

  /** What an instance says of itself; undefined when there is none. Goes on with it. */
  async ask(): Promise<InstanceReport | undefined> {
    return this.exists() ? this.#report() : undefined;
  }

  snapshot(): Snapshot | undefined {
    if (!this.exists()) return undefined;
    const { kv } = this.ctx.storage;
    const steps = [...kv.list<{ value?: { payload?: unknown } }>({ prefix: "s:waitForEvent:" })];
    const received = steps.map(([key, { value }]) => {
      const [, count = "", name = ""] = /^s:waitForEvent:(\d+):(.*)$/s.exec(key) ?? [];
      return [`${name}-${count}`, value?.payload] as const;
    });
    return {
      meta: kv.get<EngineMeta>("meta") as EngineMeta,
      origin: this.#origin,
      history: [...kv.list<HistoryEvent>({ prefix: "l:" })].map(([, event]) => event),
      received: Object.fromEntries(received),
    };
  }

  // The list's calls.

  report(report: InstanceReport): void {
    this.#ownList.put(report);
    heardOf(this.#key).add(report.id);
  }

  forget(id: string): void {
    this.#ownList.remove(id);
    heardOf(this.#key).delete(id);
  }

  /** Without those whose time is over, and after asking those that were at work when a process before this one ended. */
  async #confirmedList(): Promise<InstanceList> {
    const list = this.#ownList;
    list.expire(Date.now());
    await this.#confirm(list.restless(Date.now()));
    return list;
  }

  /** A page of the list, after asking those that nobody has heard of since this process began. */
  async page(query: ListQuery): Promise<{ items: InstanceRecord[]; total: number }> {
    const list = await this.#confirmedList();
    await this.#confirm(list.page(query).map(({ id }) => id));
    return { items: list.page(query), total: list.count(query) };
  }

  async counts(): Promise<Record<string, number>> {
    return (await this.#confirmedList()).counts();
  }

  record(id: string): InstanceRecord | undefined {
    return this.#ownList.get(id);
  }

  unfinished(): string[] {
    return this.#ownList.unfinished(limits.terminated);
  }

  get #ownList(): InstanceList {
    if (!this.#list) throw new Error("this object is an instance");
    return this.#list;
  }

  get #origin(): InstanceOrigin {
    return this.ctx.storage.kv.get<InstanceOrigin>(originKey) ?? { source: "binding", version: this.#host.VERSION };
  }

  #theList(): DurableObjectStub<Engine> {
    return namespaceOf(this.#host, this.#key).getByName(listName);
  }

  #report(): InstanceReport | undefined {
    const meta = this.ctx.storage.kv.get<EngineMeta>("meta");
    if (!meta) return undefined;
    const { id, status, created, expires, dormant: until } = meta;
    return { id, status, created, expires, until, modified: Date.now(), origin: this.#origin };
  }

  /** What code sees as the Workflow's name: here it goes by its key, since a name may be given again. */
  #nameWorkflow(): void {
    const { props } = this.ctx;
    const { workflowClass } = props;
    const { name: workflowName, concurrency } = this.#host.ABOUT[this.#key] ?? { name: "" };
    const run = (event: object, step: unknown) => {
      const { schedule } = this.#origin;
      return workflowClass.run({ ...event, workflowName, ...(schedule ? { schedule } : {}) }, step);
    };
    const runInTurn = async (event: object, step: unknown) => {
      if (!(await this.#takeSlot(concurrency ?? Infinity))) throw new Error("The instance has ended before its turn");
      // What waits does not run: somebody else may meanwhile.
      const aside = async <T>(wait: () => Promise<T>): Promise<T> => {
        this.#slots?.give(this);
        try {
          return await wait();
        } finally {
          if (this.#isAtWork) await this.#takeSlot(concurrency ?? Infinity);
        }
      };
      try {
        return await run(event, stepInTurn(RpcTarget, step as EngineStep, aside));
      } finally {
        this.#slots?.give(this);
      }
    };
    props.workflowClass = { run: concurrency === undefined ? run : runInTurn };
  }

  get #slots(): Slots | undefined {
    return slots.get(this.#key);
  }

  /** Waits, queued, until fewer than `limit` instances of the Workflow run; false when this one ends before. */
  async #takeSlot(limit: number): Promise<boolean> {
    const mine = this.#slots ?? new Slots(limit);
    slots.set(this.#key, mine);
    const { kv } = this.ctx.storage;
    const change = (from: InstanceStatus, to: InstanceStatus) => {
      const meta = kv.get<EngineMeta>("meta");
      if (meta?.status === from) kv.put("meta", { ...meta, status: to });
    };
    const isOver = () => {
      const meta = kv.get<EngineMeta>("meta");
      return meta === undefined || isFinished(meta.status);
    };
    change("running", "queued");
    const hasSlot = await mine.take(this, isOver, async (ms) => scheduler.wait(ms));
    change("queued", "running");
    return hasSlot;
  }

  /** The engine writes an instance's state under `meta`, and clears all storage of one that goes. */
  #watchStorage(): void {
    const { storage } = this.ctx;
    const { kv } = storage;
    const put = kv.put.bind(kv);
    const deleteAll = storage.deleteAll.bind(storage);
    kv.put = (key: string, value: unknown) => {
      // The engine makes of this what Cloudflare says of a result that is too large.
      if (key.startsWith("s:do:") && sizeOf((value as { value?: unknown }).value) > workflowLimits.valueBytes)
        throw new Error("SQLITE_TOOBIG");
      put(key, value);
      if (key === "meta") this.#changed();
    };
    const setAlarm = storage.setAlarm.bind(storage);
    storage.setAlarm = async (at: number) => setAlarm(this.#isAtWork ? Math.min(at, Date.now() + limits.watchMs) : at);
    storage.deleteAll = async () => {
      const gone = deleteAll();
      this.#changed();
      await gone;
    };
  }

  /** Whether a crash would interrupt it: it neither rests until its alarm nor has ended. */
  get #isAtWork(): boolean {
    const meta = this.ctx.storage.kv.get<EngineMeta>("meta");
    return meta !== undefined && meta.dormant === undefined && meta.status !== "paused" && !isFinished(meta.status);
  }

  #changed(): void {
    if (this.#report()?.status === "rollingBack") rollingBack.add(this);
    else rollingBack.delete(this);
    this.#untold = true;
    this.#told ??= this.#tell().finally(() => (this.#told = undefined));
    this.ctx.waitUntil(this.#told);
  }

  /** Many changes of one moment are told once. */
  async #tell(): Promise<void> {
    await scheduler.wait(limits.tellMs);
    while (this.#untold) {
      this.#untold = false;
      const report = this.#report();
      if (report) await this.#theList().report(report);
      else await this.#theList().forget(this.ctx.id.name ?? "");
    }
  }

  async #confirm(ids: readonly string[]): Promise<void> {
    const known = heardOf(this.#key);
    const unheard = ids.filter((id) => !known.has(id));
    await atMost(limits.asksAtOnce, unheard, async (id) => {
      const report = await namespaceOf(this.#host, this.#key).getByName(id).ask();
      if (report) this.report(report);
      else this.forget(id);
    });
  }
}

/** What the API asks, for the Workflow that `props.workflow` names. */
export class WorkflowAdmin extends WorkerEntrypoint<Env, { workflow: string }> {
  /** How many instances are at work without a request of anybody's. */
  busy(): number {
    return rollingBack.size;
  }

  async ask(request: WorkflowRequest): Promise<unknown> {
    const { binding } = this;
    switch (request.op) {
      case "create":
        return this.#create(request.instance);
      case "createBatch":
        return this.#createBatch(request.instances);
      case "list":
        return this.#list.page(request.query);
      case "counts":
        return this.#list.counts();
      case "describe": {
        const snapshot = await this.#instance(request.id).snapshot();
        return instanceDetails(found(snapshot as Snapshot | undefined), request);
      }
      case "step": {
        const snapshot = await this.#instance(request.id).snapshot();
        return stepDetails(found(snapshot as Snapshot | undefined), request);
      }
      case "pause":
        return binding.pause(request.id);
      case "resume":
        return binding.resume(request.id);
      case "terminate":
        return binding.terminate(request.id, { rollback: request.rollback });
      case "restart":
        return binding.restart(request.id, request.from ? { from: request.from } : {});
      case "sendEvent":
        return binding.sendEvent(request.id, { type: request.type, payload: request.payload });
      case "terminateAll": {
        const ids = await this.#list.unfinished();
        await atMost(limits.asksAtOnce, ids, async (id) => {
          // One that has ended meanwhile is as it should be.
          await binding.terminate(id, {}).catch(unless(/cannot_terminate|not_found/));
        });
        return { status: "ok" };
      }
      case "deleteBatch":
        return binding.deleteBatch({ instances: request.ids });
    }
  }

  get binding(): BindingStub {
    return this.env[`binding:${this.ctx.props.workflow}`] as BindingStub;
  }

  get #list(): DurableObjectStub<Engine> {
    return this.#instance(listName);
  }

  #instance(id: string): DurableObjectStub<Engine> {
    return namespaceOf(this.env, this.ctx.props.workflow).getByName(id);
  }

  async #create({ id = crypto.randomUUID(), params, retention, origin }: NewInstance): Promise<unknown> {
    const isReserved = /^cf_[0-9a-f]{64}$/.test(id) && origin.source !== "cron";
    if (isReserved || !isInstanceId(id)) throw workflowError("instance.invalid_id", "Instance ID is invalid");
    await this.#instance(id).create(params, retention, origin);
    const record = await this.#list.record(id);
    return { id, status: record?.status ?? "queued", version: record?.version ?? this.env.VERSION };
  }

  async #createBatch(instances: readonly NewInstance[]): Promise<unknown[]> {
    const made: unknown[] = [];
    for (const instance of instances) {
      // As on Cloudflare, those that exist are left out.
      const one = await this.#create(instance).catch(unless(/already_exists/));
      if (one !== undefined) made.push(one);
    }
    return made;
  }
}

export default {
  fetch: () => new Response(null, { status: 404 }),
};

type BindingStub = {
  pause(id: string): Promise<void>;
  resume(id: string): Promise<void>;
  terminate(id: string, options: object): Promise<void>;
  restart(id: string, options: object): Promise<void>;
  sendEvent(id: string, event: { type: string; payload: unknown }): Promise<void>;
  deleteBatch(options: { instances: readonly string[] }): Promise<unknown>;
};

function namespaceOf(env: Record<string, unknown>, key: string): DurableObjectNamespace<Engine> {
  return env[`workflow:${key}`] as DurableObjectNamespace<Engine>;
}

function heardOf(key: string): Set<string> {
  const known = heard.get(key) ?? new Set<string>();
  heard.set(key, known);
  return known;
}

async function atMost<T>(atOnce: number, items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const workers = Array.from({ length: Math.min(atOnce, items.length) }, async () => {
    for (const item of rest) await work(item);
  });
  await Promise.all(workers);
}
