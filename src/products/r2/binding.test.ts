import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { bindHeader } from "#core/binding-piece.ts";
import { capabilityReader, signCapability } from "#core/capability.ts";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import { isR2Request, r2BindingHandler, r2Piece } from "#products/r2/binding.ts";
import { openR2Store, type SqliteR2Store } from "#products/r2/sqlite-store.ts";
import { root, startWorker } from "../../../test/support/r2-worker.ts";

const fixtures = ["worker", "objects", "conditions", "lists", "uploads", "support"].map((name) =>
  join(root, "test/fixtures/r2-binding", `${name}.js`),
);
const [main = ""] = fixtures;
const { tests } = (await import(main)) as { tests: Record<string, unknown> };
const names = Object.keys(tests);

const capabilityKey = Buffer.alloc(32, 7);
const workerId = "worker-1";

let folder: string;
let store: SqliteR2Store;
let server: WireServer;
let bucketId: string;
let socket: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-r2b-"));
  socket = join(folder, "s.sock");
  store = await openR2Store({ db: join(folder, "r2.db"), blobs: join(folder, "r2"), sealKey: Buffer.alloc(32, 1) });
  bucketId = (await store.createBucket({ accountId: "a1", name: "bound", jurisdiction: "default" })).id;
  server = createWireServer(r2BindingHandler({ store, reader: capabilityReader(capabilityKey, workerId) }));
  await server.listen(socket);
});
afterAll(async () => {
  await server.close();
  await store.close();
  rmSync(folder, { recursive: true });
});

describe("a Worker with the binding", () => {
  let worker: Awaited<ReturnType<typeof startWorker>>;
  beforeAll(async () => {
    worker = await startWorker(folder, fixtures, r2Piece({ name: "R2", bucketId, workerId, socket, capabilityKey }));
  });
  afterAll(() => worker.close());

  test.each(names.filter((name) => !name.startsWith("100 MB")))("%s", async (name) => {
    expect(await worker.get(`/${encodeURIComponent(name)}`)).toEqual({ status: 200, text: "ok" });
  });

  test("100 MB go in and out as streams, in bounded memory", async () => {
    // The thread that makes checksums stays once it was needed, so it belongs to what idle means.
    await store.put(bucketId, "first", Buffer.alloc(100_000));
    await store.delete(bucketId, ["first"]);
    const before = process.memoryUsage().rss;
    let most = before;
    const sampler = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 5);
    expect(await worker.get(`/${encodeURIComponent("100 MB go in and out as streams")}`)).toEqual({
      status: 200,
      text: "ok",
    });
    clearInterval(sampler);
    // scale-reliability-security §2.3, F25.
    expect((most - before) / 1024 ** 2).toBeLessThan(64);
  }, 60_000);

  test("no file is left of what failed or was deleted", async () => {
    const { objects } = await store.list(bucketId);
    await store.delete(
      bucketId,
      objects.map(({ key }) => key),
    );
    await vi.waitFor(() => expect(readdirSync(join(folder, "r2"))).toEqual([]));
  });
});

