import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { bytesOf, codeOf } from "#products/r2/harness.contract.ts";
import type { LifecycleRule, LockRule } from "#products/r2/settings.ts";
import { openR2Store, type SqliteR2Store } from "#products/r2/sqlite-store.ts";

const ref = { accountId: "a1", name: "my-bucket", jurisdiction: "default" } as const;
const day = 86_400;
let folder: string;
let store: SqliteR2Store;
let bucket: string;
let time: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-r2s-"));
  time = Date.parse("2026-11-25T12:00:00Z");
  const paths = { db: join(folder, "r2.db"), blobs: join(folder, "r2") };
  store = await openR2Store({ ...paths, sealKey: Buffer.alloc(32, 1), now: () => time });
  bucket = (await store.createBucket(ref)).id;
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});
const put = (key: string, bytes = 10) => store.put(bucket, key, Buffer.alloc(bytes, 1));
const keys = async () => (await store.list(bucket)).objects.map(({ key }) => key);
const wait = async (seconds: number) => {
  time += seconds * 1000;
  await store.runLifecycle();
};

describe("lifecycle rules", () => {
  const rule = (more: Partial<LifecycleRule>): LifecycleRule => ({ id: "r", enabled: true, conditions: {}, ...more });
  const age = (maxAge: number) => ({ condition: { type: "Age" as const, maxAge } });

  test("expire objects to the second, below their prefix, with their files", async () => {
    await store.settings.set(ref, "lifecycle", [
      rule({ conditions: { prefix: "tmp/" }, deleteObjectsTransition: age(3 * day) }),
      rule({ enabled: false, deleteObjectsTransition: age(0) }),
    ]);
    for (const key of ["tmp/a", "tmp/b", "tmp", "kept"]) await put(key, 100_000);
    await wait(3 * day - 1);
    expect(await keys()).toEqual(["kept", "tmp", "tmp/a", "tmp/b"]);
    await put("tmp/b");
    await wait(1);
    // What was written anew is young again.
    expect(await keys()).toEqual(["kept", "tmp", "tmp/b"]);
    await vi.waitFor(() => expect(readdirSync(join(folder, "r2")).length).toBe(2));
  });

  test("expire at a date, more objects than one turn takes", async () => {
    const condition = { type: "Date" as const, date: "2026-12-01" };
    await store.settings.set(ref, "lifecycle", [rule({ deleteObjectsTransition: { condition } })]);
    await Promise.all(Array.from({ length: 1203 }, (_, n) => put(`${n}`)));
    await wait(5 * day);
    expect((await store.list(bucket)).objects.length).toBe(1000);
    await wait(day);
    expect(await keys()).toEqual([]);
  });

  test("move objects to the cheaper class, once", async () => {
    const transition = { ...age(day), storageClass: "InfrequentAccess" as const };
    await store.settings.set(ref, "lifecycle", [rule({ storageClassTransitions: [transition] })]);
    const { etag } = await put("k", 100_000);
    await wait(day - 1);
    expect(await store.head(bucket, "k")).toMatchObject({ storageClass: "Standard" });
    await wait(1);
    expect(await store.head(bucket, "k")).toMatchObject({ storageClass: "InfrequentAccess", etag });
    expect((await bytesOf(await store.get(bucket, "k")))?.length).toBe(100_000);
  });

  test("abort uploads that are not completed", async () => {
    await store.settings.set(ref, "lifecycle", [
      rule({ conditions: { prefix: "a" }, abortMultipartUploadsTransition: age(day) }),
    ]);
    const uploads = [];
    for (const key of ["a1", "a2", "a3", "a4", "a5", "b"]) {
      const id = await store.createMultipartUpload(bucket, key);
      await store.uploadPart(bucket, key, id, 1, Buffer.from("x"));
      uploads.push({ bucketId: bucket, key, uploadId: id });
    }
    await wait(day);
    const [first, last] = [uploads[0]!, uploads[5]!];
    expect(await codeOf(store.listParts(first, { after: 0, limit: 1 }))).toBe(10024);
    expect((await store.listParts(last, { after: 0, limit: 1 })).parts.length).toBe(1);
    expect((await store.listUploads(bucket, { limit: 10 })).uploads.map(({ key }) => key)).toEqual(["b"]);
    await vi.waitFor(() => expect(readdirSync(join(folder, "r2")).length).toBe(1));
  });
});

