import { findChildren } from "#runtime/proc.ts";
import type { Solum } from "./start-solum.ts";

/** A Worker with Durable Objects that checks from the inside what it sees, one answer for each path. */
const objectsWorker = `
import { DurableObject, RpcTarget } from "cloudflare:workers";

class Counter extends RpcTarget {
  #n = 0;
  add(n) { return (this.#n += n); }
}

export class Room extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => {
      this.loaded = (await ctx.storage.get("n")) ?? 0;
    });
  }
  async increment(by = 1) {
    const n = ((await this.ctx.storage.get("n")) ?? 0) + by;
    await this.ctx.storage.put("n", n);
    return n;
  }
  async read() { return (await this.ctx.storage.get("n")) ?? 0; }
  release() { return RELEASE; }
  about() { return { name: this.ctx.id.name, id: this.ctx.id.toString() }; }
  wasLoaded() { return this.loaded; }
  counter() { return new Counter(); }
  async callback(f) { return f(20); }
  fail() { throw new RangeError("broke"); }
  sql() {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT)");
    sql.exec("INSERT INTO t (v) VALUES (?)", "one");
    const { count } = sql.exec("SELECT count(*) AS count FROM t").one();
    this.ctx.storage.kv.put("k", [count]);
    return [count, this.ctx.storage.kv.get("k")];
  }
  async forget() { await this.ctx.storage.deleteAll(); return (await this.ctx.storage.list()).size; }
  async remind(ms) { await this.ctx.storage.setAlarm(Date.now() + ms); }
  async alarm() { await this.ctx.storage.put("rung", ((await this.ctx.storage.get("rung")) ?? 0) + 1); }
  async rung() { return (await this.ctx.storage.get("rung")) ?? 0; }
  async callOther(name) { return this.env.ROOM.getByName(name).increment(); }
  async viaExports(name) { return this.ctx.exports.Room.getByName(name).read(); }
  slow(ms) { return scheduler.wait(ms).then(() => "slept"); }
  async fetch(request) {
    if (request.headers.get("upgrade")) {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server, ["tag"]);
      server.serializeAttachment({ joined: true });
      return new Response(null, { status: 101, webSocket: client });
    }
    return new Response(request.method + " " + new URL(request.url).pathname + " " + (await request.text()));
  }
  webSocketMessage(socket, message) {
    socket.send(JSON.stringify([message, socket.deserializeAttachment(), this.ctx.getWebSockets("tag").length]));
  }
}

const thrown = async (f) => {
  try { return ["did not throw", await f()]; } catch (e) { return [e.name, e.message, e.remote ?? false, e.retryable ?? false]; }
};

const checks = {
  rpc: async ({ ROOM }) => [await ROOM.getByName("rpc").increment(), await ROOM.getByName("rpc").increment(5)],
  order: async ({ ROOM }) => { const s = ROOM.getByName("order"); return Promise.all([1, 2, 3, 4].map(() => s.increment())); },
  name: async ({ ROOM }) => {
    const id = ROOM.idFromName("named");
    const { name, id: own } = await ROOM.get(id).about();
    return [name, own === id.toString(), ROOM.idFromString(own).equals(id)];
  },
  unique: async ({ ROOM }) => {
    const id = ROOM.newUniqueId();
    const about = await ROOM.get(id).about();
    return [about.name ?? null, about.id === id.toString()];
  },
  pipelining: ({ ROOM }) => ROOM.getByName("a").counter().add(3),
  callback: ({ ROOM }) => ROOM.getByName("a").callback((n) => n + 22),
  fail: ({ ROOM }) => thrown(() => ROOM.getByName("a").fail()),
  sql: ({ ROOM }) => ROOM.getByName("sql").sql(),
  block: async ({ ROOM }) => ROOM.getByName("fresh").wasLoaded(),
  forget: async ({ ROOM }) => { const s = ROOM.getByName("forget"); await s.increment(); return [await s.forget(), await s.read()]; },
  fetch: async ({ ROOM }) => (await ROOM.getByName("a").fetch("http://x/path", { method: "POST", body: "body" })).text(),
  other: ({ ROOM }) => ROOM.getByName("a").callOther("other"),
  exports: ({ ROOM }) => ROOM.getByName("a").viaExports("nobody"),
  frontExports: async (env, ctx) => [await ctx.exports.Room.getByName("rpc").read(), Object.keys(env)],
  badId: ({ ROOM }) => thrown(async () => ROOM.idFromString("zz")),
  foreignId: ({ ROOM }) => thrown(async () => ROOM.idFromString("00".repeat(32))),
};

export default {
  async fetch(request, env, ctx) {
    const [, what, name = "a", value = "0"] = new URL(request.url).pathname.split("/");
    if (what === "side") return new Response(String(await env.SIDE.getByName("side").increment()));
    if (what === "socket") return env.ROOM.getByName("socket").fetch(request);
    if (what === "call") {
      const [method, ...args] = value.split(",");
      const result = await thrown(() => env.ROOM.getByName(name)[method](...args.map(Number)));
      return Response.json(result[0] === "did not throw" ? { result: result[1] ?? null } : { error: result });
    }
    if (what === "checks") {
      const answers = {};
      for (const [check, run] of Object.entries(checks)) answers[check] = await thrown(() => run(env, ctx)).then(([, ...a]) => a.length === 1 ? a[0] : ["threw", ...a]);
      return Response.json(answers);
    }
    return new Response(RELEASE);
  },
};
`;

/** The same, calling itself `release`. */
export function objectsRelease(release: string): string {
  return `const RELEASE = ${JSON.stringify(release)};${objectsWorker}`;
}

/** What an upload of it says besides. */
export const objectsMetadata = {
  bindings: [{ name: "ROOM", type: "durable_object_namespace", class_name: "Room" }],
  migrations: { new_tag: "v1", steps: [{ new_sqlite_classes: ["Room"] }] },
};

export type ObjectAnswer = { result?: number; error?: unknown[] };

/** Calls a method of the object `name` through the Worker: `{result}`, or `{error}` as the Worker caught it. */
export async function callObject(
  solum: Solum,
  { name, method, args = [], worker = "objects" }: { name: string; method: string; args?: number[]; worker?: string },
): Promise<ObjectAnswer> {
  const { status, text } = await solum.request(`${worker}.localhost`, `/call/${name}/${[method, ...args].join(",")}`);
  return status === 200 ? (JSON.parse(text) as ObjectAnswer) : { error: [status, text] };
}

/** The processes that have objects; `runtime` is the instance's. */
export function ownerProcesses(runtime: string): ReturnType<typeof findChildren> {
  return findChildren(runtime).filter(({ mark }) => mark.name.startsWith("owner/"));
}
