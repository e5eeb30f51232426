import { beforeEach, expect, test } from "vitest";
import { codeOf, type ContractContext } from "#products/r2/harness.contract.ts";
import type { ListOptions } from "#products/r2/schema.ts";
import type { R2Store } from "#products/r2/store.ts";

/** What every list holds. */
export function listsContract(context: () => ContractContext): void {
  let store: R2Store;
  let bucket: string;
  beforeEach(() => ({ store, bucket } = context()));
  const put = (key: string, text = key) => store.put(bucket, key, Buffer.from(text));

  const list = async (options: ListOptions = {}) => {
    const { objects, delimitedPrefixes, truncated } = await store.list(bucket, options);
    return [objects.map(({ key }) => key), delimitedPrefixes, truncated];
  };
  /** Every page, and what is on them in order. */
  const walk = async (options: ListOptions) => {
    const pages: string[][] = [];
    let cursor: string | undefined;
    do {
      const page = await store.list(bucket, { ...options, ...(cursor === undefined ? {} : { cursor }) });
      pages.push([...page.objects.map(({ key }) => key), ...page.delimitedPrefixes].toSorted());
      expect(page.cursor !== undefined).toBe(page.truncated);
      cursor = page.cursor;
    } while (cursor !== undefined);
    return pages;
  };

  test("follow the bytes of the keys", async () => {
    const keys = ["b", "a", "B", "ab", "a/b", "é", "z", "👻", "\uffff"];
    for (const key of keys) await put(key);
    const sorted = ["B", "a", "a/b", "ab", "b", "z", "é", "\uffff", "👻"];
    expect(await list()).toEqual([sorted, [], false]);
    expect(await list({ prefix: "a" })).toEqual([["a", "a/b", "ab"], [], false]);
    expect(await list({ startAfter: "a/b" })).toEqual([sorted.slice(3), [], false]);
    expect(await list({ startAfter: "a/c", prefix: "a" })).toEqual([["ab"], [], false]);
    expect(await list({ prefix: "none" })).toEqual([[], [], false]);
    expect(await list({ cursor: "bad" })).toEqual([[], [], false]);
    expect(await list({ limit: 2 })).toEqual([["B", "a"], [], true]);
    expect(await walk({ limit: 4 })).toEqual([sorted.slice(0, 4), sorted.slice(4, 8).toSorted(), sorted.slice(8)]);
    expect(await list({ limit: 9 })).toEqual([sorted, [], false]);
  });

  test("fold keys at the delimiter", async () => {
    const keys = ["a", "dir/1", "dir/2", "dir/sub/3", "e", "other/1", "x//y", "x/z"];
    for (const key of keys) await put(key);
    expect(await list({ delimiter: "/" })).toEqual([["a", "e"], ["dir/", "other/", "x/"], false]);
    expect(await list({ delimiter: "/", prefix: "dir/" })).toEqual([["dir/1", "dir/2"], ["dir/sub/"], false]);
    expect(await list({ delimiter: "/", prefix: "dir" })).toEqual([[], ["dir/"], false]);
    expect(await list({ delimiter: "/", prefix: "x/" })).toEqual([["x/z"], ["x//"], false]);
    expect(await list({ delimiter: "//" })).toEqual([keys.filter((key) => key !== "x//y"), ["x//"], false]);
    expect(await list({ delimiter: "/", startAfter: "dir/1" })).toEqual([["e"], ["dir/", "other/", "x/"], false]);
    expect(await list({ delimiter: "" })).toEqual([keys, [], false]);
    for (const limit of [1, 2, 3, 4, 5, 6]) {
      expect((await walk({ delimiter: "/", limit })).flat().toSorted()).toEqual(["a", "dir/", "e", "other/", "x/"]);
    }
  });

  test("pass over a folder of any size to what follows it", async () => {
    await Promise.all(Array.from({ length: 500 }, (_, n) => put(`big/${n}`, "")));
    await put("zz");
    expect(await list({ delimiter: "/" })).toEqual([["zz"], ["big/"], false]);
    expect(await list({ delimiter: "/", limit: 1 })).toEqual([[], ["big/"], true]);
  });

  test("bring metadata when it is asked for", async () => {
    const options = { httpMetadata: { contentType: "text/plain" }, customMetadata: { a: "b" } };
    const stored = await store.put(bucket, "k", Buffer.from("x"), options);
    const { httpMetadata, customMetadata, ...rest } = stored;
    const only = async (include: ListOptions) => (await store.list(bucket, include)).objects[0];
    expect(await only({})).toEqual(rest);
    expect(await only({ includeHttp: true })).toEqual({ ...rest, httpMetadata });
    expect(await only({ includeHttp: true, includeCustom: true })).toEqual({ ...rest, httpMetadata, customMetadata });
  });

  test("stop early when what they bring is large, and say so", async () => {
    const customMetadata = { k: "v".repeat(8000) };
    await Promise.all(
      Array.from({ length: 300 }, (_, n) => store.put(bucket, `${n}`, Buffer.from(""), { customMetadata })),
    );
    const pages = await walk({ includeCustom: true });
    expect(pages.length).toBeGreaterThan(2);
    expect(new Set(pages.flat()).size).toBe(300);
    expect((await walk({})).length).toBe(1);
  });

  test("take limits from 1 to 1000", async () => {
    expect(await codeOf(store.list(bucket, { limit: 0 }))).toBe(10022);
    expect(await codeOf(store.list(bucket, { limit: 1001 }))).toBe(10022);
    await Promise.all(Array.from({ length: 1001 }, (_, n) => put(`${n}`, "")));
    const { objects, truncated } = await store.list(bucket);
    expect([objects.length, truncated]).toEqual([1000, true]);
  });
}