describe("locks", () => {
  const lock = (condition: LockRule["condition"], prefix = "") =>
    store.settings.set(ref, "lock", [{ id: "l", enabled: true, prefix, condition }]);

  test("keep objects from being deleted, overwritten, copied over and expired, as long as they hold", async () => {
    await put("kept/k");
    await put("free");
    await lock({ type: "Age", maxAgeSeconds: day }, "kept/");
    const expire = { deleteObjectsTransition: { condition: { type: "Age" as const, maxAge: 0 } } };
    await store.settings.set(ref, "lifecycle", [{ id: "r", enabled: true, conditions: {}, ...expire }]);
    expect(await codeOf(store.delete(bucket, ["kept/k"]))).toBe(10069);
    expect(await codeOf(store.delete(bucket, ["free", "kept/k"]))).toBe(10069);
    expect(await codeOf(put("kept/k"))).toBe(10069);
    expect(await codeOf(put("kept/k", 100_000))).toBe(10069);
    const [from, to] = [
      { bucketId: bucket, key: "free" },
      { bucketId: bucket, key: "kept/k" },
    ];
    expect(await codeOf(store.copy(from, to))).toBe(10069);
    const upload = await store.createMultipartUpload(bucket, "kept/k");
    const etag = await store.uploadPart(bucket, "kept/k", upload, 1, Buffer.from("x"));
    expect(await codeOf(store.completeMultipartUpload(bucket, "kept/k", upload, [{ part: 1, etag }]))).toBe(10069);
    await store.abortMultipartUpload(bucket, "kept/k", upload);
    await wait(day - 1);
    expect(await keys()).toEqual(["kept/k"]);
    await wait(1);
    expect(await keys()).toEqual([]);
    await vi.waitFor(() => expect(readdirSync(join(folder, "r2"))).toEqual([]));
  });

  test("hold until a date, or for ever, or until they are taken away", async () => {
    await put("k");
    await lock({ type: "Date", date: "2026-12-01" });
    expect(await codeOf(store.delete(bucket, ["k"]))).toBe(10069);
    time = Date.parse("2026-12-01");
    await put("k");
    await lock({ type: "Indefinite" });
    time += 100 * 365 * day * 1000;
    expect(await codeOf(store.delete(bucket, ["k"]))).toBe(10069);
    await store.settings.set(ref, "lock", []);
    expect(await store.delete(bucket, ["k"])).toBe(1);
  });
});

test("copies share no fate with what they were made of, and need no second copy of the bytes", async () => {
  for (const [key, size] of [
    ["small", 10],
    ["large", 300_000],
    ["none", 0],
  ] as const) {
    const made = await store.put(bucket, key, Buffer.alloc(size, 7), { customMetadata: { a: "1" } });
    const [from, to] = [
      { bucketId: bucket, key },
      { bucketId: bucket, key: `${key} copy` },
    ];
    expect(await store.copy(from, to)).toMatchObject({ etag: made.etag, size, customMetadata: { a: "1" } });
    await store.copy(from, from, { customMetadata: { b: "2" } });
    expect(await store.head(bucket, key)).toMatchObject({ customMetadata: { b: "2" } });
    await store.delete(bucket, [key]);
    expect((await bytesOf(await store.get(bucket, `${key} copy`)))?.equals(Buffer.alloc(size, 7))).toBe(true);
    expect(await codeOf(store.copy(from, to))).toBe(10007);
  }
  await vi.waitFor(() => expect(readdirSync(join(folder, "r2")).length).toBe(1));
});

test("settings and domains go with their bucket, and the secret of a key is sealed", async () => {
  await store.settings.set(ref, "devUrl", true);
  await store.settings.addDomain(ref, { domain: "files.example.com", enabled: true });
  expect(store.settings.publicBucket(bucket)?.name).toBe("my-bucket");
  expect(store.settings.bucketOfDomain("files.example.com")?.id).toBe(bucket);
  await put("k", 5);
  expect(await store.settings.usage(ref)).toEqual({ objects: 1, bytes: 5, metadataBytes: 1, uploads: 0 });
  await store.delete(bucket, ["k"]);
  await store.deleteBucket(ref);
  expect([store.settings.publicBucket(bucket), store.settings.bucketOfDomain("files.example.com")]).toEqual([
    undefined,
    undefined,
  ]);
  expect(await codeOf(store.settings.get(ref, "cors"))).toBe(10006);
  const again = await store.createBucket(ref);
  expect(await store.settings.get(ref, "devUrl")).toBeUndefined();
  expect(store.settings.publicBucket(again.id)).toBeUndefined();
});
