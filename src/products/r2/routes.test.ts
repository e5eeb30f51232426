import { randomBytes, createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createApi, type Api } from "#http/app.ts";
import type { Envelope } from "#http/envelope.ts";
import { r2Routes } from "#products/r2/routes.ts";
import { openR2Store, type SqliteR2Store } from "#products/r2/sqlite-store.ts";
import { r2TestParts } from "../../../test/support/r2-parts.ts";

let folder: string;
let store: SqliteR2Store;
let app: Api;
let account: string;
let accounts = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-r2-routes-"));
  store = await openR2Store({ db: join(folder, "r2.db"), blobs: join(folder, "r2"), sealKey: Buffer.alloc(32, 1) });
  app = createApi();
  app.route("/accounts/:account_id/r2", r2Routes(r2TestParts(store, store.settings)));
});
afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  account = `account${accounts++}`;
});

type Init = { method?: string; headers?: Record<string, string>; body?: string | Uint8Array<ArrayBuffer> };
const send = async (path: string, init: Init = {}) => app.request(`/accounts/${account}/r2${path}`, init);
const call = async <T = unknown>(path: string, init: Init = {}): Promise<Envelope<T> & { status: number }> => {
  const response = await send(path, init);
  return { status: response.status, ...((await response.json()) as Envelope<T>) };
};
const create = (body: object, headers: Record<string, string> = {}) =>
  call("/buckets", { method: "POST", headers, body: JSON.stringify(body) });
const refusal = (status: number, code: number) =>
  expect.objectContaining({ status, success: false, errors: [expect.objectContaining({ code })] });

describe("buckets", () => {
  test("are created, shown, changed and deleted", async () => {
    expect(await create({ name: "first", storageClass: "InfrequentAccess", locationHint: "WEUR" })).toMatchObject({
      status: 200,
      result: {
        name: "first",
        creation_date: expect.stringMatching(/^\d{4}-.*Z$/),
        location: "weur",
        storage_class: "InfrequentAccess",
        jurisdiction: "default",
      },
    });
    const patched = await call("/buckets/first", { method: "PATCH", headers: { "cf-r2-storage-class": "Standard" } });
    expect(patched).toMatchObject({ status: 200, result: { name: "first", storage_class: "Standard" } });
    expect(await call("/buckets/first")).toMatchObject({ status: 200, result: patched.result });
    expect(await call("/buckets/first", { method: "DELETE" })).toMatchObject({ status: 200, result: {} });
    expect(await call("/buckets/first")).toEqual(refusal(404, 10006));
  });

  test("that exist, have no good name or an unknown class or jurisdiction are refused", async () => {
    await create({ name: "taken" });
    expect(await create({ name: "taken" })).toEqual(refusal(409, 10004));
    expect(await create({ name: "Not good" })).toEqual(refusal(400, 10005));
    expect(await create({ name: "good", storageClass: "Glacier" })).toMatchObject({ status: 400 });
    expect(await create({ name: "good" }, { "cf-r2-jurisdiction": "moon" })).toEqual(refusal(400, 10029));
    expect(await call("/buckets/taken", { method: "PATCH" })).toEqual(refusal(400, 10029));
    const headers = { "cf-r2-storage-class": "Glacier" };
    expect(await call("/buckets/taken", { method: "PATCH", headers })).toEqual(refusal(400, 10029));
    for (const name of ["none", "Not%20good", "%E0%A4%A"]) {
      expect((await call(`/buckets/${name}`)).status).toBeGreaterThanOrEqual(400);
    }
  });

  test("are apart by jurisdiction", async () => {
    const eu = { "cf-r2-jurisdiction": "eu" };
    await create({ name: "twice" });
    await create({ name: "twice" }, eu);
    expect(await call("/buckets/twice", { headers: eu })).toMatchObject({ result: { jurisdiction: "eu" } });
    await send("/buckets/twice/objects/k", { method: "PUT", headers: eu, body: "in eu" });
    expect(await call("/buckets/twice/objects/k")).toEqual(refusal(404, 10007));
    expect(await (await send("/buckets/twice/objects/k", { headers: eu })).text()).toBe("in eu");
    expect(await call("/buckets/twice", { method: "DELETE", headers: eu })).toEqual(refusal(409, 10008));
    expect(await call("/buckets/twice", { method: "DELETE" })).toMatchObject({ status: 200 });
  });

  test("are listed all at once or in pages", async () => {
    for (const name of ["ccc", "aaa", "bbb"]) await create({ name });
    const list = async (query: string) => {
      const { result, result_info: info } = await call<{ buckets: { name: string }[] }>(`/buckets${query}`);
      return [result.buckets.map(({ name }) => name), info?.cursor] as const;
    };
    expect(await list("")).toEqual([["aaa", "bbb", "ccc"], ""]);
    expect(await list("?direction=desc&order=name")).toEqual([["ccc", "bbb", "aaa"], ""]);
    expect(await list("?name_contains=b")).toEqual([["bbb"], ""]);
    const [first, cursor] = await list("?per_page=2");
    expect(first).toEqual(["aaa", "bbb"]);
    expect(await list(`?per_page=2&cursor=${cursor}`)).toEqual([["ccc"], ""]);
    expect(await list("?start_after=aaa")).toEqual([["bbb", "ccc"], ""]);
    expect(await call("/buckets?per_page=0")).toEqual(refusal(400, 10029));
  });
});

