import { existsSync, readdirSync } from "node:fs";
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { signCapability } from "#core/capability.ts";
import { pollUntil } from "#core/deadline.ts";
import { newUuid } from "#core/ids.ts";
import { moveFiles, objectIdOf, writeMoved } from "#products/d1/database-files.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { openObjects } from "#products/d1/host-process.ts";
import { namespaceKey } from "#products/d1/host-protocol.ts";
import { limits } from "#products/d1/limits.ts";
import { startD1Host, testFolders, testKey, type TestProcess } from "../../../test/support/d1-host.ts";

const folders = testFolders();
const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "control" });
let host: TestProcess;
const database = newUuid();
const place = { host: 0, id: database };

beforeAll(async () => {
  host = await startD1Host(folders);
  await hosts.create(place);
  await hosts.queryObjects(place, [
    { sql: "CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE); INSERT INTO t VALUES (1, 1)" },
  ]);
});
afterAll(async () => {
  hosts.close();
  await host.kill();
  folders.remove();
});

const use = (resource: string) => signCapability(testKey, { kind: "d1", scope: "w1", resource });

/** One request to the host's socket, as a binding or anyone with access to it could send. */
async function send(method: string, path: string, headers: Record<string, string> = {}, body = "") {
  const length = { "content-length": String(Buffer.byteLength(body)) };
  const socketPath = folders.runtime.d1Host(0);
  const outgoing = request({ socketPath, method, path, headers: { ...length, ...headers }, agent: false });
  const answered = once(outgoing, "response");
  outgoing.end(body);
  const [response] = (await answered) as [IncomingMessage];
  const text = Buffer.concat((await response.toArray()) as Buffer[]).toString();
  return { status: response.statusCode, text, headers: response.headers };
}

const select = JSON.stringify({ sql: "SELECT a FROM t" });

test("health needs no capability", async () => {
  expect(await send("GET", "/health")).toMatchObject({ status: 204, text: "" });
});

test.each([
  ["no capability", undefined],
  ["nonsense", "x"],
  ["a forged one", use(database).replace(/.$/, (last) => (last === "A" ? "B" : "A"))],
  ["one made with another key", signCapability(Buffer.alloc(32), { kind: "d1", scope: "w1", resource: database })],
  ["one of another kind", signCapability(testKey, { kind: "kv", scope: "w1", resource: database })],
  ["one for another database whose name was changed", use(newUuid()).replace(/:[^:]+:([^:]+)$/, `:${database}:$1`)],
])("%s is refused with 403", async (_, token) => {
  const headers: Record<string, string> = token === undefined ? {} : { "x-bind": token };
  for (const path of ["/query", "/execute", "/statements", "/import"])
    expect(await send("POST", path, headers, select)).toMatchObject({ status: 403 });
  for (const method of ["GET", "PUT", "DELETE"])
    expect(await send(method, "/database", headers)).toMatchObject({ status: 403 });
});

test("a binding's capability opens its database and administers nothing", async () => {
  const headers = { "x-bind": use(database) };
  expect(await send("POST", "/query?resultsFormat=ROWS_AND_COLUMNS", headers, select)).toMatchObject({ status: 200 });
  for (const [method, path] of [
    ["GET", "/database"],
    ["PUT", "/database"],
    ["DELETE", "/database"],
    ["POST", "/import"],
    ["POST", "/statements"],
    ["POST", "/dump"],
    ["GET", "/query"],
    ["POST", "/nowhere"],
  ] as const)
    expect(await send(method, path, headers, "DROP TABLE t"), `${method} ${path}`).toMatchObject({ status: 404 });
  expect(await hosts.sizes(place)).toMatchObject({ tables: 1 });
});

test("a capability for a database that does not exist makes none", async () => {
  const folder = join(folders.data.d1Host(0), namespaceKey);
  const before = readdirSync(folder).filter((name) => name.endsWith(".sqlite"));
  expect(await send("POST", "/query", { "x-bind": use(newUuid()) }, select)).toMatchObject({ status: 404 });
  expect(readdirSync(folder).filter((name) => name.endsWith(".sqlite"))).toEqual(before);
});

test.each(["", "{", "null", "[1]", '{"sql":1}', '{"sql":["SELECT 1"]}'])("the body %j is refused", async (body) => {
  expect(await send("POST", "/query", { "x-bind": use(database) }, body)).toMatchObject({ status: 400 });
});

test("a bookmark is given to those who send one", async () => {
  const headers = { "x-bind": use(database) };
  const name = "x-cf-d1-session-commit-token";
  expect((await send("POST", "/query", headers, select)).headers[name]).toBeUndefined();
  const session = await send("POST", "/query", { ...headers, [name]: "first-primary" }, select);
  expect(session.headers[name]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{32}$/);
});

test("a conflict that rolls everything back says what it was, and leaves nothing half done", async () => {
  const conflict = hosts.queryObjects(place, [{ sql: "INSERT OR ROLLBACK INTO t VALUES (2, 1)" }]);
  await expect(conflict).rejects.toMatchObject({
    status: 400,
    message: "UNIQUE constraint failed: t.b: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
  });
  const batch = hosts.queryObjects(place, [
    { sql: "INSERT INTO t VALUES (3, 3)" },
    { sql: "INSERT OR ROLLBACK INTO t VALUES (4, 1)" },
  ]);
  await expect(batch).rejects.toMatchObject({ code: 7500 });
  expect(await hosts.queryColumns(place, [{ sql: "SELECT a FROM t" }])).toMatchObject([{ results: { rows: [[1]] } }]);
});

test("a result that would fill the memory of the process is refused, and the process goes on", async () => {
  const sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT hex(zeroblob(500000)) FROM n";
  await expect(hosts.queryObjects(place, [{ sql }])).rejects.toMatchObject({
    message: "D1 DB's isolate exceeded its memory limit and was reset.",
  });
  expect(await hosts.sizes(place)).toMatchObject({ tables: 1 });
});

