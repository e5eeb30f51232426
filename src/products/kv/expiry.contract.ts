import { describe, expect, test } from "vitest";
import { limits } from "#products/kv/schema.ts";
import { failure, start, type KvSuite } from "#products/kv/suite.contract.ts";

/** When values end. */
export function expiryContract(kv: KvSuite): void {
  describe("expiry", () => {
    test("is exact to the second for get, bulk get and list", async () => {
      await kv.put("short", "v", { expirationTtl: "60" });
      await kv.store.put(kv.space, "at", { body: Buffer.from("v"), expiration: String(start + 90) });
      await kv.put("long", "v");
      expect(await kv.store.getInfo(kv.space, "short")).toEqual({ sizeBytes: 1, expiration: start + 60 });
      kv.seconds = start + 59;
      expect(await kv.names()).toEqual(["at", "long", "short"]);
      expect(await kv.text("short")).toBe("v");
      kv.seconds = start + 60;
      expect(await kv.text("short")).toBeUndefined();
      expect(await kv.store.getInfo(kv.space, "short")).toBeUndefined();
      expect((await kv.store.getMany(kv.space, ["short", "at"])).map((value) => value?.expiration)).toEqual([
        undefined,
        start + 90,
      ]);
      expect((await kv.store.list(kv.space, {})).keys).toEqual([
        { name: "at", expiration: start + 90 },
        { name: "long" },
      ]);
      kv.seconds = start + 90;
      expect(await kv.names()).toEqual(["long"]);
    });

    test("ends with the next write, and the ttl wins over the time", async () => {
      await kv.put("k", "1", { expirationTtl: "60" });
      await kv.put("k", "2");
      kv.seconds = start + 100;
      expect(await kv.text("k")).toBe("2");
      await kv.store.put(kv.space, "k", { body: Buffer.from("3"), expiration: "5", expirationTtl: "100" });
      expect(await kv.store.getInfo(kv.space, "k")).toMatchObject({ expiration: kv.seconds + 100 });
    });

    test.each([
      [{ expirationTtl: "59" }, "Invalid expiration_ttl of 59. Expiration TTL must be at least 60."],
      [{ expirationTtl: "0" }, "Invalid expiration_ttl of 0. Please specify integer greater than 0."],
      [{ expirationTtl: "soon" }, "Invalid expiration_ttl of soon. Please specify integer greater than 0."],
      [
        { expirationTtl: "9".repeat(30) },
        `Invalid expiration_ttl of ${"9".repeat(30)}. Please specify integer greater than 0.`,
      ],
      [
        { expiration: String(start) },
        `Invalid expiration of ${start}. Please specify integer greater than the current number of seconds since the UNIX epoch.`,
      ],
      [
        { expiration: String(start + 59) },
        `Invalid expiration of ${start + 59}. Expiration times must be at least 60 seconds in the future.`,
      ],
    ])("%j is refused", async (expiry, message) => {
      const attempt = kv.store.put(kv.space, "k", { body: Buffer.from("v"), ...expiry });
      await expect(attempt).rejects.toThrow(failure(400, "expiration" in expiry ? 10033 : 10034, message));
      expect(await kv.store.get(kv.space, "k")).toBeUndefined();
    });

    test("many expired keys do not hold up a list, and are swept away", async () => {
      const many = Array.from({ length: limits.listScan + 10 }, (_, n) => `a${String(n).padStart(6, "0")}`);
      await kv.store.putMany(
        kv.space,
        many.map((key) => ({ key, value: Buffer.from("v"), expirationTtl: "60" })),
      );
      await kv.put("b", "v");
      kv.seconds = start + 60;
      const found: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await kv.store.list(kv.space, { cursor });
        found.push(...page.keys.map((key) => key.name));
        cursor = page.cursor;
      } while (cursor !== undefined);
      expect(found).toEqual(["b"]);
    });
  });
}
