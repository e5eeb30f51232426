import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { configText, embed, type CapnpValue } from "#core/capnp-text.ts";
import type { ConfigFile } from "#runtime/binding-pieces.ts";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import { drainPath, replacedText, trustHeader } from "#products/durable-objects/broker-protocol.ts";
import { frontNamespaceBinding, frontObjects, ownerObjects } from "#products/durable-objects/front-piece.ts";
import { send, startWorkerd, temporaryFolder, type TestWorkerd } from "../../../test/support/workerd.ts";

/**
 * Objects in a process of their own behave in a front as objects of its own would: each question is asked twice, of a
 * namespace that is native and of one behind the proxy, and the answers are compared.
 */
const namespaceId = "c0ffee00c0ffee00c0ffee00c0ffee00";

const program = `
import { DurableObject, RpcTarget } from "cloudflare:workers";
class Counter extends RpcTarget {
  #n = 0;
  add(n) { return (this.#n += n); }
  get value() { return this.#n; }
}
export class Room extends DurableObject {
  async increment(by = 1) {
    const n = ((await this.ctx.storage.get("n")) ?? 0) + by;
    await this.ctx.storage.put("n", n);
    return n;
  }
  async get() { return (await this.ctx.storage.get("n")) ?? 0; }
  about() { return [this.ctx.id.name, this.ctx.id.toString().length]; }
  sql() { return this.ctx.storage.sql.exec("SELECT 1 + 1 AS two").one(); }
  counter() { return new Counter(); }
  async callback(f) { return await f(20); }
  stream() { return new Response("streamed").body; }
  slow(ms) { return scheduler.wait(ms).then(() => "slept"); }
  fail() { throw new RangeError("broke"); }
  get mood() { return "fine"; }
  async fetch(request) {
    if (request.headers.get("upgrade")) {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server);
      return new Response(null, { status: 101, webSocket: client });
    }
    return new Response(request.method + new URL(request.url).pathname + (await request.text()));
  }
  webSocketMessage(socket, message) { socket.send("echo " + message); }
}
const attempt = async (f) => { try { return await f(); } catch (e) { return [e.name, e.message, e.remote, e.retryable] } };
export const questions = {
  increment: async (ns) => { const s = ns.getByName("a"); return [await s.increment(), await s.increment(5), await s.get()] },
  about: async (ns) => [await ns.getByName("a").about(), await ns.get(ns.newUniqueId()).about()],
  sql: (ns) => ns.getByName("a").sql(),
  pipelining: (ns) => ns.getByName("a").counter().add(3),
  target: async (ns) => { using c = await ns.getByName("a").counter(); await c.add(1); return [await c.add(2), await c.value] },
  callback: (ns) => ns.getByName("a").callback((n) => n + 22),
  stream: async (ns) => new Response(await ns.getByName("a").stream()).text(),
  getter: (ns) => ns.getByName("a").mood,
  missing: (ns) => attempt(() => ns.getByName("a").nothing()),
  fail: (ns) => attempt(() => ns.getByName("a").fail()),
  fetch: async (ns) => (await ns.getByName("a").fetch("http://x/path", { method: "POST", body: "body" })).text(),
  order: async (ns) => { const s = ns.getByName("order"); return Promise.all([1, 2, 3, 4].map(() => s.increment())) },
  socket: async (ns) => {
    const { webSocket } = await ns.getByName("a").fetch("http://x/", { headers: { upgrade: "websocket" } });
    webSocket.accept();
    const answer = new Promise((resolve) => webSocket.addEventListener("message", (e) => resolve(e.data)));
    webSocket.send("hello");
    return answer;
  },
  foreign: (ns) => attempt(async () => ns.idFromString("00".repeat(32))),
};
export default {
  async fetch(request, env) {
    const [, question, by] = new URL(request.url).pathname.split("/");
    if (question === "slow") return Response.json(await attempt(() => env.ROOM.getByName("a").slow(+by)));
    if (question === "add") return Response.json(await attempt(() => env.ROOM.getByName("durable").increment()));
    return Response.json(await questions[question](env.ROOM));
  },
};
`;

const folder = temporaryFolder();
const at = (name: string) => join(folder.path, name);
let owner: TestWorkerd;
let front: TestWorkerd;
let native: TestWorkerd;
let wake: WireServer;
let woken = 0;
/** What the supervisor would know of the process before. */
let replaced = false;
let gone = false;
let starting: Promise<void> | undefined;

const user = { modules: [{ name: "user.js", esModule: embed("user.js") }], compatibilityDate: "2026-11-01" };
const namespaces = [{ namespaceId, className: "Room", sqlite: true }];