test("an import whose sender goes away changes nothing", async () => {
  const capability = signCapability(testKey, { kind: "d1-admin", scope: "control", resource: database });
  const outgoing = request({
    socketPath: folders.runtime.d1Host(0),
    method: "POST",
    path: "/import",
    headers: { "x-bind": capability, "content-length": "1000000" },
    agent: false,
  });
  outgoing.on("error", () => {});
  outgoing.write("INSERT INTO t (b) VALUES (random());\n".repeat(10_000));
  const waiting = hosts.queryColumns(place, [{ sql: "SELECT count(*) FROM t" }]);
  await pollUntil({ ms: 5000, everyMs: 10, what: "sending" }, () => outgoing.writableLength === 0 || undefined);
  outgoing.destroy();
  expect(await waiting).toMatchObject([{ results: { rows: [[1]] } }]);
  expect(await hosts.queryColumns(place, [{ sql: "SELECT count(*) FROM t" }])).toMatchObject([
    { results: { rows: [[1]] } },
  ]);
});

test("deleting while others ask: they are told, and no file comes back", async () => {
  const doomed = { host: 0, id: newUuid() };
  await hosts.create(doomed);
  await hosts.queryObjects(doomed, [{ sql: "CREATE TABLE t (a)" }]);
  const folder = join(folders.data.d1Host(0), namespaceKey);
  const before = readdirSync(folder).length;
  const asking = Array.from({ length: 50 }, (_, n) =>
    hosts.queryObjects(doomed, [{ sql: `INSERT INTO t VALUES (${n})` }]),
  );
  const removed = hosts.remove(doomed);
  asking.push(...Array.from({ length: 50 }, () => hosts.queryObjects(doomed, [{ sql: "INSERT INTO t VALUES (1)" }])));
  const settled = await Promise.allSettled(asking);
  await removed;
  for (const result of settled)
    if (result.status === "rejected") expect(result.reason).toMatchObject({ code: expect.toBeOneOf([7404, 7500]) });
  await expect(hosts.sizes(doomed)).rejects.toMatchObject({ code: 7404 });
  expect(readdirSync(folder).length).toBe(before - 3);
  await hosts.remove(doomed);
  expect(existsSync(folder)).toBe(true);
});

test("a database may be held to a size: what would pass it is refused and undone", async () => {
  const limited = { host: 1, id: newUuid() };
  const other = await startD1Host(folders, 1, 200_000);
  try {
    await hosts.create(limited);
    await hosts.queryObjects(limited, [{ sql: "CREATE TABLE t (x)" }]);
    const fill = { sql: "INSERT INTO t VALUES (zeroblob(50000))" };
    await hosts.queryObjects(limited, [fill, fill]);
    await expect(hosts.queryObjects(limited, [fill, fill, fill])).rejects.toThrow("Exceeded maximum DB size.");
    const [count] = await hosts.queryColumns(limited, [{ sql: "SELECT count(*) FROM t" }]);
    expect(count?.results.rows).toEqual([[2]]);
    await hosts.queryObjects(limited, [{ sql: "DELETE FROM t" }]);
  } finally {
    await other.kill();
  }
});

test("a database that left is asked for where it went, and opens there with all it had", async () => {
  const moving = { host: 0, id: newUuid() };
  const other = await startD1Host(folders, 2);
  const { data } = folders;
  try {
    await hosts.create(moving);
    await hosts.queryObjects(moving, [{ sql: "CREATE TABLE t (x); INSERT INTO t VALUES (1)" }]);
    expect(openObjects(host.pid)).toContain(objectIdOf(moving.id));
    await writeMoved(data.d1Host(0), moving.id, { host: 2, atMs: Date.now(), stalled: false });
    await hosts.leave(moving, 2);
    const reading = hosts.queryColumns(moving, [{ sql: "SELECT x FROM t" }]);
    await pollUntil({ ms: 5000, everyMs: 2, what: "closing" }, () =>
      openObjects(host.pid).includes(objectIdOf(moving.id)) ? undefined : true,
    );
    await moveFiles(data.d1Host(0), data.d1Host(2), moving.id);
    expect((await reading)[0]?.results.rows).toEqual([[1]]);
    // A host that starts anew finds the word that was left.
    await host.kill();
    host = await startD1Host(folders);
    expect((await hosts.queryColumns(moving, [{ sql: "SELECT x FROM t" }]))[0]?.results.rows).toEqual([[1]]);
  } finally {
    await other.kill();
  }
});

test(
  "few of many databases are open at once, and closing them loses and refuses nothing",
  { timeout: 60_000 },
  async () => {
    const many = Array.from({ length: limits.openDatabases + 40 }, () => ({ host: 0, id: newUuid() }));
    for (const each of many) {
      await hosts.create(each);
      await hosts.queryObjects(each, [{ sql: "CREATE TABLE t (x)" }]);
    }
    const rounds = 6;
    await Promise.all(
      many.map(async (each) => {
        for (let round = 0; round < rounds; round++)
          await hosts.queryObjects(each, [{ sql: "INSERT INTO t VALUES (?)", params: [round] }]);
      }),
    );
    const counts = [];
    for (const each of many) {
      const [rows] = await hosts.queryColumns(each, [{ sql: "SELECT count(*) FROM t" }]);
      counts.push(rows?.results.rows[0]?.[0]);
    }
    expect(new Set(counts)).toEqual(new Set([rounds]));
    await pollUntil({ ms: 5000, everyMs: 20, what: "closing" }, () =>
      openObjects(host.pid).length <= limits.openDatabases + 1 ? true : undefined,
    );
  },
);
