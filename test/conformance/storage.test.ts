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
  expect(await wrangler("d1", "migrations", "apply", "DB", "--remote")).toContain("0001_items.sql");
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
    "SELECT * FROM nothing",
  ]);
  expect(failed.output).toContain("no such table: nothing: SQLITE_ERROR");
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
