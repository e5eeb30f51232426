import { expect, test } from "vitest";
import type { D1Store } from "#products/d1/store.ts";

/** What every D1Store does. `open` gives an empty one, with two hosts. */
export function d1StoreContract(open: () => Promise<D1Store>): void {
  const anna = "a".repeat(32);
  const bert = "b".repeat(32);
  const notFound = { status: 404, code: 7404 };
  const file = (...pieces: string[]) => {
    const buffers = pieces.map((piece) => Buffer.from(piece));
    const bytes = buffers.reduce((sum, { length }) => sum + length, 0);
    return {
      bytes,
      stream: (async function* () {
        yield* buffers;
      })(),
    };
  };

  test("a database is found by its id and its name, and only in its account", async () => {
    const store = await open();
    const made = await store.create(anna, { name: "shop", locationHint: "weur", jurisdiction: "eu" });
    expect(made).toMatchObject({ accountId: anna, name: "shop", locationHint: "weur", jurisdiction: "eu" });
    expect(await store.get(anna, made.id)).toEqual(made);
    expect(await store.get(anna, "shop")).toEqual(made);
    await expect(store.get(bert, made.id)).rejects.toMatchObject(notFound);
    await expect(store.get(bert, "shop")).rejects.toMatchObject(notFound);
    await expect(store.queryObjects(bert, made.id, [{ sql: "SELECT 1" }])).rejects.toMatchObject(notFound);
    await expect(store.delete(bert, made.id)).rejects.toMatchObject(notFound);
    expect(await store.get(anna, "shop")).toEqual(made);
  });

  test("a name is taken once in an account, and free again after a deletion", async () => {
    const store = await open();
    const first = await store.create(anna, { name: "shop" });
    await expect(store.create(anna, { name: "shop" })).rejects.toMatchObject({ status: 400, code: 7502 });
    await store.create(bert, { name: "shop" });
    await store.delete(anna, "shop");
    await expect(store.get(anna, first.id)).rejects.toMatchObject(notFound);
    const second = await store.create(anna, { name: "shop" });
    expect(second.id).not.toBe(first.id);
  });

  test("two that take a name at once: one gets it", async () => {
    const store = await open();
    const settled = await Promise.allSettled([
      store.create(anna, { name: "shop" }),
      store.create(anna, { name: "shop" }),
    ]);
    expect(settled.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect((await store.list(anna, { page: 1, perPage: 10 })).total).toBe(1);
  });

  test.each(["", "-a", "a b", "a/b", "../a", "ä", "a".repeat(65)])("the name %j is refused", async (name) => {
    const store = await open();
    await expect(store.create(anna, { name })).rejects.toMatchObject({ status: 400, code: 7400 });
  });

  test("a list has pages, newest first, and a filter", async () => {
    const store = await open();
    for (const name of ["one", "two", "three", "Other"]) await store.create(anna, { name });
    await store.create(bert, { name: "foreign" });
    const names = async (options: { name?: string; page: number; perPage: number }) => {
      const { items, total } = await store.list(anna, options);
      return [items.map(({ name }) => name).toSorted(), total];
    };
    const pages = await Promise.all([1, 2, 3].map((page) => store.list(anna, { page, perPage: 2 })));
    expect(pages.map(({ items, total }) => [items.length, total])).toEqual([
      [2, 4],
      [2, 4],
      [0, 4],
    ]);
    expect(await names({ page: 1, perPage: 10 })).toEqual([["Other", "one", "three", "two"], 4]);
    expect(await names({ name: "O", page: 1, perPage: 10 })).toEqual([["Other", "one", "two"], 3]);
    expect(await names({ name: "%", page: 1, perPage: 10 })).toEqual([[], 0]);
  });

  test("databases are spread over the hosts", async () => {
    const store = await open();
    const made = [];
    for (const name of ["a", "b", "c", "d"]) made.push(await store.create(anna, { name }));
    expect(made.map(({ host }) => host)).toEqual([0, 1, 0, 1]);
    await store.delete(anna, "a");
    await store.delete(anna, "c");
    expect((await store.create(anna, { name: "e" })).host).toBe(0);
  });

  test("a query gives a result for each statement, as objects or as columns and rows", async () => {
    const store = await open();
    await store.create(anna, { name: "shop" });
    const made = await store.queryObjects(anna, "shop", [
      { sql: "CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t (b) VALUES ('x'), (NULL);" },
      { sql: "SELECT * FROM t WHERE a = ?", params: [1] },
    ]);
    expect(made.map(({ success, results }) => [success, results])).toEqual([
      [true, []],
      [true, []],
      [true, [{ a: 1, b: "x" }]],
    ]);
    expect(made[1]?.meta).toMatchObject({
      changes: 2,
      last_row_id: 2,
      changed_db: true,
      rows_written: 2,
      total_attempts: 1,
    });
    const rows = await store.queryColumns(anna, "shop", [{ sql: "SELECT a, b FROM t; SELECT x'0102' AS c" }]);
    expect(rows.map(({ results }) => results)).toEqual([
      {
        columns: ["a", "b"],
        rows: [
          [1, "x"],
          [2, null],
        ],
      },
      { columns: ["c"], rows: [[[1, 2]]] },
    ]);
  });

  test("a query that fails changes nothing", async () => {
    const store = await open();
    await store.create(anna, { name: "shop" });
    await expect(
      store.queryObjects(anna, "shop", [{ sql: "CREATE TABLE t (a)" }, { sql: "INSERT INTO nope VALUES (1)" }]),
    ).rejects.toMatchObject({ status: 400, code: 7500, message: "no such table: nope: SQLITE_ERROR" });
    await expect(store.queryObjects(anna, "shop", [{ sql: "SELECT * FROM t" }])).rejects.toMatchObject({
      message: "no such table: t: SQLITE_ERROR",
    });
  });

  test("an import runs all statements of a file, wherever its pieces end", async () => {
    const store = await open();
    const database = await store.create(anna, { name: "shop" });
    const done = await store.import(
      database,
      file(
        "CREATE TABLE t (a);INSERT INTO t VALUES ('",
        "é;".slice(0, 1),
        ";x'); -- the end;\n",
        ";;INSERT INTO t VALUES (2)",
      ),
    );
    expect(done).toMatchObject({ statements: 3, meta: { changes: 2, rows_written: 4 } });
    expect((await store.queryColumns(anna, "shop", [{ sql: "SELECT a FROM t" }]))[0]?.results.rows).toEqual([
      ["é;x"],
      [2],
    ]);
    expect(await store.sizes(database)).toEqual({ fileSize: 8192, tables: 1 });
  });

  test.each([
    ["a missing table", "INSERT INTO t VALUES (1); INSERT INTO nope VALUES (1);", "no such table: nope: SQLITE_ERROR"],
    ["no end", "INSERT INTO t VALUES (1); INSERT INTO t VALUES (", expect.stringContaining("syntax error")],
    [
      "a transaction of its own",
      "DROP TABLE t; BEGIN TRANSACTION; COMMIT;",
      expect.stringContaining("To execute a transaction, please use"),
    ],
    ["no statement", "-- nothing", "No SQL statements detected."],
    [
      "a statement of more than 100 KB",
      `INSERT INTO t VALUES (1); INSERT INTO t VALUES ('${"x".repeat(100_001)}');`,
      "statement too long: SQLITE_TOOBIG",
    ],
  ])("an import with %s changes nothing", async (_, text, message) => {
    const store = await open();
    const database = await store.create(anna, { name: "shop" });
    await store.queryObjects(anna, "shop", [{ sql: "CREATE TABLE t (a)" }]);
    await expect(store.import(database, file(text))).rejects.toMatchObject({ status: 400, code: 7500, message });
    const [count] = await store.queryObjects(anna, "shop", [{ sql: "SELECT count(*) AS n FROM t" }]);
    expect(count?.results).toEqual([{ n: 0 }]);
    const [next] = await store.queryObjects(anna, "shop", [{ sql: "INSERT INTO t VALUES (1)" }]);
    expect(next?.meta.changes).toBe(1);
  });
}
