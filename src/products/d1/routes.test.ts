import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openDatabase, type Database } from "#db/database.ts";
import { createApi, type Api } from "#http/app.ts";
import { requireAccount, requireToken } from "#http/auth.ts";
import { databaseFile } from "#products/d1/database-files.ts";
import { d1Exports } from "#products/d1/exports.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { d1Imports } from "#products/d1/imports.ts";
import { d1DownloadRoutes, d1Routes, d1UploadRoutes } from "#products/d1/routes.ts";
import { d1Store } from "#products/d1/store.ts";
import { startD1Host, testFolders, testKey, type TestProcess } from "../../../test/support/d1-host.ts";

const account = "a".repeat(32);
const folders = testFolders();
const staging = join(folders.root, "staging");
const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "control" });
let host: TestProcess;
let db: Database;
let app: Api;

beforeAll(async () => {
  host = await startD1Host(folders);
  db = await openDatabase(join(folders.root, "control.db"), ["d1"]);
  const store = d1Store(db, hosts, 1);
  const imports = d1Imports({ store, staging, uploadUrl: (token) => `http://localhost/d1-upload/${token}` });
  const exports = d1Exports({
    staging,
    fileOf: ({ host: number, id }) => databaseFile(folders.data.d1Host(number), id),
    downloadUrl: (token) => `http://localhost/exports/${token}`,
  });
  app = createApi();
  app.route("/d1-upload", d1UploadRoutes(imports));
  app.use(
    "/client/v4/*",
    requireToken(async (token) => ({
      tokenId: "t",
      accountIds: token === "anna" ? [account] : ["b".repeat(32)],
      email: "x@localhost",
    })),
  );
  app.use("/client/v4/accounts/:account_id/*", requireAccount());
  app.route("/client/v4/accounts/:account_id/d1", d1Routes(store, imports, exports));
  app.route("/exports", d1DownloadRoutes(exports));
});
afterAll(async () => {
  hosts.close();
  await db.close();
  await host.kill();
  folders.remove();
});

type Answer = {
  status: number;
  /** Typed as what the tests read of it one by one: ids, URLs, names. */
  result: Record<string, string>;
  errors: { code: number; message: string }[];
  info: unknown;
};

