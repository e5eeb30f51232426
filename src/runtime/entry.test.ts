import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { logLimits, type LogMessage } from "#products/logs/schema.ts";
import { runVersion, type RunningVersion } from "../../test/support/worker-version.ts";

const main = (source: string) => [{ name: "index.js", source }];
/** All log lines of the events whose request has this path, late ones with them. */
const linesOf = (messages: LogMessage[], path: string) =>
  messages.filter((message) => pathOf(message) === path).flatMap(({ logs }) => logs.map(({ message }) => message[0]));
const pathOf = ({ event }: LogMessage) => {
  const request = event?.["request"] as { url: string } | undefined;
  return request && new URL(request.url).pathname;
};
const eventAt = async (worker: RunningVersion, path: string) => {
  const all = await worker.messages((messages) => messages.some((message) => pathOf(message) === path));
  return all.find((message) => pathOf(message) === path);
};

/** The same code as a service worker, whose logs workerd's own tail tells, and as a module, whose logs the entry module tells. */
const formatting = `
  const circular = { a: 1 }; circular.self = circular;
  class Foo { constructor() { this.x = 1 } } class Bar { toJSON() { return { bar: 1 } } }
  const cases = { text: ["a", ""], number: [1, -0, NaN, Infinity], boolean: [true], nothing: [null, undefined], object: [{ a: 1, f() {}, u: undefined, n: { m: [1] } }], list: [[1, undefined, () => 1, NaN]], circular: [circular], circularList: [[circular]], bigint: [10n], bigintInside: [{ b: 1n }], symbol: [Symbol("x")], fn: [function foo(a) { return a }], map: [new Map([[1, 2]])], set: [new Set([1])], date: [new Date(0)], badDate: [new Date(NaN)], instance: [new Foo()], toJSON: [new Bar()], nullPrototype: [Object.assign(Object.create(null), { a: 1 })], bytes: [new Uint8Array([1, 2])], buffer: [new ArrayBuffer(2)], promise: [Promise.resolve(1)], request: [new Request("http://a/")], headers: [new Headers({ a: "b" })], url: [new URL("http://a/b")], pattern: [/x/g], format: ["%s is %d %o", "a", 1, { b: 2 }], errorInside: [{ e: new Error("nested") }], proxy: [new Proxy({ a: 1 }, {})], throwingGetter: [{ get a() { throw new Error("getter") } }], throwingToString: [{ __proto__: { toString() { throw 1 } } }], wrapper: [new String("s"), new Number(1), Object(1n)], args: [(function () { return arguments })(1, 2)], none: [], surrogate: ["\\ud800 \\u00e9 \\u{1F600}"], error: [new Error("boom")], errors: ["failed:", new TypeError("inner", { cause: new Error("c") }), 1] };
  const thrown = { error() { throw new Error("boom") }, text() { throw "str" }, nothing() { throw null }, undef() { throw undefined }, own() { class MyErr extends TypeError { constructor(m) { super(m); this.name = "MyErr" } } throw new MyErr("x") }, lines() { throw new Error("multi\\nline") }, dom() { throw new DOMException("m", "AbortError") }, number() { throw 42 }, notResponse() { return 5 }, shape() { throw Object.create({ name: "N", message: "M" }) } };
  async function handle(request) {
    const [, kind, name] = new URL(request.url).pathname.split("/");
    if (kind === "names") return Response.json([...Object.keys(cases).map((n) => "/case/" + n), ...Object.keys(thrown).map((n) => "/throw/" + n)]);
    if (kind === "throw") return thrown[name]();
    console.log(...cases[name]);
    return new Response("x");
  }`;

test("arguments and exceptions are told as workerd's own tail tells them", async () => {
  await using entry = await runVersion({ modules: main(`${formatting} export default { fetch: handle }`) });
  await using native = await runVersion({
    format: "service-worker",
    modules: main(`${formatting} addEventListener("fetch", (event) => event.respondWith(handle(event.request)))`),
  });
  const paths = JSON.parse((await entry.get("/names")).body) as string[];
  for (const path of paths) expect((await native.get(path)).status, path).toBe((await entry.get(path)).status);
  const told = (message: LogMessage | undefined) => ({
    outcome: message?.outcome,
    entrypoint: message?.entrypoint,
    event: {
      ...message?.event,
      request: { method: (message?.event?.["request"] as { method: string } | undefined)?.method },
    },
    logs: message?.logs.map((line) => ({ ...line, timestamp: 0, errorInfo: line.errorInfo?.map(withoutFrames) })),
    exceptions: message?.exceptions.map(withoutFrames),
  });
  for (const path of paths) expect(told(await eventAt(entry, path)), path).toEqual(told(await eventAt(native, path)));
  const { exceptions = [] } = (await eventAt(entry, "/throw/error")) ?? {};
  expect(exceptions[0]?.stack).toMatch(/^ +at Object.error \(index.js:\d+:\d+\)\n +at Object.handle .*$/);
});

