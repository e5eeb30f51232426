import { join } from "node:path";
import { expect, test } from "vitest";
import { configText, embed } from "#core/capnp-text.ts";
import { entryLibrary, entryModule, mainModule } from "#runtime/entry-module.ts";
import { send, startWorkerd, temporaryFolder } from "../../test/support/workerd.ts";

/**
 * A Worker behaves behind the entry module as it does without: each program is run both ways, asked the same questions by
 * another Worker in the process, and the answers are compared. `exports` is what the upload finds out about the program.
 */
type Program = {
  source: string;
  exports: string[];
  /** Entrypoint bindings of the asking Worker: name → entrypoint. */
  entrypoints?: Record<string, string>;
  objects?: string[];
  flags?: string[];
  date?: string;
  /** Bodies of `async (env, log) => …`; what they return or throw is the answer. */
  questions: string[];
};

const fetchText = "return await (await env.USER.fetch('http://x/a?b', { method: 'POST', body: 'body' })).text()";
const describeError =
  "catch (e) { return [Object.prototype.toString.call(e), e.name, e.message, e instanceof TypeError, Object.keys(e).sort()] }";

const programs: Record<string, Program> = {
  "an object with handlers": {
    source: `
      const handlers = {
        secret: 7,
        helper() { return this.secret },
        async fetch(request, env, ctx) { return new Response([this === handlers, this.helper(), await request.text(), arguments.length, typeof ctx.waitUntil, Object.keys(env)].join()) },
        async scheduled(controller, env, ctx) { if (controller.cron === "bad") throw new Error("cron broke"); controller.noRetry() },
        async queue(batch) { batch.messages[0].ack(); batch.messages[1].retry() },
        add(number, env, ctx) { return number + 1 + Object.keys(env).length },
        wrong(a, b) { return a },
        property: 5,
      };
      export default handlers;`,
    exports: ["default"],
    questions: [
      fetchText,
      "return await env.USER.scheduled({ cron: '* * * * *' })",
      "return await env.USER.scheduled({ cron: 'bad' })",
      "return await env.USER.queue('q', [{ id: '1', timestamp: new Date(0), body: 1, attempts: 1 }, { id: '2', timestamp: new Date(0), body: 2, attempts: 1 }])",
      "return await env.USER.add(1)",
      `try { return await env.USER.wrong(1) } ${describeError}`,
      `try { return await env.USER.missing() } ${describeError}`,
      `try { return await env.USER.property } ${describeError}`,
    ],
  },
  "an object without some handlers": {
    source: `export default { async fetch() { return new Response("x") } }`,
    exports: ["default"],
    questions: [
      "return await env.USER.scheduled({ cron: '* * * * *' })",
      `try { return await env.USER.queue('q', []) } ${describeError}`,
    ],
  },
  "an instance of a class": {
    source: `
      class App { #hidden = 3; routes = 1; constructor() { this.arrow = () => this.#hidden } async fetch() { return new Response(this.#hidden + this.arrow() + String(this instanceof App)) } }
      export default new App();`,
    exports: ["default"],
    questions: [fetchText],
  },
  "an object whose fetch is an arrow function of the instance, as Hono has it": {
    source: `class App { fetch = async (request, env, ctx) => new Response("arrow " + (this instanceof App)) } export default new App();`,
    exports: ["default"],
    questions: [fetchText, `try { return await env.USER.scheduled({ cron: 'x' }) } ${describeError}`],
  },
  "a Proxy that answers to every name, as itty-router has it": {
    source: `export default new Proxy({}, { get: (target, key) => typeof key === "symbol" || key === "then" ? undefined : async () => new Response("proxied " + key) })`,
    exports: ["default"],
    questions: [fetchText, `try { return await env.USER.scheduled({ cron: 'x' }) } ${describeError}`],
  },
  "a frozen object, and a getter": {
    source: `export default Object.freeze({ get fetch() { return async function () { return new Response("got") } } })`,
    exports: ["default"],
    questions: [fetchText],
  },
  "what goes wrong in handlers": {
    source: `
      class Own extends TypeError { constructor(m) { super(m); this.name = "Own"; this.extra = 1 } }
      export default {
        async fetch(request) {
          const path = new URL(request.url).pathname;
          if (path === "/sync") throw new Own("sync");
          if (path === "/string") throw "text";
          if (path === "/undefined") throw undefined;
          if (path === "/value") return 5;
          if (path === "/nothing") return;
          if (path === "/error") return Response.error();
          return new Response("x");
        },
      };`,
    exports: ["default"],
    questions: ["sync", "string", "undefined", "value", "nothing", "error"].map(
      (path) =>
        `try { const r = await env.USER.fetch('http://x/${path}'); return [r.status, await r.text()] } ${describeError}`,
    ),
  },
  "a handler that is not async": {
    source: `export default { fetch(request) { if (request.url.endsWith("/throw")) throw new RangeError("now"); return new Response("now") } }`,
    exports: ["default"],
    questions: [fetchText, `try { return await (await env.USER.fetch('http://x/throw')).text() } ${describeError}`],
  },
  "entrypoint classes": {
    source: `
      import { WorkerEntrypoint, RpcTarget } from "cloudflare:workers";
      class Counter extends RpcTarget { #n = 0; up(by) { return this.#n += by } get now() { return this.#n } }
      class Base extends WorkerEntrypoint { static made = 0; #private = "p"; base() { return "base " + this.#private } over() { return "base" } async calls() { return [this.base(), this.over(), this.value, Base.made > 0] } }
      export class Api extends Base {
        constructor(ctx, env) { super(ctx, env); Base.made++; this.field = 1 }
        get value() { return 42 }
        over() { return "api " + super.over() }
        async add(a, b) { return a + b }
        counter() { return new Counter() }
        twice(f) { return f(2).then((x) => x * 2) }
        fn() { return (x) => x + 1 }
        *generator() { yield 1 }
        async stream() { return new Response("streamed").body }
        echo(value) { return value }
        who() { return [this.constructor === Api, this.constructor.name, this instanceof Api, this instanceof WorkerEntrypoint, Object.keys(this), new.target === undefined, Api.made > 0] }
        props() { return this.ctx.props }
        async loop() { return [Object.keys(this.ctx.exports).sort(), await this.ctx.exports.Api.add(1, 2)] }
        throws(kind) { if (kind === "sync") throw new RangeError("sync"); return Promise.reject(Object.assign(new TypeError("async"), { code: "E" })) }
        fetch(request) { return new Response("fetch of Api " + request.method) }
      }
      export default class extends WorkerEntrypoint { async fetch(request) { return new Response("default class " + (await request.text())) } async ping() { return "pong" } }
      export { Api as "other name" };`,
    exports: ["default", "Api", "other name"],
    entrypoints: { API: "Api", OTHER: "other name" },
    questions: [
      fetchText,
      "return await env.USER.ping()",
      "return await (await env.API.fetch('http://x/')).text()",
      "return await env.API.add(1, 2)",
      "return await env.API.value",
      "return await env.API.calls()",
      "return await env.API.base()",
      "return await env.API.over()",
      "const c = await env.API.counter(); await c.up(2); await c.up(3); return [await c.now, await c.up(1)]",
      "return await env.API.counter().up(4)",
      "return await env.API.twice((x) => x + 5)",
      "return await (await env.API.fn())(3)",
      "return await new Response(await env.API.stream()).text()",
      "return await env.API.echo({ a: [1, new Date(0)], m: new Map([[1, 2]]) })",
      "return await env.API.who()",
      "return await env.API.props()",
      "return await env.API.loop()",
      "return await env.OTHER.add(2, 3)",
      ...["field", "missing()", "constructor()", "generator()", "throws('sync')", "throws('async')"].map(
        (use) => `try { return await env.API.${use} } ${describeError}`,
      ),
    ],
  },
  "an entrypoint whose constructor returns something else, and one with handlers as fields": {
    source: `
      import { WorkerEntrypoint } from "cloudflare:workers";
      export class Any extends WorkerEntrypoint { constructor(ctx, env) { super(ctx, env); return new Proxy(this, { get: (target, key) => key in target ? Reflect.get(target, key) : typeof key === "symbol" ? undefined : (...args) => [key, ...args] }) } known() { return "known" } }
      export default class extends WorkerEntrypoint { fetch = async () => new Response("field " + typeof this.env) }`,
    exports: ["default", "Any"],
    entrypoints: { ANY: "Any" },
    questions: [
      fetchText,
      "return await env.ANY.known()",
      `try { return await env.ANY.anything(1, 2) } ${describeError}`,
    ],
  },
  "an entrypoint whose constructor throws": {
    source: `
      import { WorkerEntrypoint } from "cloudflare:workers";
      export default class extends WorkerEntrypoint { constructor(ctx, env) { super(ctx, env); throw new RangeError("not made") } fetch() { return new Response("x") } ping() {} }`,
    exports: ["default"],
    questions: [
      `try { return await (${fetchText.replace("return await ", "")}) } ${describeError}`,
      `try { return await env.USER.ping() } ${describeError}`,
    ],
  },
  objects: {
    source: `
      import { DurableObject } from "cloudflare:workers";
      export class Room extends DurableObject {
        #n = 0;
        constructor(ctx, env) { super(ctx, env); ctx.blockConcurrencyWhile(async () => { this.ready = (await ctx.storage.get("n")) ?? 0 }) }
        async up() { this.#n++; await this.ctx.storage.put("n", this.#n); return [this.#n, this.ready] }
        get size() { return this.#n }
        name() { return [this.ctx.id.name, this.constructor.name, this instanceof Room, Object.keys(this).sort()] }
        fetch(request) { return new Response("room " + request.url) }
        fails() { throw new RangeError("room") }
        async setAlarm() { await this.ctx.storage.setAlarm(Date.now()); while (!this.rang) await scheduler.wait(5); return this.rang }
        alarm(info) { this.rang = [typeof info, info.retryCount] }
        inner() { return this.up() }
      }
      export class Legacy { constructor(state, env) { this.state = state } async fetch() { return new Response("legacy " + (this.state.id.name ?? "") + (this instanceof Legacy)) } }
      export default { fetch() { return new Response("x") } };`,
    exports: ["default", "Room", "Legacy"],
    objects: ["Room", "Legacy"],
    questions: [
      "const r = env.Room.getByName('a'); return [await r.up(), await r.up(), await r.size, await r.name(), await r.inner()]",
      "return await (await env.Room.getByName('b').fetch('http://x/y')).text()",
      `try { return await env.Room.getByName('a').fails() } ${describeError}`,
      `try { return await env.Room.getByName('a').missing() } ${describeError}`,
      "return await env.Room.getByName('c').setAlarm()",
      "return await (await env.Legacy.getByName('d').fetch('http://x/')).text()",
    ],
  },
  "exports that are no entry points": {
    source: `
      import { WorkflowEntrypoint } from "cloudflare:workers";
      export const list = [1], map = new Map([[1, 2]]);
      export function plain(a) { return a } export const arrow = () => 1; export async function later() {} export function* generator() {}
      export class Flow extends WorkflowEntrypoint { async run(event, step) { return 1 } }
      export const api = { async fetch() { return new Response("named object") } };
      import * as self from "./index.js";
      export default { fetch() { return Response.json([self.list, self.map.get(1), self.plain(3), self.arrow(), self.default === undefined, typeof self.Flow, Object.keys(self).sort()]) } };`,
    exports: ["default", "list", "map", "plain", "arrow", "later", "generator", "Flow", "api"],
    entrypoints: { NAMED: "api" },
    questions: [fetchText, "return await (await env.NAMED.fetch('http://x/')).text()"],
  },
  "one ctx for all requests, as handlers of old had it": {
    source: `const seen = new Set(); export default { fetch(request, env, ctx) { seen.add(ctx); ctx.mine = (ctx.mine ?? 0) + 1; return new Response(seen.size + "," + ctx.mine) } }`,
    exports: ["default"],
    date: "2024-01-01",
    questions: [fetchText, fetchText, fetchText],
  },
  "streams, WebSockets and disconnects pass": {
    source: `
      export default { async fetch(request, env, ctx) {
        if (request.headers.get("upgrade")) { const [a, b] = Object.values(new WebSocketPair()); b.accept(); const listener = (e) => { b.send("echo " + e.data); b.removeEventListener("message", listener) }; b.addEventListener("message", listener); return new Response(null, { status: 101, webSocket: a }) }
        const { readable, writable } = new TransformStream(); ctx.waitUntil((async () => { const w = writable.getWriter(); for (let i = 0; i < 3; i++) await w.write(new TextEncoder().encode("p" + i)); await w.close() })());
        return new Response(readable, { headers: { "x-y": "z" } });
      } }`,
    exports: ["default"],
    questions: [
      fetchText,
      "const r = await env.USER.fetch('http://x/', { headers: { upgrade: 'websocket' } }); const ws = r.webSocket; ws.accept(); const first = new Promise((y) => ws.addEventListener('message', (e) => y(e.data))); ws.send('1'); ws.send('2'); return [await first, r.status]",
    ],
  },
};

