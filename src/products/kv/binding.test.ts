import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { capabilityReader, signCapability } from "#core/capability.ts";
import { newHexId } from "#core/ids.ts";
import { createWireServer, type WireRequest, type WireServer } from "#http/wire/server.ts";
import { isKvRequest, kvBindingHandler } from "#products/kv/binding.ts";
import { EdgeCache } from "#products/kv/edge-cache.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import type { KvStore } from "#products/kv/store.ts";
import { kvCases, startKvWorker, type KvCases } from "../../../test/support/kv-worker.ts";

test("a Worker in workerd finds its binding as it is on Cloudflare", { timeout: 60_000 }, async () => {
  await using worker = await startKvWorker(kvCases);
  const { cases, problems } = JSON.parse(await worker.get("/")) as KvCases;
  expect(problems).toEqual([]);
  expect(cases).toBeGreaterThan(25);
});

test("a Worker whose namespace was deleted is told so, and does not find it empty", async () => {
  await using worker = await startKvWorker(kvCases);
  await worker.store.deleteNamespace("acme", worker.namespace.id);
  const { problems } = JSON.parse(
    await worker.get(`/?only=${encodeURIComponent("delete removes, and nothing is fine")}`),
  );
  expect(problems).toMatchObject([{ problem: "KV PUT failed: 400 namespace not found" }]);
});

describe("the handler", () => {
  const key = Buffer.alloc(32, 1);
  let folder: string;
  let path: string;
  let store: KvStore & AsyncDisposable;
  let server: WireServer;
  let namespaceId: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "solum-kv-"));
    path = join(folder, "s");
    store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv") });
    server = createWireServer(
      kvBindingHandler({ store, location: new EdgeCache(store).location("w1"), reader: capabilityReader(key, "w1") }),
    );
    await server.listen(path);
  });
  beforeEach(async () => {
    ({ id: namespaceId } = await store.createNamespace(newHexId(), "main"));
  });
  afterAll(async () => {
    await server.close();
    await store[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  const capability = (change: { kind?: string; scope?: string; resource?: string; key?: Buffer } = {}) => {
    const { key: signedWith = key, ...rest } = change;
    return signCapability(signedWith, { kind: "kv", scope: "w1", resource: namespaceId, ...rest });
  };
  const ask = async (line: string, headers: Record<string, string>, body = "") => {
    const socket = connect(path);
    const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`${line} HTTP/1.1\r\nconnection: close\r\n${fields.join("")}\r\n${body}`);
    return (await text(socket)).split("\r\n")[0];
  };

  test("answers only for a capability of its kind, its Worker and its key", async () => {
    await store.put({ boundNamespaceId: namespaceId }, "k", { body: Buffer.from("v") });
    const get = async (headers: Record<string, string>) => ask("GET /k?urlencoded=true", headers);
    expect(await get({ "x-bind": capability() })).toBe("HTTP/1.1 200 OK");
    const refused = [
      {},
      { "x-bind": "" },
      { "x-bind": namespaceId },
      { "x-bind": `kv:w1:${namespaceId}:` },
      { "x-bind": capability({ kind: "r2" }) },
      { "x-bind": capability({ scope: "w2" }) },
      { "x-bind": capability({ key: Buffer.alloc(32, 2) }) },
      { "x-bind": capability().replace(namespaceId, "0".repeat(32)) },
    ];
    for (const headers of refused) expect(await get(headers)).toBe("HTTP/1.1 403 Forbidden");
  });

  test("reads an edge namespace as its location has it cached", async () => {
    const { id } = await store.createNamespace("acme", newHexId());
    await store.setConsistency("acme", id, "edge");
    const bound = { "x-bind": capability({ resource: id }) };
    const get = async () => ask("GET /k?urlencoded=true", bound);
    expect(await get()).toBe("HTTP/1.1 404 Not Found");
    await store.put({ boundNamespaceId: id }, "k", { body: Buffer.from("by the API") });
    expect(await get()).toBe("HTTP/1.1 404 Not Found");
    expect(await ask("PUT /k?urlencoded=true", { ...bound, "content-length": "1" }, "v")).toBe("HTTP/1.1 200 OK");
    expect(await get()).toBe("HTTP/1.1 200 OK");
    expect(await ask("DELETE /k?urlencoded=true", bound)).toBe("HTTP/1.1 200 OK");
    expect(await get()).toBe("HTTP/1.1 404 Not Found");
  });

  test("takes the namespace from nothing else", async () => {
    const other = await store.createNamespace("rival", "main");
    await store.put({ boundNamespaceId: other.id }, "k", { body: Buffer.from("secret") });
    const headers = { "x-bind": capability(), host: other.id, "CF-KV-FLPROD-405": `https://fake-host/${other.id}/k` };
    for (const target of ["/k", `/${other.id}/k`, `/k?namespace=${other.id}`, `//${other.id}/k`])
      expect(await ask(`GET ${target}`, headers)).toBe("HTTP/1.1 404 Not Found");
  });

  test.each([
    ["PATCH /k", "", "405 Method Not Allowed"],
    ["POST /k", "", "405 Method Not Allowed"],
    ["GET /%E0%A4%A?urlencoded=true", "", "400 Could not URL-decode key name"],
    ["GET /%ED%A0%80?urlencoded=true", "", "400 Could not URL-decode key name"],
    ["GET /k?cache_ttl=x", "", "400 Invalid cache_ttl of x. Cache TTL must be at least 30."],
    ["GET /?key_count_limit=x", "", "400 Invalid key_count_limit of NaN. Please specify an integer greater than 0."],
    ["POST /bulk/get", "{", "400 Could not parse the request body as JSON"],
    ["POST /bulk/get", "[]", "400 Could not parse the request body as JSON"],
    ["POST /bulk/get", '{"keys":[1]}', "400 Could not parse the request body as JSON"],
    ["PUT /k", "v", "200 OK"],
  ])("%s %s → %s", async (line, body, answer) => {
    const headers = { "x-bind": capability(), "content-length": String(body.length) };
    expect(await ask(line, headers, body)).toBe(`HTTP/1.1 ${answer}`);
  });

  test("an upload that breaks off writes nothing", async () => {
    const socket = connect(path);
    socket.write(`PUT /k HTTP/1.1\r\nx-bind: ${capability()}\r\ncontent-length: 2000000\r\n\r\n`);
    socket.write(Buffer.alloc(1_500_000), () => socket.destroy());
    await new Promise((resolve) => socket.once("close", resolve));
    expect(await ask("PUT /later?urlencoded=true", { "x-bind": capability(), "content-length": "1" }, "v")).toMatch(
      /200/,
    );
    expect((await store.list({ boundNamespaceId: namespaceId }, {})).keys).toEqual([{ name: "later" }]);
  });

  test("tells by the kind of a capability whether a request is meant for it", () => {
    const request = (token?: string) =>
      ({ header: (name: string) => (name === "x-bind" ? token : undefined) }) as unknown as WireRequest;
    expect(isKvRequest(request(capability()))).toBe(true);
    expect(isKvRequest(request(capability({ kind: "r2" })))).toBe(false);
    expect(isKvRequest(request())).toBe(false);
  });
});