/** The line numbers differ, and native code knows the stack of some values that have none in JavaScript. */
function withoutFrames<T extends { stack?: string; timestamp?: number } | null>(info: T): T {
  return info && { ...info, stack: undefined, timestamp: 0 };
}

describe("lines find the invocation that wrote them", () => {
  const program = `
    import { WorkerEntrypoint, waitUntil } from "cloudflare:workers";
    const names = [];
    export default { async fetch(request, env, ctx) {
      const path = new URL(request.url).pathname;
      const log = (what, level = "log") => console[level](path + " " + what);
      log("begin");
      await scheduler.wait(Math.random() * 20);
      log("after a wait", "warn");
      setTimeout(() => log("timer"), 1);
      queueMicrotask(() => log("microtask"));
      waitUntil((async () => { await scheduler.wait(5); log("imported waitUntil") })());
      ctx.waitUntil(scheduler.wait(30).then(() => log("ctx.waitUntil", "error")));
      const { readable, writable } = new TransformStream();
      ctx.waitUntil((async () => { const w = writable.getWriter(); await scheduler.wait(10); log("stream", "debug"); await w.write(new TextEncoder().encode(path)); await w.close() })());
      return new Response(readable);
    } }`;

  test("whatever runs beside it", async () => {
    await using worker = await runVersion({ modules: main(program) });
    const paths = Array.from({ length: 60 }, (_, index) => `/r${index}`);
    const bodies = await Promise.all(paths.map(async (path) => (await worker.get(path)).body));
    expect(bodies).toEqual(paths);
    const all = await worker.messages((messages) => messages.flatMap(({ logs }) => logs).length >= paths.length * 7);
    for (const path of paths) {
      expect(linesOf(all, path).map(String).toSorted(), path).toEqual(
        ["after a wait", "begin", "ctx.waitUntil", "imported waitUntil", "microtask", "stream", "timer"].map(
          (what) => `${path} ${what}`,
        ),
      );
    }
    const events = all.filter(({ part }) => part === undefined);
    expect(events).toHaveLength(paths.length);
    expect(new Set(events.map(({ id }) => id)).size).toBe(paths.length);
    expect(new Set(all.flatMap(({ logs }) => logs.map(({ level }) => level)))).toEqual(
      new Set(["log", "warn", "error", "debug"]),
    );
    expect(worker.workerd.output).toEqual({ stdout: "", stderr: "" });
  });

  test("with an id that is told again for what comes after the response", async () => {
    await using worker = await runVersion({
      modules: main(`export default { fetch(request, env, ctx) {
        console.log("first");
        ctx.waitUntil(scheduler.wait(${logLimits.holdMs + 600}).then(() => { console.log("much later"); throw new Error("late") }));
        return new Response("x");
      } }`),
    });
    await worker.get("/slow");
    expect(await worker.probe()).toMatchObject({ inFlight: 0, waitUntil: 1 });
    const all = await worker.messages((messages) => messages.some(({ exceptions }) => exceptions.length > 0));
    const [{ id } = { id: undefined }] = all;
    expect(all.map((message) => ({ id: message.id, part: message.part, outcome: message.outcome }))).toEqual([
      { id, part: undefined, outcome: "ok" },
      { id, part: "late", outcome: "ok" },
      { id, part: "late", outcome: "ok" },
    ]);
    expect(linesOf(all, "/slow")).toEqual(["first", "much later"]);
    expect(all[2]?.exceptions[0]).toMatchObject({ name: "Error", message: "late" });
    expect(await worker.probe()).toMatchObject({ waitUntil: 0 });
  });

  test("in one piece when the background work ends soon", async () => {
    await using worker = await runVersion({
      modules: main(
        `export default { fetch(request, env, ctx) { ctx.waitUntil(scheduler.wait(150).then(() => console.log("soon"))); return new Response("x") } }`,
      ),
    });
    await worker.get("/soon");
    const all = await worker.messages((messages) => messages.length > 0);
    expect(all).toMatchObject([
      { event: { request: { method: "GET" }, response: { status: 200 } }, logs: [{ message: ["soon"] }] },
    ]);
  });

  test("of WebSockets, classes, their constructors and objects", async () => {
    await using worker = await runVersion({
      exports: ["default", "Api"],
      modules: main(`
        import { WorkerEntrypoint } from "cloudflare:workers";
        export class Api extends WorkerEntrypoint {
          constructor(ctx, env) { super(ctx, env); console.log("made") }
          async work(n) { console.log("begins " + n); this.inner(n); await scheduler.wait(5); console.log("ends " + n); if (n === 3) throw new RangeError("three") }
          inner(n) { console.log("inner " + n) }
          get value() { console.log("read"); return 1 }
        }
        export default { async fetch(request, env, ctx) {
          const path = new URL(request.url).pathname;
          if (path === "/rpc") { await Promise.allSettled([1, 2, 3].map((n) => ctx.exports.Api.work(n))); await ctx.exports.Api.value; return new Response("x") }
          const [a, b] = Object.values(new WebSocketPair());
          b.accept(); b.addEventListener("message", ({ data }) => console.log("message " + data));
          a.accept(); a.send("one"); a.send("two"); await scheduler.wait(20);
          return new Response("x");
        } }`),
    });
    await worker.get("/rpc");
    await worker.get("/ws");
    const all = await worker.messages((messages) => messages.length >= 6);
    expect(linesOf(all, "/ws")).toEqual(["message one", "message two"]);
    const calls = all.filter(({ entrypoint }) => entrypoint === "Api");
    expect(
      calls
        .map(({ event, logs, outcome }) => [event?.["rpcMethod"], outcome, logs.map(({ message }) => message[0])])
        .toSorted((a, b) => (String(a) < String(b) ? -1 : 1)),
    ).toEqual([
      ["value", "ok", ["made", "read"]],
      ["work", "exception", ["made", "begins 3", "inner 3", "ends 3"]],
      ["work", "ok", ["made", "begins 1", "inner 1", "ends 1"]],
      ["work", "ok", ["made", "begins 2", "inner 2", "ends 2"]],
    ]);
  });
});

