import { describe, expect, test } from "vitest";
import { failure, pairs, type KvSuite } from "#products/kv/suite.contract.ts";

/** Keys, and the lists of them. */
export function keysContract(kv: KvSuite): void {
  describe("keys", () => {
    const strange = [
      "a b",
      "a/b",
      "a%2Fb",
      "..a",
      "/../",
      "\0",
      "a\nb",
      "é",
      "e\u0301",
      "😀",
      "\uffff",
      "__proto__",
      "'",
    ];
    const longest = "é".repeat(256);

    test("are any text of 1 to 512 bytes, told apart byte by byte", async () => {
      for (const key of [...strange, longest]) await kv.put(key, key);
      for (const key of [...strange, longest]) expect(await kv.text(key)).toBe(key);
      expect((await kv.names()).toSorted()).toEqual([...strange, longest].toSorted());
      for (const key of strange) await kv.store.delete(kv.space, key);
      expect(await kv.names()).toEqual([longest]);
    });

    test.each([
      ["", 400, 10042, "Key names must not be empty"],
      [".", 400, 10042, 'Illegal key name ".". Please use a different name.'],
      ["..", 400, 10042, 'Illegal key name "..". Please use a different name.'],
      ["\ud800", 400, 10042, "Key names must be valid Unicode"],
      [`${longest}x`, 414, 10030, "UTF-8 encoded length of 513 exceeds key length limit of 512."],
    ])("%j is refused everywhere", async (key, status, code, message) => {
      const refused = failure(status, code, message);
      await expect(kv.store.get(kv.space, key)).rejects.toThrow(refused);
      await expect(kv.store.getInfo(kv.space, key)).rejects.toThrow(refused);
      await expect(kv.store.getMany(kv.space, ["ok", key])).rejects.toThrow(refused);
      await expect(kv.put(key, "v")).rejects.toThrow(refused);
      await expect(kv.store.delete(kv.space, key)).rejects.toThrow(refused);
      await expect(kv.store.putMany(kv.space, pairs({ ok: "v", [key]: "v" }))).rejects.toThrow(refused);
      await expect(kv.store.deleteMany(kv.space, ["ok", key])).rejects.toThrow(refused);
      expect(await kv.names()).toEqual([]);
    });
  });

  describe("lists", () => {
    test("are in the order of UTF-8 bytes", async () => {
      // UTF-16 order, which JavaScript sorts by, has the emoji before U+FFFF.
      const keys = ["A", "Z", "a", "aa", "b", "é", "\uffff", "😀"];
      for (const key of keys.toReversed()) await kv.put(key, "v");
      expect(await kv.names()).toEqual(keys);
    });

    test("take a prefix, whatever follows it", async () => {
      for (const key of ["a", "a/", "a/b", "a/\u{10ffff}", "a0", "b", "😀", "😀x"]) await kv.put(key, "v");
      expect(await kv.names({ prefix: "a/" })).toEqual(["a/", "a/b", "a/\u{10ffff}"]);
      expect(await kv.names({ prefix: "😀" })).toEqual(["😀", "😀x"]);
      expect(await kv.names({ prefix: "c" })).toEqual([]);
      expect(await kv.names({ prefix: "x".repeat(512) })).toEqual([]);
      const tooLong = kv.store.list(kv.space, { prefix: "x".repeat(513) });
      await expect(tooLong).rejects.toThrow(failure(414, 10030));
    });

    test("come in pages that say whether they are the last", async () => {
      for (let n = 0; n < 7; n++) await kv.put(`k${n}`, "v", { metadata: `{"n":${n}}` });
      const first = await kv.store.list(kv.space, { limit: 3 });
      expect(first.keys).toEqual([0, 1, 2].map((n) => ({ name: `k${n}`, metadata: `{"n":${n}}` })));
      const second = await kv.store.list(kv.space, { limit: 3, cursor: first.cursor });
      expect(second.keys.map((key) => key.name)).toEqual(["k3", "k4", "k5"]);
      const third = await kv.store.list(kv.space, { limit: 3, cursor: second.cursor });
      expect(third).toEqual({ keys: [{ name: "k6", metadata: '{"n":6}' }] });
      expect((await kv.store.list(kv.space, { limit: 7 })).cursor).toBeUndefined();
      const inPrefix = await kv.store.list(kv.space, { prefix: "k1", limit: 1 });
      expect(inPrefix).toEqual({ keys: [expect.objectContaining({ name: "k1" })] });
    });

    test("neither repeat nor skip a key that stays, whatever is written between two pages", async () => {
      for (let n = 0; n < 50; n++) await kv.put(`stay${String(n).padStart(2, "0")}`, "v");
      const seen: string[] = [];
      let cursor: string | undefined;
      let round = 0;
      do {
        const page = await kv.store.list(kv.space, { limit: 7, cursor });
        seen.push(...page.keys.map((key) => key.name).filter((key) => key.startsWith("stay")));
        cursor = page.cursor;
        await kv.put(`aaa${round}`, "v");
        await kv.put(`stay${round}x`, "v");
        await kv.store.delete(kv.space, page.keys.at(-1)?.name ?? "");
        await kv.store.delete(kv.space, `zzz${round++}`);
      } while (cursor !== undefined);
      const stayed = seen.filter((key) => /^stay\d\d$/.test(key));
      expect(stayed).toEqual(Array.from({ length: 50 }, (_, n) => `stay${String(n).padStart(2, "0")}`));
    });

    test.each([
      [{ limit: 0 }, 10028, "Invalid key_count_limit of 0. Please specify an integer greater than 0."],
      [{ limit: 1001 }, 10028, "Invalid key_count_limit of 1001. Please specify an integer less than 1000."],
      [{ cursor: "nonsense" }, 10041, "Invalid cursor"],
      [{ cursor: "w5/Dn8Of" }, 10041, "Invalid cursor"],
    ])("%j is refused", async (query, code, message) => {
      await expect(kv.store.list(kv.space, query)).rejects.toThrow(failure(400, code, message));
    });
  });
}
