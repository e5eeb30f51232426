import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Solum } from "../support/start-solum.ts";

/** wrangler's storage commands and the bindings of a deployed Worker meet in the same stores. */
let solum: Solum;
let project: string;
beforeAll(async () => {
  solum = await Solum.start();
  project = solum.project("bindings");
  const outcome = await solum.wrangler(project, ["deploy"]);
  expect(outcome.code, outcome.output).toBe(0);
});
afterAll(() => solum[Symbol.asyncDispose]());

const get = (path: string, options?: Parameters<Solum["request"]>[2]) =>
  solum.request("bindings.localhost", path, options);
const wrangler = async (...args: string[]) => {
  const outcome = await solum.wrangler(project, args);
  expect(outcome.code, outcome.output).toBe(0);
  return outcome.output;
};

test("KV: what wrangler puts the Worker gets, and the other way round", async () => {
  await wrangler(
    "kv",
    "key",
    "put",
    "--binding",
    "KV",
    "--remote",
    "by/wrangler ü",
    "from the command line",
    "--metadata",
    '{"who":"wrangler"}',
  );
  expect(JSON.parse((await get("/kv?key=by/wrangler%20%C3%BC")).text)).toMatchObject({
    value: "from the command line",
    metadata: { who: "wrangler" },
  });
  await get("/kv?key=by-worker", { method: "PUT", body: "from the Worker" });
  expect(await wrangler("kv", "key", "get", "--binding", "KV", "--remote", "by-worker", "--text")).toContain(
    "from the Worker",
  );
  const listed = JSON.parse(await wrangler("kv", "key", "list", "--binding", "KV", "--remote")) as { name: string }[];
  expect(listed.map(({ name }) => name)).toEqual(["by-worker", "by/wrangler ü"]);
  await wrangler("kv", "key", "delete", "--binding", "KV", "--remote", "by-worker");
  expect(JSON.parse((await get("/kv?key=by-worker")).text)).toMatchObject({ value: null });
  const namespaces = JSON.parse(await wrangler("kv", "namespace", "list")) as { title: string }[];
  expect(namespaces.map(({ title }) => title)).toContain("bindings-kv");
});

test("D1: migrations are applied once, and both sides see the rows", async () => {
  expect(await wrangler("d1", "migrations", "list", "DB", "--remote")).toContain("0001_items.sql");
  expect(await wrangler("d1", "migrations", "apply", "DB", "--remote")).toContain("0001_items.sql");
  expect(await wrangler("d1", "migrations", "list", "DB", "--remote")).toContain("No migrations to apply");
  expect(await wrangler("d1", "migrations", "apply", "DB", "--remote")).toContain("No migrations to apply");
  expect(JSON.parse((await get("/d1", { method: "POST", body: "trigger" })).text)).toMatchObject({
    results: [{ id: 1, name: "trigger" }],
    meta: { changes: expect.any(Number) as number },
  });
  const [selected] = JSON.parse(
    await wrangler(
      "d1",
      "execute",
      "DB",
      "--remote",
      "--json",
      "--command",
      "SELECT name, note FROM items; SELECT 2 AS two",
    ),
  ) as { results: unknown[] }[];
  expect(selected?.results).toEqual([{ name: "trigger", note: "by trigger; yes" }]);
  writeFileSync(
    join(project, "more.sql"),
    "INSERT INTO items (name) VALUES ('one; still one');\n-- a comment; with a semicolon\nINSERT INTO items (name) VALUES ('two');\n",
  );
  await wrangler("d1", "execute", "DB", "--remote", "--yes", "--file", "more.sql");
  const { results } = JSON.parse((await get("/d1")).text) as { results: { name: string }[] };
  expect(results.map(({ name }) => name)).toEqual(["trigger", "one; still one", "two"]);
  const failed = await solum.wrangler(project, [
    "d1",
    "execute",
    "DB",
    "--remote",
    "--command",
    "SELECT * FROM missing",
  ]);
  expect(failed.output).toContain("no such table: missing: SQLITE_ERROR");
  expect(failed.output).toContain("[code: 7500]");
});

