import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DatabaseSync } from "node:sqlite";
import { limits } from "#products/r2/schema.ts";
import { openR2Store, type SqliteR2Store } from "#products/r2/sqlite-store.ts";
import { bytesOf, codeOf, streamed } from "#products/r2/harness.contract.ts";
import { r2StoreContract } from "#products/r2/store.contract.ts";

let folder: string;
const openAt = (path: string, now?: () => number) =>
  openR2Store({
    db: join(path, "r2.db"),
    blobs: join(path, "r2"),
    sealKey: Buffer.alloc(32, 1),
    ...(now ? { now } : {}),
  });
const temporary = () => mkdtempSync(join(tmpdir(), "solum-r2-"));

describe("the store in SQLite and files", () => {
  r2StoreContract(async () => {
    const path = temporary();
    const store = await openAt(path);
    return {
      store,
      close: async () => {
        await store.close();
        rmSync(path, { recursive: true });
      },
    };
  });
});

describe("its files", () => {
  let store: SqliteR2Store;
  let bucket: string;
  let time: number;
  const ref = { accountId: "a1", name: "my-bucket", jurisdiction: "default" } as const;
  const open = () => openAt(folder, () => time);
  const files = () => readdirSync(join(folder, "r2"));
  const noFiles = () => vi.waitFor(() => expect(files()).toEqual([]));

  beforeEach(async () => {
    folder = temporary();
    time = Date.now();
    store = await open();
    bucket = (await store.createBucket(ref)).id;
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  test("are none for small objects, one for a larger one, and gone with it", async () => {
    await store.put(bucket, "small", randomBytes(limits.inlineBytes));
    expect(files()).toEqual([]);
    await store.put(bucket, "large", randomBytes(limits.inlineBytes + 1));
    expect(files()).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/)]);
    await store.put(bucket, "large", Buffer.from("small now"));
    await noFiles();
    await store.put(bucket, "large", randomBytes(100_000));
    await store.delete(bucket, ["large"]);
    await noFiles();
  });

  test("never carry a name that anyone gave", async () => {
    for (const key of ["../../outside", "/abs", "a\0b", "CON"]) await store.put(bucket, key, randomBytes(70_000));
    expect(files().every((file) => /^[0-9a-f]{32}$/.test(file))).toBe(true);
    expect(readdirSync(folder).toSorted()).toEqual(["r2", "r2.db", "r2.db-shm", "r2.db-wal"]);
  });

  test("of what failed are removed", async () => {
    const bytes = randomBytes(100_000);
    await codeOf(store.put(bucket, "k", bytes, { checksums: { md5: "0".repeat(32) } }));
    await codeOf(store.put(bucket, "k", bytes, { onlyIf: { etagMatches: [{ type: "wildcard" }] } }));
    await codeOf(store.put("gone", "k", bytes));
    await codeOf(store.uploadPart(bucket, "k", "bad", 1, bytes));
    await codeOf(
      store.put(
        bucket,
        "k",
        (async function* () {
          yield* streamed(bytes);
          throw new Error("the line went dead");
        })(),
      ),
    );
    await noFiles();
  });

  test("of parts go when they are replaced, left out, aborted or too old", async () => {
    const upload = await store.createMultipartUpload(bucket, "k");
    const add = (part: number) => store.uploadPart(bucket, "k", upload, part, Buffer.from("x"));
    await add(1);
    await add(1);
    await vi.waitFor(() => expect(files().length).toBe(1));
    const etag = await add(2);
    await store.completeMultipartUpload(bucket, "k", upload, [{ part: 2, etag }]);
    await vi.waitFor(() => expect(files().length).toBe(1));
    await store.delete(bucket, ["k"]);
    await noFiles();
    const aborted = await store.createMultipartUpload(bucket, "k");
    await store.uploadPart(bucket, "k", aborted, 1, Buffer.from("x"));
    await store.abortMultipartUpload(bucket, "k", aborted);
    await noFiles();
  });

  test("an upload ends by itself after seven days", async () => {
    const uploads = await Promise.all(Array.from({ length: 10 }, () => store.createMultipartUpload(bucket, "k")));
    for (const upload of uploads) await store.uploadPart(bucket, "k", upload, 1, Buffer.from("x"));
    const [upload = ""] = uploads;
    time += limits.uploadLifeMs - 1;
    await store.expireUploads();
    const etag = await store.uploadPart(bucket, "k", upload, 2, Buffer.from("x"));
    time += 1;
    expect(await codeOf(store.completeMultipartUpload(bucket, "k", upload, [{ part: 2, etag }]))).toBe(10024);
    await store.expireUploads();
    await noFiles();
    time += limits.uploadLifeMs;
    await store.expireUploads();
    const db = new DatabaseSync(join(folder, "r2.db"), { readOnly: true });
    expect(db.prepare("SELECT count(*) AS n FROM r2_uploads").get()).toMatchObject({ n: 0 });
    db.close();
  });

  test("that a crash left are removed at the next start, and nothing else", async () => {
    const bytes = randomBytes(100_000);
    await store.put(bucket, "k", bytes);
    const upload = await store.createMultipartUpload(bucket, "m");
    await store.uploadPart(bucket, "m", upload, 1, bytes);
    const kept = files().toSorted();
    await store.close();
    for (const name of ["0".repeat(32), `${"1".repeat(32)}.tmp`, `${kept[0]}.tmp`]) {
      writeFileSync(join(folder, "r2", name), "garbage");
    }
    writeFileSync(join(folder, "r2", "README"), "not ours");
    store = await open();
    expect(await store.swept).toBe(3);
    await vi.waitFor(() => expect(files().toSorted()).toEqual([...kept, "README"].toSorted()));
    expect((await bytesOf(await store.get(bucket, "k")))?.equals(bytes)).toBe(true);
  });

  test("are swept without harm to uploads that go on meanwhile", async () => {
    for (let n = 0; n < 2000; n++) writeFileSync(join(folder, "r2", n.toString(16).padStart(32, "0")), "");
    await store.close();
    store = await open();
    const bodies = Array.from({ length: 30 }, () => randomBytes(70_000));
    await Promise.all(bodies.map((body, n) => store.put(bucket, `${n}`, streamed(body))));
    await store.swept;
    await vi.waitFor(() => expect(files().length).toBe(30));
    for (const [n, body] of bodies.entries()) {
      expect((await bytesOf(await store.get(bucket, `${n}`)))?.equals(body)).toBe(true);
    }
  });
});

