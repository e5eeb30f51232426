import { createHash, randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { beforeEach, describe, expect, test } from "vitest";
import { bytesOf, codeOf, md5, streamed, type ContractContext } from "#products/r2/harness.contract.ts";
import type { Bytes, R2Store } from "#products/r2/store.ts";

/** What every store does with the bytes and metadata of objects. */
export function objectsContract(context: () => ContractContext): void {
  let store: R2Store;
  let bucket: string;
  beforeEach(() => ({ store, bucket } = context()));
  const put = (key: string, text = key) => store.put(bucket, key, Buffer.from(text));
  const textOf = async (key: string) => (await bytesOf(await store.get(bucket, key)))?.toString();

  const sizes = [0, 1, 65_535, 65_536, 65_537, 131_072, 1_000_000, 3_145_745];
  test.each(sizes.flatMap((size) => [[size, "at once"] as const, [size, "streamed"] as const]))(
    "of %i bytes %s come back as they went",
    async (size, how) => {
      const bytes = randomBytes(size);
      const stored = await store.put(bucket, "k", how === "at once" ? bytes : streamed(bytes));
      expect(stored).toMatchObject({ key: "k", size, etag: md5(bytes), checksums: { md5: md5(bytes) } });
      const found = await store.get(bucket, "k");
      expect(found?.object).toEqual(stored);
      expect(await store.head(bucket, "k")).toEqual(stored);
      expect(Buffer.compare((await bytesOf(found)) ?? Buffer.from("?"), bytes)).toBe(0);
      expect(found?.content?.range).toEqual({ offset: 0, length: size });
    },
  );

  test("keep their metadata exactly", async () => {
    const options = {
      httpMetadata: {
        contentType: "text/plain; charset=utf-8",
        contentLanguage: "de",
        contentDisposition: 'attachment; filename="ü.txt"',
        contentEncoding: "br",
        cacheControl: "no-store",
        cacheExpiry: 1_700_000_000_000,
      },
      customMetadata: { ключ: "значение 👻", "": "", "2": "b", "1": "a" },
      storageClass: "InfrequentAccess",
    } as const;
    const withPrototype = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>;
    const stored = await store.put(bucket, "k", Buffer.from("x"), options);
    expect(stored).toMatchObject(options);
    expect(await store.head(bucket, "k")).toEqual(stored);
    await store.put(bucket, "k", Buffer.from("x"), { customMetadata: withPrototype });
    const after = await store.head(bucket, "k");
    expect(JSON.stringify(after?.customMetadata)).toBe('{"__proto__":"x","constructor":"y"}');
    expect(after?.httpMetadata).toEqual({});
  });

  test("are under exactly their key", async () => {
    // scale-reliability-security §3.3, 35 and 36.
    const keys = [
      "",
      ".",
      "..",
      "../../x",
      "a//b",
      "/",
      "a",
      "a ",
      "é",
      "e\u0301",
      "\0",
      "a\0b",
      "\x7f",
      "\uffff",
      "👻",
      "%2F",
      "a\nb",
    ];
    for (const key of keys) await put(key, `value of ${key}`);
    for (const key of keys) expect(await textOf(key)).toBe(`value of ${key}`);
    const { objects } = await store.list(bucket);
    expect(objects.map(({ key }) => key)).toEqual(
      keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
    );
  });

  test("refuse keys and metadata that are too long", async () => {
    const long = "ü".repeat(513);
    const upload = await store.createMultipartUpload(bucket, "k");
    const calls = [
      store.head(bucket, long),
      store.get(bucket, long),
      store.put(bucket, long, Buffer.from("x")),
      store.delete(bucket, ["k", long]),
      store.createMultipartUpload(bucket, long),
      store.uploadPart(bucket, long, upload, 1, Buffer.from("x")),
      store.completeMultipartUpload(bucket, long, upload, []),
      store.abortMultipartUpload(bucket, long, upload),
    ];
    expect(await Promise.all(calls.map(codeOf))).toEqual(calls.map(() => 10020));
    await put("ü".repeat(512));
    const metadata = (value: string) => ({ customMetadata: { k: value } });
    await store.put(bucket, "m", Buffer.from("x"), metadata("v".repeat(8191)));
    await store.put(bucket, "m", Buffer.from("x"), metadata("ю".repeat(4095)));
    expect(await codeOf(store.put(bucket, "m", Buffer.from("x"), metadata("v".repeat(8192))))).toBe(10012);
    expect(await codeOf(store.put(bucket, "m", Buffer.from("x"), metadata("ю".repeat(4096))))).toBe(10012);
    expect(await codeOf(store.createMultipartUpload(bucket, "m", metadata("v".repeat(8192))))).toBe(10012);
  });

  test("that are not there are undefined", async () => {
    expect(await store.head(bucket, "none")).toBeUndefined();
    expect(await store.get(bucket, "none")).toBeUndefined();
  });

  test("are replaced and deleted, whatever holds their bytes", async () => {
    const bodies: Bytes[] = [Buffer.from("small"), randomBytes(100_000), Buffer.from("other"), randomBytes(200_000)];
    for (const body of bodies) {
      const { version } = await store.put(bucket, "k", body);
      expect(await bytesOf(await store.get(bucket, "k"))).toEqual(body);
      expect((await store.head(bucket, "k"))?.version).toBe(version);
    }
    await put("other");
    expect(await store.delete(bucket, ["k", "none", "other", "k"])).toBe(2);
    expect(await store.get(bucket, "k")).toBeUndefined();
    expect((await store.list(bucket)).objects).toEqual([]);
  });

  test("are deleted a thousand at a time", async () => {
    const keys = Array.from({ length: 1000 }, (_, n) => `key ${n}`);
    await Promise.all(keys.map((key) => put(key, "")));
    expect(await codeOf(store.delete(bucket, [...keys, "one more"]))).toBe(10027);
    expect(await codeOf(store.delete(bucket, []))).toBe(10027);
    expect(await store.delete(bucket, keys)).toBe(1000);
    expect((await store.list(bucket)).objects).toEqual([]);
  });

  test("of one key from many writers are one of theirs, never a mix", async () => {
    const bodies = Array.from({ length: 12 }, (_, n) => Buffer.alloc(n % 2 ? 300_000 : 30_000, n + 1));
    await Promise.all(bodies.map((body) => store.put(bucket, "k", streamed(body))));
    const found = await store.get(bucket, "k");
    const bytes = (await bytesOf(found)) ?? Buffer.from("");
    expect(bodies.some((body) => body.equals(bytes))).toBe(true);
    expect(found?.object.etag).toBe(md5(bytes));
  });

  test("are read to their end while they are replaced and deleted", async () => {
    const bytes = randomBytes(2_000_000);
    await store.put(bucket, "k", bytes);
    const first = await store.get(bucket, "k");
    await store.put(bucket, "k", Buffer.from("new"));
    const second = await store.get(bucket, "k");
    await store.delete(bucket, ["k"]);
    expect((await bytesOf(first))?.equals(bytes)).toBe(true);
    expect((await bytesOf(second))?.toString()).toBe("new");
  });

  test("whose bytes break off leave everything as it was", async () => {
    await put("k", "old");
    async function* broken(size: number) {
      yield Buffer.alloc(size);
      await delay(0);
      throw new Error("the line went dead");
    }
    await expect(store.put(bucket, "k", broken(10))).rejects.toThrow();
    await expect(store.put(bucket, "k", broken(500_000))).rejects.toThrow();
    expect(await textOf("k")).toBe("old");
  });

  test("are checked against the checksum that was given", async () => {
    for (const size of [10, 100_000]) {
      const bytes = randomBytes(size);
      for (const algorithm of ["md5", "sha1", "sha256", "sha384", "sha512"] as const) {
        const right = createHash(algorithm).update(bytes).digest("hex");
        const wrong = right.replace(/./, (digit) => (digit === "0" ? "1" : "0"));
        const key = `${algorithm} ${size}`;
        expect(await codeOf(store.put(bucket, key, bytes, { checksums: { [algorithm]: wrong } }))).toBe(10037);
        expect(await store.head(bucket, key)).toBeUndefined();
        const stored = await store.put(bucket, key, streamed(bytes), { checksums: { [algorithm]: right } });
        expect(stored.checksums).toEqual({ md5: md5(bytes), [algorithm]: right });
        expect((await store.head(bucket, key))?.checksums).toEqual(stored.checksums);
      }
    }
  });

  describe("ranges", () => {
    test.each([10, 300_000])("of an object of %i bytes", async (size) => {
      const bytes = randomBytes(size);
      await store.put(bucket, "k", bytes);
      const ranges = [
        { offset: 0 },
        { offset: 3 },
        { length: 4 },
        { offset: size - 1, length: 1 },
        { offset: 2, length: size * 2 },
        { suffix: 3 },
        { suffix: size * 2 },
        { offset: Math.floor(size / 2), length: Math.floor(size / 3) },
        { header: "bytes=1-3" },
        { header: `bytes=${size - 2}-` },
        { header: "bytes=-4" },
        { header: `bytes=0-${size * 2}` },
      ];
      for (const range of ranges) {
        const found = await store.get(bucket, "k", { range });
        const { offset, length } = found?.content?.range ?? { offset: -1, length: -1 };
        const from =
          "suffix" in range ? Math.max(0, size - range.suffix) : "offset" in range ? range.offset : undefined;
        if (from !== undefined) expect(offset).toBe(from);
        expect((await bytesOf(found))?.equals(bytes.subarray(offset, offset + length))).toBe(true);
      }
    });

    test("that cannot be satisfied are refused, but headers mean the whole object then", async () => {
      await put("k", "0123456789");
      const unsatisfiable = [{ offset: 11 }, { offset: 10 }, { length: 0 }, { suffix: 0 }];
      for (const range of unsatisfiable) expect(await codeOf(store.get(bucket, "k", { range }))).toBe(10039);
      const whole = ["bytes=10-", "bytes=5-4", "bytes=0-1,3-4", "chars=0-1", "bytes=", "bytes=-", "bytes=-0", "x"];
      for (const header of whole) {
        const found = await store.get(bucket, "k", { range: { header } });
        expect([header, found?.content?.range]).toEqual([header, { offset: 0, length: 10 }]);
      }
      await put("empty", "");
      expect(await codeOf(store.get(bucket, "empty", { range: { offset: 0 } }))).toBe(10039);
      expect((await store.get(bucket, "empty", { range: { header: "bytes=0-" } }))?.content?.range.length).toBe(0);
    });
  });
}