test("lines of a Durable Object find the call that wrote them", async () => {
  await using worker = await runVersion(
    {
      exports: ["default", "Room"],
      modules: main(`
        import { DurableObject } from "cloudflare:workers";
        export class Room extends DurableObject {
          constructor(ctx, env) { super(ctx, env); console.log("made"); ctx.blockConcurrencyWhile(async () => { await scheduler.wait(5); console.log("loaded") }) }
          async work(n) { console.log("begins " + n); await scheduler.wait(5 * n); this.note(n); this.ctx.waitUntil(scheduler.wait(1).then(() => console.log("after " + n))); if (n === 2) throw new Error("two") }
          note(n) { console.log("notes " + n) }
          async ring() { await this.ctx.storage.setAlarm(Date.now()) }
          alarm() { console.log("rang") }
        }
        export default { async fetch(request, env, ctx) { const room = env.ROOM.getByName("a"); await Promise.allSettled([1, 2, 3].map((n) => room.work(n))); await room.ring(); return new Response("x") } }`),
    },
    {
      edit: (text) =>
        text
          .replace(
            "globalOutbound =",
            'durableObjectNamespaces = [(className = "Room", uniqueKey = "room")], durableObjectStorage = (inMemory = void), globalOutbound =',
          )
          .replace("bindings = [", 'bindings = [(name = "ROOM", durableObjectNamespace = "Room"),'),
    },
  );
  await worker.get();
  const isRoom = ({ entrypoint }: LogMessage) => entrypoint === "Room";
  const all = await worker.messages((messages) => messages.filter(isRoom).length >= 5);
  for (const message of all) expect(message.executionModel).toBe(isRoom(message) ? "durableObject" : undefined);
  const calls = all
    .filter(isRoom)
    .map(({ event, outcome, logs }) => [
      event?.["rpcMethod"] ?? Object.keys(event ?? {})[0],
      outcome,
      logs.map(({ message }) => message[0]),
    ]);
  expect(calls.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)))).toEqual([
    ["ring", "ok", []],
    ["scheduledTime", "ok", ["rang"]],
    ["work", "exception", ["begins 2", "notes 2", "after 2"]],
    ["work", "ok", ["begins 3", "notes 3", "after 3"]],
    ["work", "ok", ["made", "loaded", "begins 1", "notes 1", "after 1"]],
  ]);
});

