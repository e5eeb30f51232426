import { randomBytes } from "node:crypto";
import { beforeEach, expect, test } from "vitest";
import { bytesOf, codeOf, md5, streamed, type ContractContext } from "#products/r2/harness.contract.ts";
import { limits, type BucketRef } from "#products/r2/schema.ts";
import type { R2Store } from "#products/r2/store.ts";

/** What every store does with multipart uploads. */
export function uploadsContract(context: () => ContractContext): void {
  let store: R2Store;
  let bucket: string;
  let ref: BucketRef;
  beforeEach(() => ({ store, bucket, ref } = context()));
  const put = (key: string, text = key) => store.put(bucket, key, Buffer.from(text));
  const textOf = async (key: string) => (await bytesOf(await store.get(bucket, key)))?.toString();
  const part = limits.partBytesMin;

  const first = randomBytes(part);
  const second = randomBytes(part);
  const last = randomBytes(1234);
  const options = { httpMetadata: { contentType: "x/y" }, customMetadata: { a: "ü" } };
  const upload = async (bodies: [number, Uint8Array][], key = "k") => {
    const id = await store.createMultipartUpload(bucket, key, options);
    const parts = [];
    for (const [number, body] of bodies) {
      parts.push({ part: number, etag: await store.uploadPart(bucket, key, id, number, streamed(body, 300_001)) });
    }
    return { id, parts };
  };

  test("make one object of their parts, in the order of the numbers", async () => {
    const { id, parts } = await upload([
      [9, last],
      [2, first],
      [5, second],
    ]);
    expect(await store.get(bucket, "k")).toBeUndefined();
    expect((await store.list(bucket)).objects).toEqual([]);
    const object = await store.completeMultipartUpload(bucket, "k", id, parts.toReversed());
    const digests = [first, second, last].map((bytes) => Buffer.from(md5(bytes), "hex"));
    expect(object).toMatchObject({ ...options, size: 2 * part + 1234, etag: `${md5(...digests)}-3`, checksums: {} });
    expect(await store.head(bucket, "k")).toEqual(object);
    const whole = Buffer.concat([first, second, last]);
    expect((await bytesOf(await store.get(bucket, "k")))?.equals(whole)).toBe(true);
    for (const [offset, length] of [
      [part - 5, 10],
      [0, 1],
      [2 * part - 1, 2],
      [part, part],
      [7, whole.length - 9],
    ] as const) {
      const found = await store.get(bucket, "k", { range: { offset, length } });
      expect((await bytesOf(found))?.equals(whole.subarray(offset, offset + length))).toBe(true);
    }
  });

  test("replace an object, and are replaced and deleted, like any other", async () => {
    await put("k", "old");
    const { id, parts } = await upload([[1, first]]);
    await store.completeMultipartUpload(bucket, "k", id, parts);
    const reading = await store.get(bucket, "k");
    await put("k", "new");
    expect(await textOf("k")).toBe("new");
    expect((await bytesOf(reading))?.equals(first)).toBe(true);
  });

  test("check their parts as R2 does", async () => {
    const { id, parts } = await upload([
      [1, first],
      [2, last],
      [3, second],
    ]);
    const [one, two, three] = parts;
    const complete = (chosen: unknown[]) =>
      codeOf(store.completeMultipartUpload(bucket, "k", id, chosen as typeof parts));
    expect(await complete([one, { part: 2, etag: "x" }])).toBe(10025);
    expect(await complete([one, { part: 4, etag: two?.etag }])).toBe(10025);
    expect(await complete([one, one])).toBe(10025);
    expect(await complete([one, two, three])).toBe(10011);
    // The last of the list is not looked at for its least size, and then found unequal.
    expect(await complete([one, three, two])).toBe(10048);
    const larger = await store.uploadPart(bucket, "k", id, 3, Buffer.concat([second, last]));
    expect(await complete([one, three])).toBe(10025);
    expect(await complete([one, { part: 3, etag: larger }])).toBe(10048);
    expect(await store.get(bucket, "k")).toBeUndefined();
    expect(await complete([one, two])).toBe("no error");
    expect((await store.head(bucket, "k"))?.size).toBe(part + 1234);
  });

  test("can be of one small part, of an empty one, and of none", async () => {
    for (const [bodies, size] of [
      [[[1, last]], 1234],
      [[[1, Buffer.from("")]], 0],
      [[], 0],
    ] as const) {
      const { id, parts } = await upload(bodies.map(([number, body]) => [number, body]));
      const object = await store.completeMultipartUpload(bucket, "k", id, parts);
      expect([object.size, object.etag.endsWith(`-${bodies.length}`)]).toEqual([size, true]);
      expect((await bytesOf(await store.get(bucket, "k")))?.length).toBe(size);
    }
  });

  test("are over once completed or aborted", async () => {
    const done = await upload([[1, last]]);
    await store.completeMultipartUpload(bucket, "k", done.id, done.parts);
    await store.abortMultipartUpload(bucket, "k", done.id);
    expect((await bytesOf(await store.get(bucket, "k")))?.equals(last)).toBe(true);
    const gone = await upload([[1, last]], "gone");
    await store.abortMultipartUpload(bucket, "gone", gone.id);
    await store.abortMultipartUpload(bucket, "gone", gone.id);
    for (const [key, { id, parts }] of [
      ["k", done],
      ["gone", gone],
    ] as const) {
      expect(await codeOf(store.uploadPart(bucket, key, id, 1, Buffer.from("x")))).toBe(10024);
      expect(await codeOf(store.completeMultipartUpload(bucket, key, id, parts))).toBe(10024);
    }
    expect(await store.head(bucket, "gone")).toBeUndefined();
  });

  test("belong to their bucket and key", async () => {
    const { id, parts } = await upload([[1, last]]);
    const other = (await store.createBucket({ ...ref, name: "other" })).id;
    for (const [where, key, name] of [
      [bucket, "other", id],
      [other, "k", id],
      [bucket, "k", "bad"],
    ] as const) {
      expect(await codeOf(store.uploadPart(where, key, name, 1, streamed(first, 300_001)))).toBe(10024);
      expect(await codeOf(store.completeMultipartUpload(where, key, name, parts))).toBe(10024);
      expect(await codeOf(store.abortMultipartUpload(where, key, name))).toBe(10024);
    }
    await store.completeMultipartUpload(bucket, "k", id, parts);
  });

  test("take part numbers from 1 to 10,000", async () => {
    const { id } = await upload([]);
    for (const number of [0, 10_001, 1.5, -1]) {
      expect(await codeOf(store.uploadPart(bucket, "k", id, number, Buffer.from("x")))).toBe(10029);
    }
    const etag = await store.uploadPart(bucket, "k", id, 10_000, Buffer.from("x"));
    expect((await store.completeMultipartUpload(bucket, "k", id, [{ part: 10_000, etag }])).size).toBe(1);
  });

  test("complete for one of two, and abort and complete never both happen", async () => {
    const { id, parts } = await upload([[1, last]]);
    const codes = await Promise.all([
      codeOf(store.completeMultipartUpload(bucket, "k", id, parts)),
      codeOf(store.completeMultipartUpload(bucket, "k", id, parts)),
      codeOf(store.abortMultipartUpload(bucket, "k", id)),
    ]);
    expect(codes.filter((code) => code === 10024).length).toBeGreaterThanOrEqual(1);
    const completed = codes.slice(0, 2).includes("no error");
    expect((await bytesOf(await store.get(bucket, "k")))?.length).toBe(completed ? 1234 : undefined);
  });
}
