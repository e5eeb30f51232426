import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { limits } from "#products/kv/schema.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import { kvStoreContract } from "#products/kv/store.contract.ts";
import type { KvSpace, KvStore } from "#products/kv/store.ts";
import { bytesOf, failure, pattern } from "#products/kv/suite.contract.ts";

kvStoreContract("the SQLite store", async (now) => {
  const folder = await mkdtemp(join(tmpdir(), "solum-kv-"));
  const store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv"), now });
  return {
    store,
    async close() {
      await store[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
});

describe("on disk", () => {
  const start = 1_800_000_000;
  let seconds: number;
  let folder: string;
  let store: KvStore & AsyncDisposable;
  let space: KvSpace;
  const open = async () => {
    store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv"), now: () => seconds * 1000 });
  };
  beforeEach(async () => {
    seconds = start;
    folder = await mkdtemp(join(tmpdir(), "solum-kv-"));
    await open();
    const { id } = await store.createNamespace("acme", "main");
    space = { boundNamespaceId: id };
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  /** Runs `work` on the database while nobody else has it open. */
  const tamper = async (work: (db: DatabaseSync) => void) => {
    await store[Symbol.asyncDispose]();
    const db = new DatabaseSync(join(folder, "kv.db"));
    work(db);
    db.close();
    await open();
  };
  const files = async () => {
    const found = await readdir(join(folder, "kv"), { recursive: true, withFileTypes: true });
    return found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  };
  const count = (table: string) => {
    const db = new DatabaseSync(join(folder, "kv.db"), { readOnly: true });
    const row = db.prepare(`SELECT count(*) AS n FROM ${table}`).get();
    db.close();
    return Number(row?.["n"]);
  };
  const damaged = failure(500, 10503, "The stored value of this key is damaged");

  test("values stand in their row, in a row of their own or in a file, by their size", async () => {
    await store.put(space, "in row", { body: Buffer.alloc(limits.rowBytes) });
    expect([count("kv_values"), await files()]).toEqual([0, []]);
    await store.put(space, "own row", { body: Buffer.alloc(limits.inlineBytes) });
    expect([count("kv_values"), await files()]).toEqual([1, []]);
    const large = pattern(limits.inlineBytes + 1);
    await store.put(space, "file", { body: large });
    const [file = "", ...others] = await files();
    expect([count("kv_values"), others]).toEqual([1, []]);
    expect(Buffer.compare(await readFile(file), large)).toBe(0);
  });

  test("everything is there after the next start", async () => {
    await store.put(space, "small", { body: Buffer.from("v"), metadata: "1", expirationTtl: "60" });
    await store.put(space, "large", { body: pattern(3_000_000) });
    await store[Symbol.asyncDispose]();
    await open();
    expect(await store.getInfo(space, "small")).toEqual({ sizeBytes: 1, metadata: "1", expiration: start + 60 });
    expect(Buffer.compare(await bytesOf((await store.get(space, "large"))?.body), pattern(3_000_000))).toBe(0);
  });

  test.each([
    ["in its key's row", 100, "UPDATE kv_entries SET value = zeroblob(100)"],
    ["of another length", 100, "UPDATE kv_entries SET value = zeroblob(99)"],
    ["in a row of its own", 5000, "UPDATE kv_values SET value = zeroblob(5000)"],
    ["that lost its row", 5000, "DELETE FROM kv_values"],
  ])("a damaged value %s is an error, never wrong bytes", async (_where, size, sql) => {
    await store.put(space, "k", { body: pattern(size) });
    await tamper((db) => db.exec(sql));
    await expect(store.get(space, "k")).rejects.toThrow(damaged);
    await expect(store.getMany(space, ["k"])).rejects.toThrow(damaged);
    expect((await store.list(space, {})).keys).toEqual([{ name: "k" }]);
    await store.put(space, "k", { body: Buffer.from("new") });
    expect((await bytesOf((await store.get(space, "k"))?.body)).toString()).toBe("new");
  });

  test.each([
    ["changed at its beginning", 10],
    ["changed in the middle", 1_500_000],
    ["changed at its end", 2_999_999],
  ])("a file that was %s hands out no wrong byte", async (_where, at) => {
    const value = pattern(3_000_000);
    await store.put(space, "k", { body: value });
    const [file = ""] = await files();
    const bytes = await readFile(file);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    await writeFile(file, bytes);
    const got: Uint8Array[] = [];
    const reading = async () => {
      const { body = [] } = (await store.get(space, "k")) ?? {};
      if (body instanceof Uint8Array) throw new Error("a file was expected");
      for await (const piece of body) got.push(piece);
    };
    await expect(reading()).rejects.toThrow(damaged);
    const handedOut = Buffer.concat(got);
    expect(handedOut.length).toBeLessThanOrEqual(at);
    expect(Buffer.compare(handedOut, value.subarray(0, handedOut.length))).toBe(0);
  });

  test("a file that was cut or lost is an error", async () => {
    await store.put(space, "cut", { body: pattern(2_000_000) });
    const [cut = ""] = await files();
    await truncate(cut, 100_000);
    await expect(store.get(space, "cut")).rejects.toThrow(damaged);
    await rm(cut);
    await expect(store.get(space, "cut")).rejects.toThrow(damaged);
  });

  test("what a crash left behind goes at the next start, and nothing else", async () => {
    await store.put(space, "k", { body: pattern(2_000_000) });
    const [kept = ""] = await files();
    await store[Symbol.asyncDispose]();
    const orphan = join(folder, "kv", "ab", "c".repeat(30));
    await writeFile(orphan, "never committed");
    await mkdir(join(folder, "kv", "tmp"), { recursive: true });
    await writeFile(join(folder, "kv", "tmp", "unfinished"), "half a val");
    await open();
    await store.put(space, "new", { body: pattern(2_000_000) });
    await pollUntil({ ms: 10_000, everyMs: 20, what: "the sweep" }, () => (existsSync(orphan) ? undefined : true));
    const left = await files();
    expect(left).toHaveLength(2);
    expect(left).toContain(kept);
    expect(Buffer.compare(await bytesOf((await store.get(space, "new"))?.body), pattern(2_000_000))).toBe(0);
  });

  test("expired keys, deleted namespaces and replaced values give their room back", { timeout: 30_000 }, async () => {
    const { id } = await store.createNamespace("acme", "doomed");
    const doomed = { boundNamespaceId: id };
    const many = (name: string, rest: object) =>
      Array.from({ length: 700 }, (_, n) => ({ key: `${name}${n}`, value: Buffer.alloc(300), ...rest }));
    await store.putMany(doomed, many("d", {}));
    await store.put(doomed, "large", { body: pattern(2_000_000) });
    await store.putMany(space, many("e", { expirationTtl: "60" }));
    await store.put(space, "large", { body: pattern(2_000_000), expirationTtl: "60" });
    await store.put(space, "kept", { body: pattern(2_000_000) });
    await store.put(space, "kept", { body: Buffer.alloc(1000) });
    expect([count("kv_entries"), (await files()).length]).toEqual([1403, 3]);

    await store.deleteNamespace("acme", id);
    seconds += 60;
    const what = { ms: 20_000, everyMs: 50, what: "the clean-up" };
    await pollUntil(what, () => (count("kv_entries") === 1 && count("kv_dropped") === 0) || undefined);
    await pollUntil(what, async () => (await files()).length === 0 || undefined);
    expect(count("kv_values")).toBe(1);
    expect((await bytesOf((await store.get(space, "kept"))?.body)).length).toBe(1000);
  });

  test("values that arrive together do not fill the memory: some go by way of a file", async () => {
    const everyone = Promise.withResolvers<void>();
    const size = 1_000_000;
    const uploads = 80;
    let arrived = 0;
    const upload = async function* (n: number) {
      yield pattern(size).fill(n, 0, 10);
      if (++arrived === uploads) everyone.resolve();
      await everyone.promise;
      yield Buffer.from("end");
    };
    await Promise.all(Array.from({ length: uploads }, (_, n) => store.put(space, `k${n}`, { body: upload(n) })));
    expect((await files()).length).toBeGreaterThanOrEqual(uploads - limits.heldBytes / size - 1);
    for (const n of [0, 40, 79]) {
      const wanted = Buffer.concat([pattern(size).fill(n, 0, 10), Buffer.from("end")]);
      expect(Buffer.compare(await bytesOf((await store.get(space, `k${n}`))?.body), wanted)).toBe(0);
    }
  });
});
