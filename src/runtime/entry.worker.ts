// oxlint-disable-next-line typescript/triple-slash-reference -- declares modules; there is nothing to import.
/// <reference path="./workerd-internals.worker.ts" />
import internalEnv from "cloudflare-internal:env";
import internalWorkers from "cloudflare-internal:workers";
import asyncHooks from "node-internal:async_hooks";
import {
  logBatchPath,
  logLevels,
  logLimits,
  logListenPath,
  type ExecutionModel,
  type LogReply,
} from "#products/logs/schema.ts";
import { exportedHandlers, type ExportedHandlers } from "#runtime/entry/exported-handlers.ts";
import { Recorder } from "#runtime/entry/invocation.ts";
import { fetchNamed, namedEntrypoint } from "#runtime/entry/named.ts";
import { takeNamespaces } from "#runtime/entry/namespaces.ts";
import { patchTimers, patchWebSocket } from "#runtime/entry/patches.ts";
import { Runner } from "#runtime/entry/runner.ts";
import { isClass, wrapClass } from "#runtime/entry/wrap-class.ts";
import { wrapObject } from "#runtime/entry/wrap-object.ts";

/**
 * `solum:entry`: what every module Worker starts through. The generated main module (`entry-module.ts`) gives it the user's
 * exports and exports what it gets back. It is an extension module and evaluated before any of the user's: so it can take
 * away what the user must not see, needs no compatibility flag, and sees every `console` call.
 */
const { now } = Date;
const { parse } = JSON;
const { setTimeout } = globalThis;
const waitUntil = internalWorkers.waitUntil.bind(internalWorkers);

const storage = new asyncHooks.AsyncLocalStorage();
const recorder = new Recorder({
  now,
  sleep: async (ms) =>
    new Promise((resolve) => {
      setTimeout(resolve, ms);
    }),
  // Outside of the invocation that happens to be current: its log must not grow by ours, nor be kept alive.
  background: (work) => waitUntil(storage.run(undefined, work)),
  send: async (body) => {
    if (!log) return undefined;
    const signal = AbortSignal.timeout(logLimits.sendMs);
    try {
      const response = await log.fetch(`http://log${logBatchPath}`, { method: "POST", body, signal });
      const text = await response.text();
      return response.ok ? (parse(text) as LogReply).detail : undefined;
    } catch {
      // Nobody is there. Logs are lossy by contract, and the next batch says how many were lost.
      return undefined;
    }
  },
});
const runner = new Runner(recorder, storage);

/** Name of the binding that leads to the log socket, and of the export that answers probes. */
const logBinding = "__SOLUM_LOG";
const probeExport = "__solum";

type Fetcher = { fetch(url: string, init: RequestInit): Promise<Response> };
let log: Fetcher | undefined;
let hidden = false;
/** The Worker's own namespaces, when their objects live in another process. */
let namespaces: [className: string, namespace: unknown][] = [];
/** Prototypes whose `waitUntil` is counted, and the one that `ctx` had last. */
const patched = new WeakSet();
let seenPrototype: unknown;
takeFrom(internalEnv.getCurrentEnv());

for (const level of logLevels) console[level] = (...args) => recorder.log(runner.current, level, args);
addEventListener("unhandledrejection", (event) => recorder.exception(runner.current, event.reason));
patchTimers(storage, (thrown) => recorder.exception(runner.current, thrown));
patchWebSocket(storage);
countWaitUntil(internalWorkers);

/** What stands in the place of one of the user's exports; anything that is no entry point is passed through. */
export function wrapExport(value: unknown, name: string): unknown {
  exported.set(name, value);
  if (typeof value === "function" && isClass(value)) {
    const once = value === internalWorkers.WorkerEntrypoint || internalWorkers.WorkerEntrypoint.isPrototypeOf(value);
    return wrapClass(value, name, runner, { once, before, executionModel: once ? undefined : modelOf(value) });
  }
  return typeof value === "object" && value !== null ? wrapObject(value, name, runner, before) : value;
}

const exported = new Map<string, unknown>();
/** Looked at once: a getter of the user's may stand behind each. */
let handlers: ExportedHandlers | undefined;

/**
 * Answers what is still under way: to `/flush` after sending what is waiting, to `/listen` after learning that somebody
 * listens to the logs. Hands on what came by a binding with an entrypoint or props. Exported as `__solum`.
 */
export const probe = {
  async fetch(request: Request, env: unknown, ctx: unknown): Promise<Response> {
    before(env, ctx);
    const named = namedEntrypoint(request);
    if (named) return fetchNamed(request, named, (ctx as { exports: unknown }).exports);
    const { pathname } = new URL(request.url);
    if (pathname === "/flush") await recorder.outbox.flush();
    if (pathname === logListenPath) recorder.outbox.listen();
    const { inFlight, openWork, outbox } = recorder;
    handlers ??= exportedHandlers(exported);
    return Response.json({ inFlight, waitUntil: openWork, unsent: outbox.waiting, ...handlers });
  },
};

/** A class that is no entrypoint is one of these two; that of an object need not extend anything. */
function modelOf(value: Function): ExecutionModel {
  return internalWorkers.WorkflowEntrypoint.isPrototypeOf(value) ? "workflow" : "durableObject";
}

/**
 * Once, before the first invocation: hides what could not be hidden while the modules were evaluated, and learns the class
 * of `ctx`, which is global only here. Its `waitUntil` is replaced on the prototype: handlers that are no classes may share one
 * `ctx` among all requests, so nothing may be put on that.
 */
function before(env: unknown, ctx: unknown): void {
  const prototype: unknown = ctx === undefined || ctx === null ? undefined : Object.getPrototypeOf(ctx);
  if (prototype !== seenPrototype && typeof prototype === "object" && prototype !== null) {
    seenPrototype = prototype;
    if (!patched.has(prototype)) countWaitUntil(prototype);
  }
  if (namespaces.length > 0) exportNamespaces(ctx);
  if (hidden) return;
  hidden = true;
  takeFrom(env);
  const { exports } = (ctx ?? {}) as { exports?: object };
  for (const list of [internalEnv.getCurrentExports(), exports]) {
    if (!list) continue;
    for (const name of Object.keys(list)) if (name.startsWith(probeExport)) Reflect.deleteProperty(list, name);
  }
}

/** `ctx.exports` is made anew for each invocation, and has the bare classes where their objects live in another process. */
function exportNamespaces(ctx: unknown): void {
  const { exports } = (ctx ?? {}) as { exports?: object };
  for (const list of [internalEnv.getCurrentExports(), exports]) {
    if (!list) continue;
    for (const [className, namespace] of namespaces)
      if (Reflect.get(list, className) !== namespace) Reflect.set(list, className, namespace);
  }
}

function takeFrom(env: unknown): void {
  if (typeof env !== "object" || env === null) return;
  log ??= (env as Record<string, Fetcher | undefined>)[logBinding];
  if (namespaces.length === 0) namespaces = takeNamespaces(env);
  else takeNamespaces(env);
  Reflect.deleteProperty(env, logBinding);
}

function countWaitUntil(owner: { waitUntil?: unknown }): void {
  patched.add(owner);
  const original = owner.waitUntil;
  if (typeof original !== "function") return;
  const counted = {
    waitUntil(this: unknown, ...args: unknown[]): unknown {
      const result: unknown = Reflect.apply(original, this, args);
      runner.track(args[0]);
      return result;
    },
  }.waitUntil;
  const descriptor = Object.getOwnPropertyDescriptor(owner, "waitUntil") ?? { writable: true, configurable: true };
  Object.defineProperty(owner, "waitUntil", { ...descriptor, value: counted });
}