describe("objects", () => {
  beforeEach(async () => {
    await create({ name: "objects" });
  });
  const at = (key: string) => `/buckets/objects/objects/${key}`;
  const put = (key: string, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
    call(at(key), { method: "PUT", headers, body });

  test("go in and come out with their headers", async () => {
    const headers = {
      "content-type": "text/html",
      "cache-control": "max-age=60",
      "content-disposition": 'attachment; filename="a.html"',
      "content-encoding": "br",
      "content-language": "de",
      expires: "Fri, 24 Feb 2023 00:00:00 GMT",
    };
    const etag = createHash("md5").update("<p>").digest("hex");
    expect(await put("k", "<p>", { ...headers, "cf-r2-storage-class": "InfrequentAccess" })).toMatchObject({
      status: 200,
      result: { key: "k", size: "3", etag, storage_class: "InfrequentAccess", version: expect.any(String) },
    });
    const response = await send(at("k"));
    expect(await response.text()).toBe("<p>");
    expect(Object.fromEntries(response.headers)).toMatchObject({
      ...headers,
      etag: `"${etag}"`,
      "content-length": "3",
      "x-content-type-options": "nosniff",
      "content-security-policy": expect.stringContaining("sandbox"),
    });
    await put("plain", "x");
    expect((await send(at("plain"))).headers.get("content-type")).toBe(
      // What `fetch` sends of a text by itself.
      "text/plain;charset=UTF-8",
    );
  });

  test("of any size stream through", async () => {
    const bytes = randomBytes(2_000_000);
    await put("large", bytes);
    const response = await send(at("large"));
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true);
    const part = await send(at("large"), { headers: { range: "bytes=1999990-" } });
    expect([part.status, part.headers.get("content-range")]).toEqual([206, "bytes 1999990-1999999/2000000"]);
    expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(1_999_990))).toBe(true);
    await put("empty", "");
    expect(await (await send(at("empty"))).text()).toBe("");
  });

  // wrangler leaves the key in the path as it is, the URL parser escapes what it must; the SDK escapes slashes too.
  test.each([
    ["a/b//c", "a/b//c"],
    ["a%2Fb", "a/b"],
    ["%E2%82%AC%20%3F%23%25", "€ ?#%"],
    ["objects/objects/k", "objects/objects/k"],
    ["%252F", "%2F"],
  ])("have the key that %s names", async (path, key) => {
    expect(await put(path, key)).toMatchObject({ result: { key } });
    const { id } = await store.getBucket({ accountId: account, name: "objects", jurisdiction: "default" });
    expect(await store.head(id, key)).toMatchObject({ key });
    expect(await (await send(at(path))).text()).toBe(key);
    expect(await call(at(path), { method: "DELETE" })).toMatchObject({ status: 200, result: { key } });
    expect(await store.head(id, key)).toBeUndefined();
  });

  test("that are not there, or have no possible key, are refused", async () => {
    expect(await call(at("none"))).toEqual(refusal(404, 10007));
    expect(await call(at("none"), { method: "DELETE" })).toEqual(refusal(404, 10007));
    expect(await put("", "x")).toEqual(refusal(400, 10020));
    expect(await put("x".repeat(1025), "x")).toEqual(refusal(400, 10020));
    expect(await call(at("%E0%A4%A"))).toMatchObject({ status: 400 });
    expect(await put("k", "x", { expires: "soon" })).toEqual(refusal(400, 10029));
    for (const method of ["GET", "PUT", "DELETE"]) {
      const init = method === "PUT" ? { method, body: "x".repeat(200_000) } : { method };
      expect(await call("/buckets/none/objects/k", init)).toEqual(refusal(404, 10006));
    }
  });

  test("are not sent again to who has them", async () => {
    await put("k", "x");
    const first = await send(at("k"));
    const [etag, modified] = [first.headers.get("etag") ?? "", first.headers.get("last-modified") ?? ""];
    const statusFor = async (headers: Record<string, string>) => (await send(at("k"), { headers })).status;
    expect(await statusFor({ "if-none-match": etag })).toBe(304);
    expect(await statusFor({ "if-none-match": `"x", W/${etag}` })).toBe(304);
    expect(await statusFor({ "if-none-match": "*" })).toBe(304);
    expect(await statusFor({ "if-none-match": '"x"' })).toBe(200);
    expect(await statusFor({ "if-modified-since": modified })).toBe(304);
    expect(await statusFor({ "if-modified-since": "Fri, 24 Feb 2023 00:00:00 GMT" })).toBe(200);
  });

  test("are listed with their metadata, folded and in pages", async () => {
    for (const key of ["a", "d/1", "d/2", "e"]) await put(key, key, { "content-type": "a/b" });
    type Listed = { key: string }[];
    const list = async (query: string) => {
      const { result, result_info: info } = await call<Listed>(`/buckets/objects/objects${query}`);
      return [result.map(({ key }) => key), info] as const;
    };
    const { result } = await call<Listed>("/buckets/objects/objects");
    expect(result[0]).toMatchObject({
      key: "a",
      size: 1,
      etag: "0cc175b9c0f1b6a831c399e269772661",
      last_modified: expect.stringMatching(/Z$/),
      http_metadata: { contentType: "a/b" },
      custom_metadata: {},
      storage_class: "Standard",
    });
    expect(await list("?delimiter=/")).toEqual([["a", "e"], { cursor: "", is_truncated: false, delimited: ["d/"] }]);
    const [keys, info] = await list("?per_page=3");
    expect([keys, info?.is_truncated]).toEqual([["a", "d/1", "d/2"], true]);
    expect((await list(`?per_page=3&cursor=${info?.cursor}`))[0]).toEqual(["e"]);
    expect((await list("?prefix=d/&start_after=d/1"))[0]).toEqual(["d/2"]);
    expect(await call("/buckets/none/objects")).toEqual(refusal(404, 10006));
  });

  test("of another account are out of reach", async () => {
    await put("k", "secret");
    account = "other";
    expect(await call(at("k"))).toEqual(refusal(404, 10006));
  });
});
