import { beforeEach, expect, test } from "vitest";
import { codeOf, streamed, type ContractContext } from "#products/r2/harness.contract.ts";
import type { BucketRef } from "#products/r2/schema.ts";
import type { R2Store } from "#products/r2/store.ts";

/** What every store does with buckets. */
export function bucketsContract(context: () => ContractContext): void {
  let store: R2Store;
  let bucket: string;
  let ref: BucketRef;
  beforeEach(() => ({ store, bucket, ref } = context()));
  const put = (key: string, text = key) => store.put(bucket, key, Buffer.from(text));

  test("have an id of their own that outlives nothing but them", async () => {
    const found = await store.getBucket(ref);
    expect(found).toMatchObject({ ...ref, id: bucket, storageClass: "Standard" });
    expect(found.created).toBeGreaterThan(Date.now() - 60_000);
    await store.deleteBucket(ref);
    expect(await codeOf(store.getBucket(ref))).toBe(10006);
    expect((await store.createBucket(ref)).id).not.toBe(bucket);
    expect(await codeOf(store.put(bucket, "k", Buffer.from("x")))).toBe(10006);
  });

  test("are one for each account, jurisdiction and name", async () => {
    expect(await codeOf(store.createBucket(ref))).toBe(10004);
    const others = await Promise.all([
      store.createBucket({ ...ref, accountId: "another" }),
      store.createBucket({ ...ref, jurisdiction: "eu" }, { location: "weur", storageClass: "InfrequentAccess" }),
    ]);
    expect(new Set([bucket, ...others.map(({ id }) => id)]).size).toBe(3);
    expect(await store.getBucket({ ...ref, jurisdiction: "eu" })).toMatchObject({
      location: "weur",
      storageClass: "InfrequentAccess",
    });
  });

  test("exist for one of several that create the same at once", async () => {
    const codes = await Promise.all(
      Array.from({ length: 8 }, () => codeOf(store.createBucket({ ...ref, name: "raced" }))),
    );
    expect(codes.filter((code) => code !== 10004)).toEqual(["no error"]);
  });

  test.each(["", "ab", "a".repeat(64), "-ab", "ab-", "Abc", "a_b", "a.b", "aüb", "abc\n"])(
    "cannot be called %j",
    async (name) => expect(await codeOf(store.createBucket({ ...ref, name }))).toBe(10005),
  );

  test("are listed by name, in pages, either way", async () => {
    for (const name of ["zoo", "alpha", "beta"]) await store.createBucket({ ...ref, name });
    const list = async (options: object) => {
      const { buckets, more } = await store.listBuckets({ ...ref, limit: 10, ...options });
      return [buckets.map(({ name }) => name), more];
    };
    expect(await list({})).toEqual([["alpha", "beta", "my-bucket", "zoo"], false]);
    expect(await list({ limit: 2 })).toEqual([["alpha", "beta"], true]);
    expect(await list({ limit: 2, startAfter: "beta" })).toEqual([["my-bucket", "zoo"], false]);
    expect(await list({ limit: 1, startAfter: "beta", descending: true })).toEqual([["alpha"], false]);
    expect(await list({ nameContains: "et" })).toEqual([["beta", "my-bucket"], false]);
    expect(await list({ accountId: "without any" })).toEqual([[], false]);
    expect(await list({ jurisdiction: "eu" })).toEqual([[], false]);
  });

  test("are deleted only when empty, of uploads too", async () => {
    await put("k");
    expect(await codeOf(store.deleteBucket(ref))).toBe(10008);
    await store.delete(bucket, ["k"]);
    const upload = await store.createMultipartUpload(bucket, "k");
    expect(await codeOf(store.deleteBucket(ref))).toBe(10008);
    await store.abortMultipartUpload(bucket, "k", upload);
    await store.deleteBucket(ref);
    expect(await codeOf(store.deleteBucket(ref))).toBe(10006);
  });

  test("change the storage class of objects to come", async () => {
    await put("before");
    expect(await store.setStorageClass(ref, "InfrequentAccess")).toMatchObject({ storageClass: "InfrequentAccess" });
    expect(await put("after")).toMatchObject({ storageClass: "InfrequentAccess" });
    expect(await store.head(bucket, "before")).toMatchObject({ storageClass: "Standard" });
    expect(await store.put(bucket, "own", Buffer.from(""), { storageClass: "Standard" })).toMatchObject({
      storageClass: "Standard",
    });
    expect(await codeOf(store.setStorageClass({ ...ref, name: "none" }, "Standard"))).toBe(10006);
  });

  test("that are gone fail every call", async () => {
    const calls = [
      store.head("gone", "k"),
      store.get("gone", "k"),
      store.put("gone", "k", Buffer.from("x")),
      store.put("gone", "k", streamed(Buffer.alloc(200_000))),
      store.delete("gone", ["k"]),
      store.list("gone"),
      store.createMultipartUpload("gone", "k"),
    ];
    expect(await Promise.all(calls.map(codeOf))).toEqual(calls.map(() => 10006));
  });
}