test("a lost connection that nobody catches is answered, and one that is caught says that it may be retried", async () => {
  await using worker = await runVersion({
    exports: ["default", "Other"],
    bindings: [{ name: "API", type: "service", service: "other" }],
    modules: main(`
      import { WorkerEntrypoint } from "cloudflare:workers";
      export class Other extends WorkerEntrypoint { fetch(request) { return this.env.API.fetch(request) } }
      export default { async fetch(request, env, ctx) {
        if (request.url.endsWith("/class")) return ctx.exports.Other.fetch(request);
        if (request.url.endsWith("/direct")) return env.API.fetch(request);
        try { return await env.API.fetch(request) } catch (error) { return Response.json([error.message, error.retryable]) }
      } }`),
  });
  const dead = createServer((socket) => socket.on("error", () => {}).once("data", () => socket.destroy()));
  dead.listen(worker.layout.platform);
  await once(dead, "listening");
  expect((await worker.get("/caught")).body).toBe('["Network connection lost.",true]');
  expect((await worker.get("/direct")).status).toBe(500);
  expect((await worker.get("/class")).status).toBe(500);
  const message = await eventAt(worker, "/direct");
  expect(message).toMatchObject({
    outcome: "exception",
    exceptions: [{ name: "Error", message: "Network connection lost." }],
  });
  dead.close();
});

test("the probe counts what is under way, and sends what is waiting", async () => {
  await using worker = await runVersion({
    modules: main(`
      export default { async fetch(request, env, ctx) {
        const { pathname } = new URL(request.url);
        console.log("told");
        if (pathname === "/background") ctx.waitUntil((async () => { while (!done) await scheduler.wait(5) })());
        if (pathname === "/slow") while (!done) await scheduler.wait(5);
        if (pathname === "/done") done = true;
        return new Response("x");
      } }
      let done = false;`),
  });
  const slow = worker.get("/slow");
  await worker.get("/background");
  await pollUntil({ ms: 5000, everyMs: 5, what: "the slow request" }, async () =>
    (await worker.probe()).inFlight === 1 ? true : undefined,
  );
  expect(await worker.probe()).toMatchObject({ inFlight: 1, waitUntil: 1 });
  await worker.get("/done");
  await slow;
  await pollUntil({ ms: 5000, everyMs: 5, what: "the background work" }, async () =>
    (await worker.probe()).waitUntil === 0 ? true : undefined,
  );
  expect(await worker.probe("/flush")).toMatchObject({ inFlight: 0, waitUntil: 0, unsent: 0 });
  expect(await worker.messages((messages) => messages.length >= 3)).toHaveLength(3);
});

test("a hello Worker with entry module and router takes little memory", async () => {
  await using worker = await runVersion({ modules: main(`export default { fetch() { return new Response("x") } }`) });
  await worker.get();
  const rollup = readFileSync(`/proc/${worker.workerd.pid}/smaps_rollup`, "utf8");
  const megabytes = Number(/Private_Dirty:\s+(\d+)/.exec(rollup)?.[1]) / 1024;
  expect(megabytes).toBeGreaterThan(5);
  expect(megabytes).toBeLessThan(15);
});

describe("what nobody catches", () => {
  test.each([
    ["a rejection", `Promise.reject(new Error("left alone")); await scheduler.wait(5)`, "left alone", "ok", 200],
    [
      "a timer",
      `setTimeout(() => { throw new TypeError("in a timer") }, 1); await scheduler.wait(20)`,
      "in a timer",
      "ok",
      200,
    ],
    [
      "background work",
      `ctx.waitUntil(Promise.reject(new Error("in the background")))`,
      "in the background",
      "ok",
      200,
    ],
    ["the handler", `throw new Error("in the handler")`, "in the handler", "exception", 500],
    [
      "a late failure",
      `await scheduler.wait(1); null.x`,
      "Cannot read properties of null (reading 'x')",
      "exception",
      500,
    ],
  ])("%s", async (_name, code, message, outcome, status) => {
    await using worker = await runVersion({
      modules: main(`export default { async fetch(request, env, ctx) { ${code}; return new Response("x") } }`),
    });
    expect((await worker.get("/x")).status).toBe(status);
    const all = await worker.messages((messages) => messages.some(({ exceptions }) => exceptions.length > 0));
    expect(all).toMatchObject([{ outcome, exceptions: [{ message }] }]);
  });
});