describe("damage", () => {
  let store: SqliteR2Store;
  let bucket: string;
  const bytes = randomBytes(1_000_000);
  const file = () => join(folder, "r2", readdirSync(join(folder, "r2"))[0] ?? "");
  const change = (at: number) => {
    const content = readFileSync(file());
    content[at] = (content[at] ?? 0) ^ 1;
    writeFileSync(file(), content);
  };
  const read = async (range?: { offset: number; length: number }) =>
    bytesOf(await store.get(bucket, "k", range ? { range } : {}));

  beforeEach(async () => {
    folder = temporary();
    store = await openAt(folder);
    bucket = (await store.createBucket({ accountId: "a1", name: "my-bucket", jurisdiction: "default" })).id;
    await store.put(bucket, "k", bytes);
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  test("of one bit is never served, and what is whole still is", async () => {
    change(500_000);
    await expect(read()).rejects.toThrow(/checksum/);
    expect(await codeOf(read({ offset: 499_999, length: 2 }))).toBe(10001);
    expect((await read({ offset: 0, length: 100_000 }))?.equals(bytes.subarray(0, 100_000))).toBe(true);
    expect((await read({ offset: 600_000, length: 400_000 }))?.equals(bytes.subarray(600_000))).toBe(true);
    expect(await store.head(bucket, "k")).toMatchObject({ size: 1_000_000 });
  });

  test.each([
    ["in the first block, before an answer begins", () => change(0)],
    ["in the table of sums", () => change(1_000_001)],
    ["by a cut", () => truncateSync(file(), 900_000)],
    ["by another file in its place", () => writeFileSync(file(), randomBytes(1_000_064))],
    ["by loss", () => unlinkSync(file())],
  ])("%s is an error", async (_what, harm) => {
    harm();
    expect(await codeOf(store.get(bucket, "k"))).toBe(10001);
    expect(await codeOf(store.get(bucket, "k", { range: { offset: 5, length: 5 } }))).toBe(10001);
    await store.put(bucket, "k", bytes);
    expect((await read())?.equals(bytes)).toBe(true);
  });

  test("of bytes in the database is an error too", async () => {
    await store.put(bucket, "small", Buffer.from("0123456789"));
    const db = new DatabaseSync(join(folder, "r2.db"));
    db.exec("UPDATE r2_inline SET bytes = x'30313233343536373838'");
    db.close();
    expect(await codeOf(store.get(bucket, "small"))).toBe(10001);
    expect(await codeOf(store.get(bucket, "small", { range: { offset: 0, length: 1 } }))).toBe(10001);
  });
});
