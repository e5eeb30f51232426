import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DatabaseSync } from "node:sqlite";
import { ApiError } from "#core/errors.ts";
import { migrate } from "#db/migrate.ts";
import { openForReading, openForWriting } from "#db/connection.ts";
import { commitGroup, connectionOf } from "#db/writer-thread.ts";
import { transaction, type DatabaseSchema } from "#db/schema.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "solum-db-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const add = transaction("add", (db, { name, fail }: { name: string; fail?: boolean }) => {
  db.prepare("INSERT INTO names (name) VALUES (?)").run(name);
  if (fail) throw new ApiError(400, 1, `no ${name}`);
  return name.length;
});
const schema: DatabaseSchema = {
  product: "test",
  migrations: ["CREATE TABLE names (name TEXT PRIMARY KEY) STRICT"],
  transactions: [add],
};

function open() {
  const db = openForWriting(join(folder, "test.db"));
  migrate(db, [schema]);
  const names = () =>
    db
      .prepare("SELECT name FROM names ORDER BY name")
      .all()
      .map((row) => row["name"]);
  const group = (...args: Parameters<typeof add.run>[1][]) =>
    commitGroup(
      db,
      connectionOf(db),
      new Map([[add.name, add]]),
      args.map((arg, id) => ({ id, name: "add", args: arg })),
    );
  return { db, names, group };
}

test("a change that throws is undone alone; the others of its group are kept", () => {
  const { names, group } = open();
  expect(group({ name: "a" }, { name: "bb", fail: true }, { name: "a" }, { name: "ccc" })).toEqual({
    kind: "replies",
    replies: [
      { id: 0, ok: true, value: 1 },
      { id: 1, ok: false, api: { status: 400, entries: [{ code: 1, message: "no bb" }] } },
      { id: 2, ok: false, message: "add: UNIQUE constraint failed: names.name" },
      { id: 3, ok: true, value: 3 },
    ],
  });
  expect(names()).toEqual(["a", "ccc"]);
});

test("an unknown change is refused without touching its group", () => {
  const { db, names } = open();
  const reply = commitGroup(db, connectionOf(db), new Map([[add.name, add]]), [
    { id: 1, name: "nope", args: {} },
    { id: 2, name: "add", args: { name: "x" } },
  ]);
  expect(reply).toMatchObject({ replies: [{ ok: false }, { ok: true }] });
  expect(names()).toEqual(["x"]);
});

test("a full disk refuses the whole group and says so", () => {
  const { db, names, group } = open();
  db.exec("PRAGMA max_page_count = 4");
  const outcome = group(...Array.from({ length: 400 }, (_, n) => ({ name: `${n}`.padStart(100, "x") })));
  expect(outcome).toMatchObject({ kind: "replies" });
  expect(
    outcome.kind === "replies" &&
      outcome.replies.every((reply) => !reply.ok && "api" in reply && reply.api.status === 507),
  ).toBe(true);
  expect(names()).toEqual([]);
});

test("a reader sees what was committed and cannot write", () => {
  const { group } = open();
  group({ name: "a" });
  const reader = openForReading(join(folder, "test.db"));
  expect(reader.prepare("SELECT count(*) AS n FROM names").get()).toMatchObject({ n: 1 });
  expect(() => reader.exec("DELETE FROM names")).toThrow(/readonly/);
});

test("a file from a newer version is refused", () => {
  open();
  const db = new DatabaseSync(join(folder, "test.db"));
  expect(() => migrate(db, [{ ...schema, migrations: [] }])).toThrow(/older than the data/);
});

test("a migration that fails changes nothing", () => {
  open();
  const db = new DatabaseSync(join(folder, "test.db"));
  const broken = {
    ...schema,
    migrations: [...schema.migrations, "CREATE TABLE other (x) STRICT; SELECT nonsense"],
  };
  expect(() => migrate(db, [broken])).toThrow(/Migration 2 of test failed/);
  expect(db.prepare("SELECT version FROM migrations").get()).toMatchObject({ version: 1 });
  expect(db.prepare("SELECT name FROM sqlite_schema WHERE name = 'other'").get()).toBeUndefined();
});
