import { describe, expect, test } from "vitest";
import { limits } from "#products/kv/schema.ts";
import { bytesOf, failure, pairs, pattern, start, type KvSuite } from "#products/kv/suite.contract.ts";

/** Many keys at once. */
export function bulkContract(kv: KvSuite): void {
  describe("bulk", () => {
    test("get answers in the order asked for, with what is known of each", async () => {
      await kv.put("a", "1", { metadata: "[1]" });
      await kv.store.put(kv.space, "large", { body: pattern(1_500_000) });
      await kv.put("empty", "");
      const got = await kv.store.getMany(kv.space, ["none", "large", "a", "empty", "a"]);
      expect(got.map((value) => value?.sizeBytes)).toEqual([undefined, 1_500_000, 1, 0, 1]);
      expect(got[2]).toEqual({ sizeBytes: 1, metadata: "[1]", body: expect.any(Uint8Array) });
      expect(Buffer.compare(got[1]?.body ?? Buffer.alloc(0), pattern(1_500_000))).toBe(0);
    });

    test("get refuses no key, too many keys and too many bytes", async () => {
      const key = (n: number) => `k${n}`;
      await expect(kv.store.getMany(kv.space, [])).rejects.toThrow(failure(400, 10029));
      const tooMany = Array.from({ length: 101 }, (_, n) => key(n));
      await expect(kv.store.getMany(kv.space, tooMany)).rejects.toThrow(
        failure(400, 10029, "You can request a maximum of 100 keys"),
      );
      await kv.store.put(kv.space, "half", { body: Buffer.alloc(limits.valueBytes / 2 + 1) });
      await expect(kv.store.getMany(kv.space, ["half", "half"])).rejects.toThrow(
        failure(413, 10029, "Total size of request exceeds the limit of 25MB"),
      );
    });

    test("put writes every pair, large ones too", async () => {
      const many = Array.from({ length: 3000 }, (_, n) => ({ key: `k${n}`, value: Buffer.from(`v${n}`) }));
      const large = { key: "large", value: pattern(2_000_000), metadata: '"m"', expirationTtl: "60" };
      await kv.store.putMany(kv.space, [...many, large]);
      expect(await kv.text("k0")).toBe("v0");
      expect(await kv.text("k2999")).toBe("v2999");
      const got = await kv.store.get(kv.space, "large");
      expect(got).toMatchObject({ metadata: '"m"', expiration: start + 60 });
      expect(Buffer.compare(await bytesOf(got?.body), large.value)).toBe(0);
    });

    test("put writes all pairs or none", async () => {
      await kv.put("first", "before");
      const attempt = kv.store.putMany(kv.space, [
        ...pairs({ first: "after", second: "after" }),
        { key: "third", value: Buffer.from("v"), expirationTtl: "1" },
      ]);
      await expect(attempt).rejects.toThrow(failure(400, 10034));
      expect(await kv.text("first")).toBe("before");
      expect(await kv.names()).toEqual(["first"]);
    });

    test("put takes more than one atomic part", async () => {
      const value = pattern(900_000);
      const many = Array.from({ length: 40 }, (_, n) => ({ key: `k${String(n).padStart(2, "0")}`, value }));
      await kv.store.putMany(kv.space, many);
      expect(await kv.names()).toEqual(many.map(({ key }) => key));
      expect(Buffer.compare(await bytesOf((await kv.store.get(kv.space, "k39"))?.body), value)).toBe(0);
    });

    test("put of nothing does nothing", async () => {
      await kv.store.putMany(kv.space, []);
      expect(await kv.names()).toEqual([]);
    });

    test("delete removes the keys that are there", async () => {
      await kv.store.putMany(kv.space, pairs({ a: "1", b: "2", c: "3" }));
      await kv.store.deleteMany(kv.space, ["a", "nothing", "c"]);
      expect(await kv.names()).toEqual(["b"]);
      const tooMany = Array.from({ length: limits.bulkWriteKeys + 1 }, (_, n) => `k${n}`);
      await expect(kv.store.deleteMany(kv.space, tooMany)).rejects.toThrow(failure(400, 10029));
    });
  });
}