test("D1: a migration that fails changes nothing", async () => {
  writeFileSync(
    join(project, "migrations", "0002_broken.sql"),
    "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);",
  );
  const outcome = await solum.wrangler(project, ["d1", "migrations", "apply", "DB", "--remote"]);
  expect(outcome.code).not.toBe(0);
  const tables = await wrangler(
    "d1",
    "execute",
    "DB",
    "--remote",
    "--json",
    "--command",
    "SELECT name FROM sqlite_schema WHERE name = 'half'",
  );
  expect((JSON.parse(tables) as { results: unknown[] }[])[0]?.results).toEqual([]);
});

test("D1: databases are made, listed and deleted", async () => {
  await wrangler("d1", "create", "other-db");
  const listed = JSON.parse(await wrangler("d1", "list", "--json")) as { name: string }[];
  expect(listed.map(({ name }) => name)).toEqual(expect.arrayContaining(["other-db", "bindings-db"]));
  await wrangler("d1", "delete", "other-db", "--skip-confirmation");
  expect(
    (JSON.parse(await wrangler("d1", "list", "--json")) as { name: string }[]).map(({ name }) => name),
  ).not.toContain("other-db");
});

test("D1: export writes what import reads, whole or in part", async () => {
  await wrangler("d1", "export", "DB", "--remote", "--output", "whole.sql", "-y");
  const whole = readFileSync(join(project, "whole.sql"), "utf8");
  expect(whole).toContain('INSERT INTO "items"');
  await wrangler("d1", "export", "DB", "--remote", "--output", "schema.sql", "--no-data", "--table", "items", "-y");
  const schema = readFileSync(join(project, "schema.sql"), "utf8");
  expect(schema).toContain("CREATE TABLE items");
  expect(schema).not.toContain("INSERT INTO");
  await wrangler("d1", "export", "DB", "--remote", "--output", "data.sql", "--no-schema", "-y");
  expect(readFileSync(join(project, "data.sql"), "utf8")).not.toContain("CREATE TABLE");
  await wrangler("d1", "create", "restored-db");
  await wrangler("d1", "execute", "restored-db", "--remote", "--yes", "--file", "whole.sql");
  await wrangler("d1", "export", "restored-db", "--remote", "--output", "again.sql", "-y");
  expect(readFileSync(join(project, "again.sql"), "utf8")).toBe(whole);
});

test("D1: info and insights tell real numbers, and Time Travel that it is missing", async () => {
  const info = JSON.parse(await wrangler("d1", "info", "bindings-db", "--json")) as Record<string, number>;
  expect(info).toMatchObject({ name: "bindings-db", num_tables: 2, database_size: expect.any(Number) as number });
  expect(info["read_queries_24h"]).toBeGreaterThan(0);
  expect(info["write_queries_24h"]).toBeGreaterThan(0);
  expect(info["rows_written_24h"]).toBeGreaterThan(0);
  const insights = JSON.parse(
    await wrangler("d1", "insights", "bindings-db", "--sort-by", "count", "--limit", "50", "--json"),
  ) as { query: string; numberOfTimesRun: number }[];
  expect(insights.find(({ query }) => query.startsWith("SELECT name, note FROM items"))?.numberOfTimesRun).toBe(1);
  const missing = await solum.wrangler(project, ["d1", "time-travel", "info", "bindings-db"]);
  expect(missing.code).not.toBe(0);
  expect(missing.output).toContain("D1 Time Travel is not supported by Solum yet");
});

test("R2: bytes and headers go both ways", async () => {
  const bytes = Buffer.alloc(300_000, "0123456789abcdef\0\xff", "latin1");
  writeFileSync(join(project, "upload.bin"), bytes);
  await wrangler(
    "r2",
    "object",
    "put",
    "bindings-files/folder/by wrangler.bin",
    "--remote",
    "--file",
    "upload.bin",
    "--content-type",
    "image/png",
  );
  const got = await get("/r2?key=folder/by%20wrangler.bin");
  expect(got.body.equals(bytes)).toBe(true);
  expect(got.headers["content-type"]).toBe("image/png");
  await get("/r2?key=by-worker", { method: "PUT", body: "small", headers: { "content-type": "text/x-mine" } });
  await wrangler("r2", "object", "get", "bindings-files/by-worker", "--remote", "--file", "download.bin");
  expect(readFileSync(join(project, "download.bin"), "utf8")).toBe("small");
  await wrangler("r2", "object", "delete", "bindings-files/by-worker", "--remote");
  expect((await get("/r2?key=by-worker")).status).toBe(404);
  expect(await wrangler("r2", "bucket", "list")).toContain("bindings-files");
});