describe("the handler", () => {
  const send = async (headers: Record<string, string>, body?: Buffer) =>
    new Promise<{ status: number | undefined; error: string; text: string }>((resolve, reject) => {
      const outgoing = request(
        { socketPath: socket, method: body ? "PUT" : "GET", headers: { ...headers, host: "x" } },
        (response) => {
          const error = String(response.headers["cf-r2-error"] ?? "");
          text(response).then((content) => resolve({ status: response.statusCode, error, text: content }), reject);
        },
      );
      outgoing.on("error", reject);
      outgoing.end(body);
    });
  const token = (changes: object = {}) =>
    signCapability(capabilityKey, { kind: "r2", scope: workerId, resource: bucketId, ...changes });
  const head = JSON.stringify({ version: 1, method: "head", object: "k" });

  test("takes the bucket from the capability alone", async () => {
    const denied = [
      {},
      { [bindHeader]: "r2:worker-1:x:y" },
      { [bindHeader]: token({ scope: "worker-2" }) },
      { [bindHeader]: token({ kind: "kv" }) },
      { [bindHeader]: `${token()}x` },
    ];
    for (const headers of denied) {
      const answer = await send({ ...headers, "cf-r2-request": head });
      expect([answer.status, JSON.parse(answer.error)]).toEqual([403, expect.objectContaining({ v4code: 10003 })]);
    }
    const answer = await send({ [bindHeader]: token(), "cf-r2-request": head });
    expect([answer.status, JSON.parse(answer.error)]).toEqual([404, expect.objectContaining({ v4code: 10007 })]);
    const other = await send({ [bindHeader]: token({ resource: "gone" }), "cf-r2-request": head });
    expect([other.status, JSON.parse(other.error)]).toEqual([404, expect.objectContaining({ v4code: 10006 })]);
  });

  test("lets a file go when its reader leaves, at whatever moment", async () => {
    await store.put(bucketId, "left", Buffer.alloc(5_000_000));
    const open = () =>
      readdirSync("/proc/self/fd").filter((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`).startsWith(join(folder, "r2/"));
        } catch {
          return false; // Closed since the folder was read.
        }
      });
    const get = JSON.stringify({ version: 1, method: "get", object: "left" });
    const leave = async (afterBytes: number) => {
      const connection = connect(socket);
      connection.write(`GET / HTTP/1.1\r\n${bindHeader}: ${token()}\r\ncf-r2-request: ${get}\r\n\r\n`);
      let seen = 0;
      if (afterBytes > 0)
        for await (const piece of connection) if ((seen += (piece as Buffer).length) >= afterBytes) break;
      connection.destroy();
    };
    await Promise.all([0, 0, 0, 1, 100_000, 1_000_000, 4_900_000, 5_000_000].map(leave));
    await vi.waitFor(() => expect(open()).toEqual([]));
    await store.delete(bucketId, ["left"]);
    await vi.waitFor(() => expect(readdirSync(join(folder, "r2"))).toEqual([]));
  });

  test("answers what it does not understand without breaking off", async () => {
    const bound = { [bindHeader]: token() };
    const put = (json: string, size?: number) => {
      const bytes = Buffer.from(json);
      return send({ ...bound, "cf-r2-metadata-size": String(size ?? bytes.length) }, bytes);
    };
    const answers = await Promise.all([
      send(bound),
      send({ ...bound, "cf-r2-request": "{" }),
      send({ ...bound, "cf-r2-request": JSON.stringify({ method: "put", object: "k" }) }),
      send({ ...bound, "cf-r2-request": JSON.stringify({ method: "get", object: 5 }) }),
      put("{"),
      put("{}", 500),
      put("{}", -1),
      put(JSON.stringify({ method: "createBucket", bucket: "x" })),
      put(JSON.stringify({ method: "head", object: "k" })),
      send(bound, Buffer.alloc(500_000)),
    ]);
    for (const { status, error } of answers) {
      expect([status, JSON.parse(error)]).toEqual([400, expect.objectContaining({ v4code: 10029 })]);
    }
  });

  test("tells its requests from those of other products", () => {
    const from = (value: string | undefined) =>
      ({ header: () => value }) as unknown as Parameters<typeof isR2Request>[0];
    expect([token(), token({ kind: "kv" }), undefined].map((value) => isR2Request(from(value)))).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe("the same Worker on miniflare", () => {
  /** Where miniflare differs; in each case what Solum does has its source beside the code. */
  const differs: Record<string, string> = {
    "a key that is not Unicode is refused": "it takes the key",
    "a range without members is what R2 answers to it": "it brings the whole object",
    "storage classes are taken and shown": "it has none",
    "a customer's key encrypts, and only it reads": "it stores without encrypting",
    "delete takes from 1 to 1000 keys": "it takes any number",
    "list without include leaves metadata undefined": "it brings empty metadata",
    "a list of a thousand of the longest keys arrives": "its reply is larger than workerd takes",
    "parts of unequal sizes are refused with R2's present words": "it has the words of 2022",
    "completing or aborting an unknown upload says so": "it answers an internal error, as R2 did in 2022",
  };
  let miniflare: Miniflare;
  beforeAll(() => {
    miniflare = new Miniflare(
      convertV4MiniflareOptions({
        modules: fixtures.map((path) => ({ type: "ESModule", path })),
        modulesRoot: dirname(main),
        compatibilityDate: "2026-08-01",
        compatibilityFlags: ["nodejs_compat"],
        r2Buckets: ["R2"],
      }),
    );
  });
  afterAll(() => miniflare.dispose());

  test.each(names.filter((name) => !name.startsWith("100 MB")))("%s", async (name) => {
    const response = await miniflare.dispatchFetch(`http://x/${encodeURIComponent(name)}`);
    const content = await response.text();
    expect([name, response.status, content.split("\n")[0]]).toEqual([
      name,
      name in differs ? 500 : 200,
      name in differs ? expect.any(String) : "ok",
    ]);
  });
});
