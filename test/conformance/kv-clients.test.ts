import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { getRequestListener } from "@hono/node-server";
import Cloudflare from "cloudflare";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newHexId } from "#core/ids.ts";
import { createApi } from "#http/app.ts";
import { storeClient, storeHandler } from "#http/store-rpc.ts";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import { kvMethods, remoteKvStore } from "#products/kv/remote.ts";
import { kvRoutes } from "#products/kv/routes.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import type { KvStore } from "#products/kv/store.ts";
import { pattern } from "#products/kv/suite.contract.ts";
import { wranglerEnvironment, wranglerProgram } from "../support/wrangler-process.ts";

const account = newHexId();

let folder: string;
let store: KvStore & AsyncDisposable;
let stores: WireServer;
let api: Server;
let base: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-kv-"));
  store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv") });
  stores = createWireServer(storeHandler({ kv: kvMethods(store) }));
  await stores.listen(join(folder, "stores.sock"));
  const remote = remoteKvStore(storeClient(join(folder, "stores.sock")));
  const app = createApi().route("/client/v4/accounts/:account_id/storage/kv", kvRoutes(remote));
  const listener = getRequestListener(app.fetch);
  api = createServer((incoming, outgoing) => void listener(incoming, outgoing)).listen(0, "127.0.0.1");
  await once(api, "listening");
  const address = api.address();
  base = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}/client/v4`;
});
afterAll(async () => {
  api.closeAllConnections();
  api.close();
  await stores.close();
  await store[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

describe("wrangler", () => {
  const runWith = async (version: string, args: string[]) => {
    const child = spawn(process.execPath, [wranglerProgram(version), "kv", ...args], {
      cwd: folder,
      env: {
        ...wranglerEnvironment,
        HOME: folder,
        CLOUDFLARE_API_BASE_URL: base,
        CLOUDFLARE_API_TOKEN: "token",
        CLOUDFLARE_ACCOUNT_ID: account,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [out, err, [code]] = await Promise.all([buffer(child.stdout), buffer(child.stderr), once(child, "close")]);
    return { code, out, text: out.toString() + err.toString() };
  };
  const run = async (...args: string[]) => runWith("wrangler", args);
  const file = (name: string, content: string | Buffer) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const idOf = async (title: string) => {
    const query = { order: "title", direction: "asc", page: 1, perPage: 1000 } as const;
    return (await store.listNamespaces(account, query)).namespaces.find((item) => item.title === title)?.id ?? "";
  };

  test("makes, lists, renames and deletes namespaces", async () => {
    const title = "made by wrangler";
    const made = await run("namespace", "create", title);
    expect(made.text).toContain(await idOf(title));
    expect(await run("namespace", "create", title)).toMatchObject({
      code: 1,
      text: expect.stringContaining("already exists"),
    });
    expect(JSON.parse((await run("namespace", "list")).out.toString())).toContainEqual({
      id: await idOf(title),
      title,
      supports_url_encoding: true,
    });
    const id = await idOf(title);
    await run("namespace", "rename", "--namespace-id", id, "--new-name", "renamed by wrangler");
    expect(await idOf("renamed by wrangler")).toBe(id);
    expect((await run("namespace", "delete", "--namespace-id", id, "--skip-confirmation")).code).toBe(0);
    expect(await idOf("renamed by wrangler")).toBe("");
  });

  test("puts, gets, lists and deletes keys", async () => {
    const { id } = await store.createNamespace(account, "keys of wrangler");
    const where = ["--remote", "--namespace-id", id];
    expect((await run("key", "put", ...where, "a/b é%", "the value")).code).toBe(0);
    expect((await run("key", "get", ...where, "a/b é%", "--text")).text).toContain("the value");
    const bytes = pattern(3_000_000);
    const options = ["--path", file("value.bin", bytes), "--metadata", '{"m":"é"}', "--ttl", "600"];
    expect((await run("key", "put", ...where, "large", ...options)).code).toBe(0);
    expect(Buffer.compare((await run("key", "get", ...where, "large")).out, bytes)).toBe(0);
    expect(JSON.parse((await run("key", "list", ...where)).out.toString())).toEqual([
      { name: "a/b é%" },
      { name: "large", metadata: { m: "é" }, expiration: expect.any(Number) },
    ]);
    const expiration = Math.floor(Date.now() / 1000) + 3600;
    await run("key", "put", ...where, "prefixed", "v", "--expiration", String(expiration));
    expect(JSON.parse((await run("key", "list", ...where, "--prefix", "pre")).out.toString())).toEqual([
      { name: "prefixed", expiration },
    ]);
    expect((await run("key", "delete", ...where, "a/b é%")).code).toBe(0);
    const missing = await run("key", "get", ...where, "a/b é%", "--text");
    expect(missing.text).toMatch(/not found/i);
    const refused = await run("key", "put", ...where, "k", "v", "--ttl", "59");
    expect(refused).toMatchObject({ code: 1, text: expect.stringContaining("Expiration TTL must be at least 60") });
  });

  test.each(["wrangler", "wrangler-4-125"])("moves many keys at once (%s)", async (version) => {
    const { id } = await store.createNamespace(account, `bulk of ${version}`);
    const where = ["--remote", "--namespace-id", id];
    const pairs = Array.from({ length: 1500 }, (_, n) => ({ key: `k${String(n).padStart(4, "0")}`, value: `v${n}` }));
    expect((await runWith(version, ["bulk", "put", ...where, file("pairs.json", JSON.stringify(pairs))])).code).toBe(0);
    expect((await store.list({ boundNamespaceId: id }, { prefix: "k1" })).keys).toHaveLength(500);
    const got = await runWith(version, ["bulk", "get", ...where, file("wanted.json", '["k0001","nope"]')]);
    expect(got.text).toContain("v1");
    const names = file("names.json", JSON.stringify(pairs.map(({ key }) => key).slice(1)));
    expect((await runWith(version, ["bulk", "delete", ...where, names, "--force"])).code).toBe(0);
    expect((await store.list({ boundNamespaceId: id }, {})).keys).toEqual([{ name: "k0000" }]);
  });
});

test("Cloudflare's SDK finds everything it asks for", async () => {
  const client = new Cloudflare({ apiToken: "token", baseURL: base, maxRetries: 0 });
  const of = { account_id: account };
  const made = await client.kv.namespaces.create({ ...of, title: "of the SDK" });
  const titles: string[] = [];
  for await (const item of client.kv.namespaces.list({ ...of, per_page: 2 })) titles.push(item.title);
  expect(titles).toContain("of the SDK");

  const inIt = { ...of, namespace_id: made.id };
  await client.kv.namespaces.values.update("a/b é", {
    ...inIt,
    value: "one",
    metadata: '{"m":1}',
    expiration_ttl: 600,
  });
  expect(await (await client.kv.namespaces.values.get("a/b é", inIt)).text()).toBe("one");
  expect(await client.kv.namespaces.metadata.get("a/b é", inIt)).toEqual({ m: 1 });
  await client.kv.namespaces.bulkUpdate(made.id, {
    ...of,
    body: Array.from({ length: 30 }, (_, n) => ({ key: `k${n}`, value: `v${n}` })),
  });
  const names: string[] = [];
  for await (const key of client.kv.namespaces.keys.list(made.id, { ...of, limit: 10 })) names.push(key.name);
  expect(names).toHaveLength(31);
  expect(await client.kv.namespaces.bulkGet(made.id, { ...of, keys: ["k1", "none"] })).toEqual({
    values: { k1: "v1", none: null },
  });
  await client.kv.namespaces.bulkDelete(made.id, { ...of, body: names.slice(1) });
  await client.kv.namespaces.values.delete(names[0] ?? "", inIt);
  await expect(client.kv.namespaces.values.get("k1", inIt)).rejects.toThrow(/10009/);
  await client.kv.namespaces.delete(made.id, of);
  await expect(client.kv.namespaces.get(made.id, of)).rejects.toThrow(/10013/);
});
