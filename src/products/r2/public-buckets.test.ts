import { mkdtempSync, rmSync } from "node:fs";
import { request, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import { r2PlatformHandler } from "#products/r2/platform.ts";
import type { CorsRule } from "#products/r2/settings.ts";
import { openR2Store, type SqliteR2Store } from "#products/r2/sqlite-store.ts";

const ref = { accountId: "a".repeat(32), name: "shown", jurisdiction: "default" } as const;
let folder: string;
let store: SqliteR2Store;
let server: WireServer;
let host: string;
let etag: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-r2p-"));
  const paths = { db: join(folder, "r2.db"), blobs: join(folder, "r2") };
  store = await openR2Store({ ...paths, sealKey: Buffer.alloc(32, 1) });
  const { id } = await store.createBucket(ref);
  host = `pub-${id}.r2.example.com`;
  await store.settings.set(ref, "devUrl", true);
  ({ etag } = await store.put(id, "a b/ü", Buffer.from("0123456789"), { httpMetadata: { contentType: "text/plain" } }));
  await store.put(id, "secret", Buffer.from("x"), { customerKey: "0".repeat(64) });
  server = createWireServer(r2PlatformHandler({ store, appDomain: "example.com", endpoint: "s3.example.com" }));
  await server.listen(join(folder, "s"));
});
afterAll(async () => {
  await server.close();
  await store.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => store.settings.set(ref, "cors"));

type Answer = { status: number; headers: IncomingHttpHeaders; body: string };
async function ask(method: string, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const outgoing = request({ socketPath: join(folder, "s"), method, path, headers: { host, ...headers } }).end();
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
}
const path = encodeURI("/a b/ü");

describe("an object of a public bucket", () => {
  test("is looked up once for a GET of all of it", async () => {
    using heads = vi.spyOn(store, "head");
    using gets = vi.spyOn(store, "get");
    expect(await ask("GET", path)).toMatchObject({ status: 200, body: "0123456789" });
    expect([heads.mock.calls.length, gets.mock.calls.length]).toEqual([0, 1]);
    expect(await ask("GET", path, { "if-none-match": `"${etag}"` })).toMatchObject({ status: 304, body: "" });
    expect([heads.mock.calls.length, gets.mock.calls.length]).toEqual([1, 1]);
  });

  test("is read, whole or in part, by GET and HEAD", async () => {
    expect(await ask("GET", path)).toMatchObject({
      status: 200,
      body: "0123456789",
      headers: { etag: `"${etag}"`, "content-type": "text/plain", "content-length": "10", "accept-ranges": "bytes" },
    });
    expect(await ask("HEAD", path)).toMatchObject({ status: 200, body: "", headers: { "content-length": "10" } });
    expect(await ask("GET", path, { range: "bytes=-4" })).toMatchObject({ status: 206, body: "6789" });
    expect(await ask("GET", path, { range: "bytes=10-" })).toMatchObject({ status: 416 });
    expect(await ask("GET", path, { range: "lines=1-2" })).toMatchObject({ status: 200, body: "0123456789" });
    expect(await ask("GET", `${path}?v=2`)).toMatchObject({ status: 200 });
  });

  test("is read under conditions", async () => {
    const date = new Date(Date.now() + 1000).toUTCString();
    expect(await ask("GET", path, { "if-none-match": `W/"${etag}"` })).toMatchObject({ status: 304, body: "" });
    expect(await ask("GET", path, { "if-modified-since": date })).toMatchObject({ status: 304 });
    expect(await ask("GET", path, { "if-match": '"other"' })).toMatchObject({ status: 412 });
    expect(await ask("GET", path, { "if-modified-since": "soon" })).toMatchObject({ status: 200 });
    expect(await ask("GET", path, { range: "bytes=0-1", "if-range": `"${etag}"` })).toMatchObject({ status: 206 });
    expect(await ask("GET", path, { range: "bytes=0-1", "if-range": '"other"' })).toMatchObject({ status: 200 });
  });

  test("is the only thing that is shown, and nothing can be changed", async () => {
    for (const other of ["/", "/gone", "/%ff", "/secret"])
      expect((await ask("GET", other)).status).toBeGreaterThan(400);
    expect(await ask("PUT", "/new")).toMatchObject({ status: 405, headers: { allow: "GET, HEAD, OPTIONS" } });
    expect(await ask("DELETE", path)).toMatchObject({ status: 405 });
    expect(await ask("GET", path, { host: `pub-${"0".repeat(32)}.r2.example.com` })).toMatchObject({ status: 404 });
  });
});

describe("another origin", () => {
  const rule: CorsRule = {
    allowed: { origins: ["https://*.site.example"], methods: ["GET"], headers: ["x-a", "x-b-*"] },
    exposeHeaders: ["etag"],
    maxAgeSeconds: 60,
  };
  const origin = "https://www.site.example";
  const asked = { origin, "access-control-request-method": "GET", "access-control-request-headers": "X-A, x-b-c" };

  test("is told what the rules allow, and nothing without them", async () => {
    expect((await ask("GET", path, { origin })).headers).not.toHaveProperty("access-control-allow-origin");
    expect(await ask("OPTIONS", path, asked)).toMatchObject({ status: 403 });
    await store.settings.set(ref, "cors", [rule]);
    expect(await ask("OPTIONS", path, asked)).toMatchObject({
      status: 204,
      headers: {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET",
        "access-control-allow-headers": "x-a, x-b-c",
        "access-control-max-age": "60",
      },
    });
    for (const denied of [
      { ...asked, origin: "https://site.example.evil" },
      { ...asked, "access-control-request-method": "PUT" },
      { ...asked, "access-control-request-headers": "x-c" },
    ])
      expect(await ask("OPTIONS", path, denied)).toMatchObject({ status: 403 });
    expect((await ask("GET", path, { origin })).headers).toMatchObject({
      "access-control-allow-origin": origin,
      "access-control-expose-headers": "etag",
      vary: "Origin",
    });
  });

  test("asks the S3 endpoint before it signs, and reads its errors", async () => {
    await store.settings.set(ref, "cors", [rule]);
    const s3 = { host: "s3.example.com" };
    expect(await ask("OPTIONS", "/shown/k", { ...asked, ...s3 })).toMatchObject({ status: 204 });
    expect(await ask("OPTIONS", "/k", { ...asked, host: "shown.s3.example.com" })).toMatchObject({ status: 204 });
    expect(await ask("OPTIONS", "/other/k", { ...asked, ...s3 })).toMatchObject({ status: 403 });
  });
});