async function start(
  name: string,
  services: CapnpValue[],
  more: { sockets?: CapnpValue[]; files?: readonly ConfigFile[]; flags?: string[] },
) {
  mkdirSync(at(name), { recursive: true });
  return startWorkerd({
    folder: at(name),
    text: configText({ services, sockets: more.sockets ?? [] }),
    files: [{ name: "user.js", text: program }, ...(more.files ?? [])],
    flags: ["--experimental", ...(more.flags ?? [])],
  });
}

async function startAnew(): Promise<void> {
  if (!gone) return;
  await owner.stop();
  owner = await startOwner();
  gone = false;
}

async function startOwner(): Promise<TestWorkerd> {
  for (const socket of ["debug.sock", "broker.sock"]) rmSync(at(socket), { force: true });
  mkdirSync(at("disk"), { recursive: true });
  const pieces = ownerObjects(namespaces, {
    service: "user",
    workflows: { worker: {}, services: [], brokerBindings: [], files: [] },
    folder: at("disk"),
    brokerSocket: at("broker.sock"),
  });
  return start("owner", [{ name: "user", worker: { ...user, ...pieces.worker } }, ...pieces.services], {
    ...pieces,
    flags: [`--debug-port=unix:${at("debug.sock")}`],
  });
}

beforeAll(async () => {
  // As the supervisor: whoever asks while one is being started waits for that one.
  wake = createWireServer(async () => {
    woken++;
    await (starting ??= startAnew().finally(() => (starting = undefined)));
    return { status: 200, headers: { [trustHeader]: "1000" }, body: replaced ? replacedText : "" };
  });
  await wake.listen(at("wake.sock"));
  owner = await startOwner();
  const objects = frontObjects(
    [{ namespaceId, sqlite: true, owner: "w" }],
    [{ owner: "w", socket: at("debug.sock"), wakeService: "wake" }],
  );
  const http = (name: string) => [{ name: "http", address: `unix:${at(name)}`, service: "user", http: {} }];
  front = await start(
    "front",
    [
      { name: "user", worker: { ...user, bindings: [frontNamespaceBinding("ROOM", namespaceId)] } },
      { name: "wake", external: { address: `unix:${at("wake.sock")}`, http: {} } },
      ...objects.services,
    ],
    { sockets: http("front.sock"), files: objects.files },
  );
  mkdirSync(at("native-disk"));
  native = await start(
    "native",
    [
      {
        name: "user",
        worker: {
          ...user,
          bindings: [{ name: "ROOM", durableObjectNamespace: "Room" }],
          durableObjectNamespaces: [{ className: "Room", uniqueKey: namespaceId, enableSql: true }],
          durableObjectStorage: { localDisk: "disk" },
        },
      },
      { name: "disk", disk: { path: at("native-disk"), writable: true } },
    ],
    { sockets: http("native.sock") },
  );
});

afterAll(async () => {
  await Promise.all([owner, front, native].map(async (process) => process.stop()));
  await wake.close();
  folder[Symbol.dispose]();
});

const questions = [...program.matchAll(/^ {2}(\w+): (?:async )?\(ns\)/gm)].map(([, name]) => name ?? "");

test.each(questions)("%s", async (question) => {
  const [ours, theirs] = await Promise.all(["front.sock", "native.sock"].map((name) => send(at(name), `/${question}`)));
  if (!ours || !theirs) throw new Error("no answer");
  expect(ours.status, front.output.stderr).toBe(200);
  expect(JSON.parse(ours.body)).toEqual(JSON.parse(theirs.body));
});

test("what is written survives the owner's end, and a call to one that is gone starts it", async () => {
  const ask = async () => (await send(at("front.sock"), "/add")).body;
  expect(await ask()).toBe("1");
  await owner.stop();
  gone = true;
  const answers = [await ask(), await ask(), await ask()];
  expect(woken).toBeGreaterThan(0);
  // The first may be lost with the process.
  expect(Number(answers.at(-1))).toBeGreaterThanOrEqual(3);
});

test("a replaced owner: what had begun gets Cloudflare's error, what had not waits for the next", async () => {
  const before = woken;
  replaced = true;
  const slow = send(at("front.sock"), "/slow/5000");
  await send(at("front.sock"), "/add");
  const drained = await send(at("broker.sock"), `${drainPath}?ms=20`);
  expect(JSON.parse(drained.body)).toMatchObject({ open: 1 });
  gone = true;
  const waits = send(at("front.sock"), "/add");
  expect(Number((await waits).body)).toBeGreaterThan(0);
  expect(woken).toBeGreaterThan(before);
  expect(JSON.parse((await slow).body)).toEqual([
    "Error",
    "Durable Object reset because its code was updated.",
    true,
    true,
  ]);
});
