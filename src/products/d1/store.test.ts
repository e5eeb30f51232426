import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { openDatabase } from "#db/database.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { namespaceKey } from "#products/d1/host-protocol.ts";
import { d1StoreContract } from "#products/d1/store.contract.ts";
import { d1Store } from "#products/d1/store.ts";
import { startD1Host, testFolders, testKey, type TestProcess } from "../../../test/support/d1-host.ts";

const folders = testFolders();
const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "control" });
const processes: TestProcess[] = [];
const opened: AsyncDisposable[] = [];

beforeAll(async () => {
  for (const host of [0, 1]) processes.push(await startD1Host(folders, host));
});
afterEach(async () => {
  vi.useRealTimers();
  for (const db of opened.splice(0)) await db[Symbol.asyncDispose]();
});
afterAll(async () => {
  hosts.close();
  for (const process of processes) await process.kill();
  folders.remove();
});

let count = 0;
async function open() {
  const db = await openDatabase(join(folders.root, `control-${count++}.db`), ["d1"]);
  opened.push(db);
  return { db, store: d1Store(db, hosts, 2) };
}

d1StoreContract(async () => (await open()).store);

/** Files of databases on host 0, without those that SQLite makes and removes by itself. */
function files(): string[] {
  const folder = join(folders.data.d1Host(0), namespaceKey);
  return readdirSync(folder).filter((name) => name.endsWith(".sqlite") && name !== "metadata.sqlite");
}

test("a deletion removes the files", async () => {
  const { store } = await open();
  const before = files();
  const database = await store.create("a", { name: "shop" });
  expect(database.host).toBe(0);
  await store.queryObjects("a", "shop", [{ sql: "CREATE TABLE t (a)" }]);
  const file = files().find((name) => !before.includes(name));
  await store.delete("a", "shop");
  expect(file).toBeDefined();
  for (const suffix of ["", "-wal", "-shm"])
    expect(existsSync(join(folders.data.d1Host(0), namespaceKey, `${file}${suffix}`))).toBe(false);
  await expect(hosts.queryObjects(database, [{ sql: "SELECT 1" }])).rejects.toMatchObject({ code: 7404 });
  expect(files()).toEqual(before);
});

test("a database whose file is gone is reported, and not made anew", async () => {
  const { store } = await open();
  const before = files();
  const place = { host: 0, id: "00000000-0000-4000-8000-000000000000" };
  await expect(hosts.sizes(place)).rejects.toMatchObject({ status: 404, code: 7404 });
  await expect(hosts.queryObjects(place, [{ sql: "SELECT 1" }])).rejects.toMatchObject({ code: 7404 });
  expect(files()).toEqual(before);
  await expect(store.get("a", "shop")).rejects.toMatchObject({ code: 7404 });
});

test("files that a deletion could not remove go with a later sweep", async () => {
  const { db, store } = await open();
  const database = await store.create("a", { name: "shop" });
  const down = d1Store(db, { ...hosts, remove: async () => Promise.reject(new Error("the host is down")) }, 2);
  const before = files().length;
  await down.delete("a", "shop");
  expect(files().length).toBe(before);
  await expect(store.get("a", database.id)).rejects.toMatchObject({ code: 7404 });

  await store.sweep();
  expect(files().length).toBe(before); // It could be one that is being made.
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 120_000 });
  await store.sweep();
  expect(files().length).toBe(before - 1);
  expect(db.prepare("SELECT id FROM d1_removals").all()).toHaveLength(1);
  vi.setSystemTime(Date.now() + 3_600_000);
  await store.sweep();
  expect(db.prepare("SELECT id FROM d1_removals").all()).toHaveLength(0);
});

test("a database that was made is left alone by every sweep", async () => {
  const { store } = await open();
  await store.create("a", { name: "shop" });
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3_600_000 });
  await store.sweep();
  expect(await store.queryObjects("a", "shop", [{ sql: "SELECT 1 AS one" }])).toMatchObject([
    { results: [{ one: 1 }] },
  ]);
});

test("while a host is down its databases answer 503 and nothing is lost", async () => {
  const { store } = await open();
  await store.create("a", { name: "shop" });
  await store.queryObjects("a", "shop", [{ sql: "CREATE TABLE t (a); INSERT INTO t VALUES (1)" }]);
  await processes[0]?.kill();
  const soon = store.queryObjects("a", "shop", [{ sql: "SELECT a FROM t" }]);
  processes[0] = await startD1Host(folders, 0);
  expect(await soon).toMatchObject([{ results: [{ a: 1 }] }]);
  await processes[0].kill();
  rmSync(folders.runtime.d1Host(0), { force: true });
  await expect(store.queryObjects("a", "shop", [{ sql: "SELECT 1" }])).rejects.toMatchObject({
    status: 503,
    code: 7500,
  });
  processes[0] = await startD1Host(folders, 0);
});
