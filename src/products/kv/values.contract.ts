import { describe, expect, test } from "vitest";
import { limits } from "#products/kv/schema.ts";
import { bytesOf, failure, inPieces, pattern, type KvSuite } from "#products/kv/suite.contract.ts";

/** Values of every size, and what is known of them. */
export function valuesContract(kv: KvSuite): void {
  describe("values", () => {
    test("come back as they were written, of every size and in every form", async () => {
      const sizes = [0, 1, limits.rowBytes, limits.rowBytes + 1, 70_000, limits.inlineBytes, limits.inlineBytes + 1];
      for (const size of [...sizes, limits.blockBytes * 5, limits.valueBytes]) {
        const value = pattern(size);
        await kv.store.put(kv.space, `whole ${size}`, { body: value });
        await kv.store.put(kv.space, `pieces ${size}`, { body: inPieces(value, 50_000) });
        await kv.store.put(kv.space, `sized ${size}`, { body: inPieces(value, 300_000), sizeBytes: size });
        for (const way of ["whole", "pieces", "sized"]) {
          const got = await kv.store.get(kv.space, `${way} ${size}`);
          expect(got?.sizeBytes).toBe(size);
          expect(Buffer.compare(await bytesOf(got?.body), value)).toBe(0);
        }
      }
    });

    test("are replaced whole, from any size to any other", async () => {
      const sizes = [10, 5_000_000, 1000, 0, 2_000_000, 3_000_000, 100_000, 150];
      for (const size of sizes) {
        await kv.store.put(kv.space, "k", { body: pattern(size), metadata: String(size) });
        const got = await kv.store.get(kv.space, "k");
        expect(got).toMatchObject({ sizeBytes: size, metadata: String(size) });
        expect(Buffer.compare(await bytesOf(got?.body), pattern(size))).toBe(0);
      }
    });

    test("that are views of a larger buffer are written without their neighbours", async () => {
      const slab = Buffer.from("secret-value-secret");
      await kv.store.put(kv.space, "k", { body: slab.subarray(7, 12) });
      expect(await kv.text("k")).toBe("value");
    });

    test("that nobody wrote are undefined, and deleting them is fine", async () => {
      expect(await kv.store.get(kv.space, "nothing")).toBeUndefined();
      expect(await kv.store.getInfo(kv.space, "nothing")).toBeUndefined();
      await kv.store.delete(kv.space, "nothing");
      await kv.put("k", "v");
      await kv.store.delete(kv.space, "k");
      expect(await kv.store.get(kv.space, "k")).toBeUndefined();
    });

    test("past the limit are refused and leave what was there", async () => {
      await kv.put("k", "before");
      const refused = failure(413, 10024, /^Value length of 26214401 exceeds limit of 26214400\.$/);
      const tooLong = Buffer.alloc(limits.valueBytes + 1);
      await expect(kv.store.put(kv.space, "k", { body: tooLong })).rejects.toThrow(refused);
      await expect(kv.store.put(kv.space, "k", { body: inPieces(tooLong, 1_000_000) })).rejects.toThrow(
        failure(413, 10024),
      );
      await expect(
        kv.store.put(kv.space, "k", { body: inPieces(Buffer.alloc(1), 1), sizeBytes: tooLong.length }),
      ).rejects.toThrow(refused);
      expect(await kv.text("k")).toBe("before");
    });

    test("whose source fails are not written, not even in part", async () => {
      await kv.put("k", "before");
      const broken = async function* () {
        yield pattern(3_000_000);
        throw new Error("the source broke");
      };
      await expect(kv.store.put(kv.space, "k", { body: broken() })).rejects.toThrow();
      await expect(kv.store.put(kv.space, "new", { body: broken() })).rejects.toThrow();
      expect(await kv.text("k")).toBe("before");
      expect(await kv.store.get(kv.space, "new")).toBeUndefined();
    });

    test("can be replaced while someone reads them", async () => {
      const old = pattern(4_000_000);
      await kv.store.put(kv.space, "k", { body: old });
      const reading = await kv.store.get(kv.space, "k");
      await kv.store.put(kv.space, "k", { body: Buffer.from("new") });
      expect(Buffer.compare(await bytesOf(reading?.body), old)).toBe(0);
      expect(await kv.text("k")).toBe("new");
    });

    test("stream: a reader that stops early costs nothing and stops nobody", async () => {
      await kv.store.put(kv.space, "k", { body: pattern(4_000_000) });
      for (let n = 0; n < 100; n++) {
        const value = await kv.store.get(kv.space, "k");
        if (value && !(value.body instanceof Uint8Array)) for await (const _ of value.body) break;
      }
      expect((await bytesOf((await kv.store.get(kv.space, "k"))?.body)).length).toBe(4_000_000);
    });

    test("many writers of one key leave one of their values, whole", async () => {
      const sizes = Array.from({ length: 20 }, (_, n) => 10 + n * 150_000);
      await Promise.all(
        sizes.map((size) => kv.store.put(kv.space, "k", { body: pattern(size), metadata: String(size) })),
      );
      const got = await kv.store.get(kv.space, "k");
      expect(Buffer.compare(await bytesOf(got?.body), pattern(Number(got?.metadata)))).toBe(0);
    });
  });

  describe("metadata", () => {
    test("is kept with the value and read without it", async () => {
      await kv.put("k", "value", { metadata: '{"né":"😀"}' });
      expect(await kv.store.getInfo(kv.space, "k")).toEqual({ sizeBytes: 5, metadata: '{"né":"😀"}' });
      await kv.put("k", "value");
      expect(await kv.store.getInfo(kv.space, "k")).toEqual({ sizeBytes: 5 });
    });

    test("fits into a header, whatever blanks its writer used", async () => {
      await kv.put("k", "v", { metadata: '{\r\n\t"a": "b\x7f"\n}' });
      const { metadata = "" } = (await kv.store.getInfo(kv.space, "k")) ?? {};
      expect(metadata).toMatch(/^[ -~]+$/);
      expect(JSON.parse(metadata)).toEqual({ a: "b\x7f" });
    });

    test("past 1024 bytes, or not JSON, is refused", async () => {
      await kv.put("k", "v", { metadata: JSON.stringify("x".repeat(1022)) });
      const tooLong = kv.put("k", "v", { metadata: JSON.stringify("é".repeat(512)) });
      await expect(tooLong).rejects.toThrow(failure(413, 10047, "Metadata length of 1026 exceeds limit of 1024."));
      await expect(kv.put("k", "v", { metadata: "{" })).rejects.toThrow(failure(400, 10147));
    });
  });
}
