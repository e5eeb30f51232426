import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { EdgeCache, type EdgeLocation } from "#products/kv/edge-cache.ts";
import { limits } from "#products/kv/schema.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import type { KvStore } from "#products/kv/store.ts";
import { bytesOf, start } from "#products/kv/suite.contract.ts";

/** What https://developers.cloudflare.com/kv/concepts/how-kv-works/ and kv/api/read-key-value-pairs say of `cacheTtl`. */
let folder: string;
let store: KvStore & AsyncDisposable;
let seconds = start;
let space: { boundNamespaceId: string };
let here: EdgeLocation;
let there: EdgeLocation;
let opened = 0;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-kv-"));
  store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv"), now: () => seconds * 1000 });
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
beforeEach(async () => {
  seconds = start;
  const { id } = await store.createNamespace("acme", `namespace ${++opened}`);
  space = { boundNamespaceId: id };
  const cache = new EdgeCache(store, () => seconds * 1000);
  here = cache.location("here");
  there = cache.location("there");
});

const put = async (at: EdgeLocation | undefined, key: string, value: string | Buffer, expirationTtl?: string) => {
  await store.put(space, key, { body: Buffer.from(value), expirationTtl });
  at?.wrote(space, key);
};
const read = async (at: EdgeLocation, key: string, ttlSeconds?: number) => {
  const { value, cached } = await at.get(space, key, ttlSeconds);
  return [value && (await bytesOf(value.body)).toString(), cached ? "HIT" : "MISS"];
};

test("a location goes on reading what it has cached for 60 seconds, and sees its own writes at once", async () => {
  await put(here, "k", "old");
  expect(await read(there, "k")).toEqual(["old", "MISS"]);
  await put(here, "k", "new");
  expect(await read(here, "k")).toEqual(["new", "MISS"]);
  seconds += 59;
  expect(await read(there, "k")).toEqual(["old", "HIT"]);
  seconds += 1;
  expect(await read(there, "k")).toEqual(["new", "MISS"]);
});

test("that a key is missing is cached as well", async () => {
  expect(await read(there, "k")).toEqual([undefined, "MISS"]);
  await put(here, "k", "v");
  seconds += 59;
  expect(await read(there, "k")).toEqual([undefined, "HIT"]);
  seconds += 1;
  expect(await read(there, "k")).toEqual(["v", "MISS"]);
});

test("cacheTtl lengthens how long, and a later read with a shorter one is answered anew", async () => {
  await put(here, "k", "old");
  await read(there, "k", 3600);
  await put(here, "k", "new");
  seconds += 600;
  expect(await read(there, "k", 3600)).toEqual(["old", "HIT"]);
  expect(await read(there, "k", 300)).toEqual(["new", "MISS"]);
});

test("a cached value ends when its time is over", async () => {
  await put(here, "k", "v", "60");
  expect(await read(there, "k", 3600)).toEqual(["v", "MISS"]);
  seconds += 59;
  expect(await read(there, "k", 3600)).toEqual(["v", "HIT"]);
  seconds += 1;
  expect(await read(there, "k", 3600)).toEqual([undefined, "HIT"]);
});

test("a bulk get mixes what is cached with what is not", async () => {
  await put(here, "a", "1");
  await read(there, "a");
  await put(here, "a", "2");
  await put(here, "b", "3");
  const values = await there.getMany(space, ["a", "none", "b"]);
  expect(values.map((value) => value && Buffer.from(value.body).toString())).toEqual(["1", undefined, "3"]);
  await put(here, "none", "4");
  expect(await read(there, "none")).toEqual([undefined, "HIT"]);
});

test("memory is bounded: the oldest go, and large values are not kept", async () => {
  const large = Buffer.alloc(limits.inlineBytes, 1);
  await store.put(space, "large", { body: large });
  const count = limits.edgeBytes / limits.inlineBytes + 1;
  for (let n = 0; n < count; n++) await store.put(space, `k${n}`, { body: large });
  for (let n = 0; n < count; n++) await there.get(space, `k${n}`);
  expect((await there.get(space, "k1")).cached).toBe(true);
  expect((await there.get(space, "k0")).cached).toBe(false);
  await store.put(space, "huge", { body: Buffer.alloc(limits.inlineBytes + 1) });
  await there.get(space, "huge");
  expect((await there.get(space, "huge")).cached).toBe(false);
});