const asking = `
  export default { async fetch(request, env) {
    const answers = [];
    for (const ask of questions) {
      try { answers.push(await ask(env) ?? "undefined") } catch (e) { answers.push(["thrown", String(e)]) }
    }
    return Response.json(answers);
  } };`;

test.each(Object.entries(programs))("%s", async (_name, program) => {
  const native = await answers(program, false);
  expect(native).toHaveLength(program.questions.length);
  expect(await answers(program, true)).toEqual(native);
});

test.each(["5", '"text"', "null", "undefined"])(
  "an export that workerd refuses is refused still: %s",
  async (value) => {
    const program = {
      source: `export const odd = ${value}; export default { fetch() {} }`,
      exports: ["default", "odd"],
      questions: [],
    };
    const refusal = async (wrapped: boolean) => answers(program, wrapped).catch((error: Error) => error.message);
    expect(await refusal(false)).toMatch(/^service user: Uncaught TypeError: /);
    expect(await refusal(true)).toEqual(await refusal(false));
  },
);

async function answers(program: Program, wrapped: boolean): Promise<unknown[]> {
  using folder = temporaryFolder();
  const { source, exports, entrypoints = {}, objects = [], flags = [], date = "2026-11-01" } = program;
  const main = { name: "index.js", type: "esm", hash: "", sizeBytes: 0 } as const;
  const asker = `const questions = [${program.questions.map((body) => `async (env) => { ${body} }`).join(",\n")}];${asking}`;
  const user = { name: "index.js", esModule: embed("user.js") };
  const text = configText({
    services: [
      {
        name: "user",
        worker: {
          modules: wrapped ? [{ name: mainModule, esModule: embed("main.js") }, user] : [user],
          compatibilityDate: date,
          compatibilityFlags: flags,
          durableObjectNamespaces: objects.map((className) => ({ className, uniqueKey: className })),
          ...(objects.length > 0 ? { durableObjectStorage: { inMemory: null } } : {}),
        },
      },
      {
        name: "asker",
        worker: {
          modules: [{ name: "asker.js", esModule: embed("asker.js") }],
          compatibilityDate: "2026-11-01",
          compatibilityFlags: ["service_binding_extra_handlers"],
          bindings: [
            { name: "USER", service: "user" },
            ...Object.entries(entrypoints).map(([name, entrypoint]) => ({
              name,
              service: { name: "user", entrypoint, props: { json: '{"from":"asker"}' } },
            })),
            ...objects.map((className) => ({
              name: className,
              durableObjectNamespace: { className, serviceName: "user" },
            })),
          ],
        },
      },
      { name: "internet", network: { allow: [] } },
    ],
    sockets: [{ name: "s", address: `unix:${join(folder.path, "s")}`, service: "asker", http: {} }],
    ...(wrapped ? { extensions: [{ modules: [{ name: entryLibrary, esModule: embed("entry.js") }] }] } : {}),
  });
  await using _workerd = await startWorkerd({
    folder: folder.path,
    text,
    files: [
      { name: "main.js", text: entryModule({ modules: [main], exports }) },
      { name: "user.js", text: source },
      { name: "asker.js", text: asker },
      { name: "entry.js", script: "entry" },
    ],
  });
  const { body } = await send(join(folder.path, "s"));
  return JSON.parse(body) as unknown[];
}