test("quiet invocations are counted, and told in full while somebody listens", async () => {
  await using worker = await runVersion(
    { modules: main(`export default { fetch() { return new Response("x") } }`) },
    { listening: false },
  );
  const many = async (path: string) =>
    Promise.all(
      Array.from({ length: 400 }, async () =>
        worker.get(path, { headers: { authorization: "secret", "x-mine": "1" } }),
      ),
    );
  const sent = async () =>
    pollUntil({ ms: 10_000, everyMs: 10, what: "a batch" }, async () =>
      (await worker.probe()).unsent === 0 ? true : undefined,
    );
  // A process that has just started tells everything: somebody may be listening.
  await worker.get("/started", { headers: { "x-mine": "1" } });
  await sent();
  await many("/unheard");
  await sent();
  const ended = new AbortController();
  const heard: LogMessage[] = [];
  const messages = await worker.logs.listen(worker.workerId, "hello", ended.signal);
  const listening = (async () => {
    for await (const message of messages ?? []) heard.push(message);
  })();
  // From here on everything, without a first batch that would say that somebody listens.
  await many("/heard");
  const heardAt = (path: string) => heard.filter((message) => pathOf(message) === path);
  await pollUntil({ ms: 10_000, everyMs: 10, what: "all" }, () =>
    heardAt("/heard").length === 400 ? true : undefined,
  );
  for (const { event } of heardAt("/heard"))
    expect(event).toMatchObject({ request: { headers: { authorization: "REDACTED", "x-mine": "1" } } });
  expect(heardAt("/unheard").length).toBeGreaterThanOrEqual(logLimits.quietPerBatch);
  expect(heardAt("/unheard").length).toBeLessThan(400);
  expect(heardAt("/unheard")[0]?.event).toMatchObject({ request: { method: "GET", headers: {}, cf: {} } });
  expect(heardAt("/started")[0]?.event).toMatchObject({ request: { headers: { "x-mine": "1" } } });
  ended.abort();
  await listening;
});

describe("nothing of ours can be seen", () => {
  const look = `
    import * as workers from "cloudflare:workers";
    const see = (object) => object ? Reflect.ownKeys(object).map(String) : null;
    const first = { env: see(workers.env), exports: see(workers.exports), process: see(globalThis.process?.env) };
    export class Api extends workers.WorkerEntrypoint { look() { return [see(this.env), see(this.ctx.exports)] } }
    export default { async fetch(request, env, ctx) {
      return Response.json({ first, env: see(env), all: JSON.stringify(env), imported: see(workers.env), process: see(globalThis.process?.env), exports: see(ctx.exports), importedExports: see(workers.exports),
        self: [see(workers.exports.Api) !== null || ctx.exports === undefined, ctx.exports?.Api && await ctx.exports.Api.look()], stdout: typeof console.log });
    } }`;

  test.each([
    ["2026-11-01", []],
    ["2026-11-01", ["disallow_importable_env"]],
    ["2026-11-01", ["no_nodejs_compat", "no_nodejs_compat_v2", "no_nodejs_als"]],
    ["2026-11-01", ["new_module_registry"]],
    ["2025-06-01", ["nodejs_compat"]],
    ["2024-09-23", ["nodejs_compat", "disallow_importable_env"]],
    ["2022-01-01", []],
  ])("on %s with %j", async (compatibilityDate, compatibilityFlags) => {
    await using worker = await runVersion({
      exports: ["default", "Api"],
      compatibilityDate,
      compatibilityFlags,
      bindings: [
        { name: "TEXT", type: "plain_text", text: "t" },
        { name: "JSON", type: "json", json: { a: 1 } },
      ],
      modules: main(look),
    });
    const { body } = await worker.get();
    expect(body).not.toMatch(/solum/i);
    expect(JSON.parse(body)).toMatchObject({ env: ["TEXT", "JSON"], all: '{"TEXT":"t","JSON":{"a":1}}' });
    // Asked by the supervisor it is there all the same.
    expect(await worker.probe()).toMatchObject({ inFlight: 0 });
  });

  test("not even when the probe comes before the first request", async () => {
    await using worker = await runVersion({ exports: ["default", "Api"], modules: main(look) });
    await worker.probe();
    expect((await worker.get()).body).not.toMatch(/solum/i);
  });
});

test("lines from before the first request come with the first batch", async () => {
  await using worker = await runVersion({
    modules: main(`console.info("loading"); export default { fetch() { return new Response("x") } }`),
  });
  await worker.get("/x");
  const [startup] = await worker.messages((messages) => messages.length >= 2);
  expect(startup).toMatchObject({
    id: null,
    part: "startup",
    event: null,
    logs: [{ level: "info", message: ["loading"] }],
  });
  expect(startup?.logs[0]?.timestamp).toBeGreaterThan(1_700_000_000_000);
});