/** A call of the API with Anna's token. */
async function call(method: string, path: string, body?: unknown, of = account): Promise<Answer> {
  const response = await app.request(`http://localhost/client/v4/accounts/${of}/d1${path}`, {
    method,
    headers: { authorization: "Bearer anna", "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const { result_info: info, ...envelope } = (await response.json()) as Omit<Answer, "status"> & {
    result_info: unknown;
  };
  return { ...envelope, status: response.status, info };
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

test("create, get by name and id, some fields, list, delete", async () => {
  const created = await call("POST", "/database", { name: "shop", primary_location_hint: "weur" });
  const json = {
    uuid: expect.stringMatching(uuid),
    name: "shop",
    version: "production",
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    num_tables: 0,
    file_size: 4096,
    jurisdiction: null,
    read_replication: { mode: "disabled" },
    running_in_region: "WEUR",
  };
  expect(created).toMatchObject({ status: 200, result: json });
  const id = created.result.uuid;
  expect((await call("GET", `/database/${id}`)).result).toEqual(created.result);
  expect((await call("GET", "/database/shop?fields=uuid,name")).result).toEqual({ uuid: id, name: "shop" });
  await call("POST", `/database/${id}/query`, { sql: "CREATE TABLE t (a)" });
  const listed = await call("GET", "/database?per_page=10&page=1");
  const { read_replication: _, running_in_region: __, ...listedJson } = created.result;
  expect(listed.result).toEqual([{ ...listedJson, num_tables: 1, file_size: 8192 }]);
  expect(listed.info).toEqual({ page: 1, per_page: 10, count: 1, total_count: 1, total_pages: 1 });
  expect((await call("GET", "/database?per_page=10&page=2")).result).toEqual([]);
  expect(await call("DELETE", "/database/shop")).toMatchObject({ status: 200, result: null });
  expect(await call("GET", `/database/${id}`)).toMatchObject({
    status: 404,
    errors: [{ code: 7404, message: `The database ${id} could not be found` }],
  });
});

test.each([
  ["POST", "/database", { name: "a b" }, 400, 7400],
  ["POST", "/database", {}, 400, 10001],
  ["POST", "/database", { name: "x", jurisdiction: "moon" }, 400, 10001],
  ["GET", "/database/nope", undefined, 404, 7404],
  ["DELETE", "/database/nope", undefined, 404, 7404],
  ["POST", "/database/nope/query", { sql: "SELECT 1" }, 404, 7404],
  ["POST", "/database/nope/raw", { sql: "SELECT 1" }, 404, 7404],
  ["POST", "/database/nope/import", { action: "init", etag: "0".repeat(32) }, 404, 7404],
  ["POST", "/database/nope/export", { output_format: "polling" }, 404, 7404],
  ["GET", "/database/nope/time_travel/bookmark", undefined, 404, 7404],
  ["GET", "/nowhere", undefined, 404, 7003],
])("%s %s %j is refused", async (method, path, body, status, code) => {
  const answer = await call(method, path, body);
  expect([answer.status, answer.errors[0]?.code]).toEqual([status, code]);
});

test("another account's id looks like one that does not exist", async () => {
  const { result } = await call("POST", "/database", { name: "mine" });
  expect(await call("GET", `/database/${result.uuid}`, undefined, "b".repeat(32))).toMatchObject({
    status: 404,
    errors: [{ code: 7003 }, { code: 7000 }],
  });
});

test("a name that is taken", async () => {
  await call("POST", "/database", { name: "taken" });
  expect(await call("POST", "/database", { name: "taken" })).toMatchObject({ status: 400, errors: [{ code: 7502 }] });
});

test("query and raw take one query, a batch, or an array, with parameters", async () => {
  await call("POST", "/database", { name: "q" });
  const query = async (body: unknown) =>
    Object.values((await call("POST", "/database/q/query", body)).result).map((one) => Object(one).results);
  const sql = "SELECT ? AS a";
  expect(await query({ sql: "SELECT 1 AS a; SELECT 'b' AS b" })).toEqual([[{ a: 1 }], [{ b: "b" }]]);
  expect(await query({ sql, params: ["x"] })).toEqual([[{ a: "x" }]]);
  expect(await query({ sql: "SELECT typeof(?1) AS a, ?1 AS b", params: [true] })).toEqual([[{ a: "real", b: 1 }]]);
  expect(
    await query([
      { sql, params: [null] },
      { sql, params: [1.5] },
    ]),
  ).toEqual([[{ a: null }], [{ a: 1.5 }]]);
  expect(await query({ batch: [{ sql, params: ["y"] }, { sql: "SELECT 2 AS b" }] })).toEqual([
    [{ a: "y" }],
    [{ b: 2 }],
  ]);
  const raw = await call("POST", "/database/q/raw", { sql: "SELECT 1 AS a, 2 AS a" });
  expect(raw.result).toMatchObject([{ success: true, results: { columns: ["a", "a"], rows: [[1, 2]] } }]);
  expect(raw.result).toMatchObject([{ meta: { served_by_primary: true, rows_read: 0, rows_written: 0, changes: 0 } }]);
});

test.each([
  [{ sql: "SELEKT 1" }, 7500, 'near "SELEKT": syntax error at offset 0: SQLITE_ERROR'],
  [{ sql: "" }, 7500, "No SQL statements detected."],
  [{ sql: "SELECT ?", params: [] }, 7500, "Wrong number of parameter bindings for SQL query."],
  [{ sql: "BEGIN" }, 7500, expect.stringContaining("To execute a transaction")],
  [{}, 10001, expect.any(String)],
  [[], 10001, expect.any(String)],
  [{ sql: "SELECT ?", params: [{}] }, 10001, expect.any(String)],
])("the query %j is refused", async (body, code, message) => {
  await call("POST", "/database", { name: "refusals" });
  expect(await call("POST", "/database/refusals/query", body)).toMatchObject({
    status: 400,
    errors: [{ code, message }],
  });
});

test("Time Travel says plainly that it is missing", async () => {
  await call("POST", "/database", { name: "later" });
  for (const [method, path] of [
    ["GET", "time_travel/bookmark"],
    ["POST", "time_travel/restore?bookmark=x"],
  ] as const)
    expect(await call(method, `/database/later/${path}`, method === "POST" ? {} : undefined)).toMatchObject({
      status: 400,
      errors: [{ code: 7501, message: expect.stringContaining("not supported by Solum yet") }],
    });
});

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

async function upload(url: string | undefined, body: string) {
  return app.request(url ?? "", { method: "PUT", body });
}

async function importFile(name: string, text: string) {
  const { result: start } = await call("POST", `/database/${name}/import`, { action: "init", etag: md5(text) });
  const put = await upload(start.upload_url, text);
  expect([put.status, put.headers.get("etag")]).toEqual([200, `"${md5(text)}"`]);
  const ingest = { action: "ingest", filename: start.filename, etag: md5(text) };
  return { start, ingest, answer: await call("POST", `/database/${name}/import`, ingest) };
}

test("an import: a place for the file, the file, its statements, the end", async () => {
  await call("POST", "/database", { name: "import" });
  const { start, ingest, answer } = await importFile("import", "CREATE TABLE t (a);\nINSERT INTO t VALUES (1), (2);\n");
  expect(answer.result).toMatchObject({
    success: true,
    type: "import",
    status: "complete",
    messages: [],
    result: {
      final_bookmark: expect.stringMatching(/^[0-9a-f-]{59}$/),
      num_queries: 2,
      meta: { rows_read: 1, rows_written: 4, size_after: 8192, duration: expect.any(Number) },
    },
  });
  const poll = { action: "poll", current_bookmark: answer.result.at_bookmark };
  expect((await call("POST", "/database/import/import", poll)).result).toEqual(answer.result);
  // Neither the URL nor the file can be used again, and nothing is left of them.
  expect((await upload(start.upload_url, "x")).status).toBe(404);
  expect(await call("POST", "/database/import/import", ingest)).toMatchObject({
    status: 400,
    errors: [{ code: 7400 }],
  });
  expect(readdirSync(staging)).toEqual([]);
});

test("an import whose SQL fails says why, and changes nothing", async () => {
  await call("POST", "/database", { name: "bad" });
  const { answer } = await importFile("bad", "CREATE TABLE t (a); INSERT INTO nope VALUES (1);");
  expect(answer).toMatchObject({
    status: 200,
    result: { success: false, status: "error", error: "no such table: nope: SQLITE_ERROR" },
  });
  expect((await call("GET", "/database/bad")).result).toMatchObject({ num_tables: 0 });
  expect(readdirSync(staging)).toEqual([]);
});

test("a file that is not the one announced is not imported", async () => {
  await call("POST", "/database", { name: "other" });
  await call("POST", "/database", { name: "stranger" });
  const path = "/database/other/import";
  const { result } = await call("POST", path, { action: "init", etag: md5("SELECT 1") });
  const ingest = { action: "ingest", filename: result.filename, etag: md5("SELECT 1") };
  expect(await call("POST", path, ingest)).toMatchObject({ status: 400, errors: [{ code: 7400 }] });
  const put = await upload(result.upload_url, "SELECT 2");
  expect(put.headers.get("etag")).toBe(`"${md5("SELECT 2")}"`);
  expect(await call("POST", path, ingest)).toMatchObject({ status: 400, errors: [{ code: 7400 }] });

  const { result: again } = await call("POST", path, { action: "init", etag: md5("SELECT 1") });
  await upload(again.upload_url, "SELECT 1");
  const good = { ...ingest, filename: again.filename };
  expect(await call("POST", "/database/stranger/import", good)).toMatchObject({ status: 400 });
  expect((await call("POST", path, good)).result).toMatchObject({ success: true, status: "complete" });
});

test("an upload that breaks off can be tried again", async () => {
  await call("POST", "/database", { name: "broken" });
  const { result } = await call("POST", "/database/broken/import", { action: "init", etag: md5("SELECT 1") });
  const body = new ReadableStream({
    pull(controller) {
      controller.error(new Error("the sender went away"));
    },
  });
  const broken = await app.request(result.upload_url ?? "", { method: "PUT", body, duplex: "half" });
  expect(broken.status).toBe(500);
  expect((await upload(result.upload_url, "SELECT 1")).status).toBe(200);
});

test("what was not begun cannot be polled", async () => {
  await call("POST", "/database", { name: "idle" });
  expect((await call("POST", "/database/idle/import", { action: "poll", current_bookmark: "x" })).result).toEqual({
    success: false,
    type: "import",
    error: "Not currently importing anything.",
    messages: [],
  });
  expect(await call("POST", "/database/idle/import", { action: "init", etag: "../x" })).toMatchObject({ status: 400 });
  expect(await upload("http://localhost/d1-upload/guess", "x")).toMatchObject({ status: 404 });
});

async function exportText(name: string, dump: object = {}): Promise<string> {
  let { result } = await call("POST", `/database/${name}/export`, { output_format: "polling", dump_options: dump });
  while (result["status"] === "active")
    ({ result } = await call("POST", `/database/${name}/export`, {
      output_format: "polling",
      current_bookmark: result["at_bookmark"],
    }));
  expect(result).toMatchObject({ success: true, status: "complete" });
  const { signed_url: url } = result["result"] as unknown as { signed_url: string };
  const response = await app.request(url);
  expect(response.status).toBe(200);
  return response.text();
}

/** Everything that a dump can get wrong: quotes, line ends, NUL, large numbers, whole reals, blobs, generated columns. */
const kinds = `
  CREATE TABLE "odd ""name" (id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT, r REAL, any, g INTEGER GENERATED ALWAYS AS (id * 2));
  INSERT INTO "odd ""name" (t, r, any) VALUES ('it''s' || char(10) || 'two' || char(13), 1.0, x'00ff'),
    ('a' || char(0) || 'b', 1e300, 9223372036854775807), (NULL, -9e999, 2.0), ('\\n', 0.1, '');
  CREATE TABLE child (id REFERENCES "odd ""name" (id) ON DELETE CASCADE);
  INSERT INTO child VALUES (1);
  CREATE INDEX child_id ON child (id);
  CREATE VIEW joined AS SELECT t FROM "odd ""name" JOIN child USING (id);
  CREATE TRIGGER quiet AFTER INSERT ON child BEGIN UPDATE child SET id = id WHERE 0; SELECT 1; END;`;

test("an export restores to the same database, whatever is in it", async () => {
  for (const name of ["exported", "restored"]) await call("POST", "/database", { name });
  expect((await call("POST", "/database/exported/query", { sql: kinds })).errors).toEqual([]);
  const text = await exportText("exported");
  expect(text).toMatch(/^PRAGMA defer_foreign_keys=TRUE;\n/);
  expect((await importFile("restored", text)).answer.result).toMatchObject({ status: "complete" });
  expect(await exportText("restored")).toBe(text);
  const all = { sql: `SELECT id, hex(t) AS t, r, typeof(any) AS kind, hex(any) AS any, g FROM "odd ""name"` };
  const rows = async (name: string) => (await call("POST", `/database/${name}/raw`, all)).result[0];
  const results = (answer: unknown) => (answer as { results: unknown }).results;
  expect(results(await rows("restored"))).toEqual(results(await rows("exported")));
});

test("an export can be of some tables, of the schema or of the data alone", async () => {
  expect(await exportText("exported", { tables: ["child"] })).toBe(
    [
      "PRAGMA defer_foreign_keys=TRUE;",
      'CREATE TABLE child (id REFERENCES "odd ""name" (id) ON DELETE CASCADE);',
      'INSERT INTO "child" ("id") VALUES(1);',
      "CREATE INDEX child_id ON child (id);",
      "CREATE TRIGGER quiet AFTER INSERT ON child BEGIN UPDATE child SET id = id WHERE 0; SELECT 1; END;",
      "",
    ].join("\n"),
  );
  expect(await exportText("exported", { no_data: true })).not.toContain("INSERT INTO");
  expect(await exportText("exported", { no_schema: true })).not.toContain("CREATE");
});

test("an export of a virtual table is refused in D1's words, and an unknown one is not found", async () => {
  await call("POST", "/database", { name: "virtual" });
  await call("POST", "/database/virtual/query", { sql: "CREATE VIRTUAL TABLE f USING fts5 (x)" });
  const { result } = await call("POST", "/database/virtual/export", { output_format: "polling" });
  expect(result).toMatchObject({
    success: false,
    status: "error",
    error: "D1 Export error: cannot export databases with Virtual Tables (fts5)",
  });
  expect((await app.request("http://localhost/exports/unknown")).status).toBe(404);
  expect(
    (await call("POST", "/database/virtual/export", { output_format: "polling", current_bookmark: "x" })).result,
  ).toMatchObject({ success: false, error: "Not currently exporting anything." });
});
