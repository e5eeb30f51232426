import { execFile } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve, type ServerType } from "@hono/node-server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createApi } from "#http/app.ts";
import { storeClient, storeHandler } from "#http/store-rpc.ts";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import { r2Methods, remoteR2Store } from "#products/r2/remote.ts";
import { r2Routes } from "#products/r2/routes.ts";
import { openR2Store, type SqliteR2Store } from "#products/r2/sqlite-store.ts";
import { root } from "../support/r2-worker.ts";

/** The R2 commands of the wrangler that is installed and of an older one, against the routes and a store behind a socket. */
describe.each([["wrangler"], ["wrangler-4-125"]])("%s r2", (version) => {
  let folder: string;
  let store: SqliteR2Store;
  let rpc: WireServer;
  let server: ServerType;
  const accountId = "0123456789abcdef0123456789abcdef";

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "solum-r2-wrangler-"));
    store = await openR2Store({ db: join(folder, "r2.db"), blobs: join(folder, "r2") });
    rpc = createWireServer(storeHandler({ r2: r2Methods(store) }));
    await rpc.listen(join(folder, "s"));
    const app = createApi();
    app.route("/client/v4/accounts/:account_id/r2", r2Routes(remoteR2Store(storeClient(join(folder, "s")))));
    server = serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" });
    await once(server, "listening");
  });
  afterAll(async () => {
    server.close();
    if ("closeAllConnections" in server) server.closeAllConnections();
    await rpc.close();
    await store.close();
    rmSync(folder, { recursive: true });
  });

  const wrangler = async (...args: string[]) => {
    const { port } = server.address() as AddressInfo;
    const env = {
      PATH: process.env["PATH"],
      HOME: folder,
      CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${port}/client/v4`,
      CLOUDFLARE_API_TOKEN: "token",
      CLOUDFLARE_ACCOUNT_ID: accountId,
      WRANGLER_SEND_METRICS: "false",
      CI: "1",
    };
    const program = join(root, "node_modules", version, "bin/wrangler.js");
    return new Promise<{ failed: boolean; output: string }>((resolve) => {
      execFile(process.execPath, [program, "r2", ...args], { cwd: folder, env }, (error, stdout, stderr) =>
        resolve({ failed: error !== null, output: stdout + stderr }),
      );
    });
  };
  const succeeds = async (...args: string[]) => {
    const { failed, output } = await wrangler(...args);
    expect([output, failed]).toEqual([output, false]);
    return output;
  };

  test("manages buckets", async () => {
    expect(await succeeds("bucket", "create", "my-bucket", "--location", "weur")).toContain(
      "Created bucket 'my-bucket'",
    );
    expect(await succeeds("bucket", "list")).toContain("my-bucket");
    await succeeds("bucket", "update", "storage-class", "my-bucket", "--storage-class", "InfrequentAccess");
    expect(await store.getBucket({ accountId, name: "my-bucket", jurisdiction: "default" })).toMatchObject({
      location: "weur",
      storageClass: "InfrequentAccess",
    });
    const again = await wrangler("bucket", "create", "my-bucket");
    expect([again.failed, again.output]).toEqual([true, expect.stringContaining("already exists, and you own it")]);
    await succeeds("bucket", "create", "my-bucket", "--jurisdiction", "eu");
    await succeeds("bucket", "delete", "my-bucket", "--jurisdiction", "eu");
    const gone = await wrangler("bucket", "delete", "my-bucket", "--jurisdiction", "eu");
    expect([gone.failed, gone.output]).toEqual([true, expect.stringContaining("The specified bucket does not exist")]);
  });

  test("puts, gets and deletes objects", async () => {
    const bytes = randomBytes(3_000_000);
    writeFileSync(join(folder, "in"), bytes);
    const path = "my-bucket/dir/a b ü/file.bin";
    const { id } = await store.getBucket({ accountId, name: "my-bucket", jurisdiction: "default" });
    await succeeds(
      "object",
      "put",
      path,
      "--remote",
      "--file",
      "in",
      "--content-type",
      "image/png",
      "--cc",
      "no-cache",
    );
    expect(await store.head(id, "dir/a b ü/file.bin")).toMatchObject({
      size: 3_000_000,
      httpMetadata: { contentType: "image/png", cacheControl: "no-cache" },
      storageClass: "InfrequentAccess",
    });
    await succeeds("object", "get", path, "--remote", "--file", "out");
    expect(readFileSync(join(folder, "out")).equals(bytes)).toBe(true);
    const full = await wrangler("bucket", "delete", "my-bucket");
    expect([full.failed, full.output]).toEqual([true, expect.stringContaining("is not empty")]);
    await succeeds("object", "delete", path, "--remote");
    const gone = await wrangler("object", "get", path, "--remote", "--file", "out");
    expect([gone.failed, gone.output]).toEqual([true, expect.stringContaining("The specified key does not exist")]);
    await succeeds("object", "delete", path, "--remote");
  });

  test("tells of a bucket that is gone", async () => {
    await succeeds("bucket", "delete", "my-bucket");
    const { failed, output } = await wrangler("object", "put", "my-bucket/k", "--remote", "--file", "in");
    expect([failed, output]).toEqual([true, expect.stringContaining("The specified bucket does not exist")]);
  });
});
