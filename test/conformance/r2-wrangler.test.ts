import { execFile } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve, type ServerType } from "@hono/node-server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createApi, ok } from "#http/app.ts";
import { storeClient, storeHandler } from "#http/store-rpc.ts";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import { r2Methods, r2SettingsMethods, remoteR2Settings, remoteR2Store } from "#products/r2/remote.ts";
import { r2Routes } from "#products/r2/routes.ts";
import { catalogRoutes, notificationRoutes } from "#products/r2/routes-settings.ts";
import { openR2Store, type SqliteR2Store } from "#products/r2/sqlite-store.ts";
import { r2TestParts } from "../support/r2-parts.ts";
import { testedWranglers, wranglers } from "../support/start-solum.ts";
import { wranglerEnvironment, wranglerProgram } from "../support/wrangler-process.ts";

/** Each command is a process of its own, and takes seconds where others work too. Rules and domains are the newer one's to test. */
const slow = { timeout: 300_000 };

/** The R2 commands of the wrangler that is installed and of an older one, against the routes and a store behind a socket. */
describe.each(testedWranglers.map((version) => wranglers[version]))("%s r2", (version) => {
  let folder: string;
  let store: SqliteR2Store;
  let rpc: WireServer;
  let server: ServerType;
  let claimed: Map<string, string>;
  const accountId = "0123456789abcdef0123456789abcdef";

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "solum-r2-wrangler-"));
    store = await openR2Store({ db: join(folder, "r2.db"), blobs: join(folder, "r2"), sealKey: Buffer.alloc(32, 1) });
    rpc = createWireServer(storeHandler({ r2: r2Methods(store), r2Settings: r2SettingsMethods(store.settings) }));
    await rpc.listen(join(folder, "s"));
    const app = createApi();
    const client = storeClient(join(folder, "s"));
    const parts = r2TestParts(remoteR2Store(client), remoteR2Settings(client));
    claimed = parts.claimed;
    const account = "/client/v4/accounts/:account_id";
    app.route(`${account}/r2`, r2Routes(parts));
    app.route(`${account}/r2-catalog`, catalogRoutes());
    app.route(`${account}/event_notifications/r2/:bucket/configuration`, notificationRoutes(parts));
    app.get(`${account}/queues`, (c) => ok(c, [{ queue_id: "queue-1", queue_name: c.req.query("name") }]));
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
      ...wranglerEnvironment,
      HOME: folder,
      CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${port}/client/v4`,
      CLOUDFLARE_API_TOKEN: "token",
      CLOUDFLARE_ACCOUNT_ID: accountId,
    };
    return new Promise<{ failed: boolean; output: string }>((resolve) => {
      execFile(
        process.execPath,
        [wranglerProgram(version), "r2", ...args],
        { cwd: folder, env },
        (error, stdout, stderr) => resolve({ failed: error !== null, output: stdout + stderr }),
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

  test.runIf(version === "wrangler")("sets rules", slow, async () => {
    const bucket = "my-bucket";
    const fails = async (...args: string[]) => {
      const { failed, output } = await wrangler(...args);
      expect(failed).toBe(true);
      return output;
    };
    const rules = [{ allowed: { origins: ["https://a.example"], methods: ["GET", "PUT"] }, maxAgeSeconds: 60 }];
    writeFileSync(join(folder, "cors.json"), JSON.stringify({ rules }));
    expect(await fails("bucket", "cors", "list", bucket)).toContain("CORS configuration does not exist");
    await succeeds("bucket", "cors", "set", bucket, "--file", "cors.json", "--force");
    expect(await succeeds("bucket", "cors", "list", bucket)).toContain("https://a.example");
    await succeeds("bucket", "cors", "delete", bucket, "--force");

    expect(await succeeds("bucket", "lifecycle", "list", bucket)).toContain("Default Multipart Abort Rule");
    await succeeds(
      "bucket",
      "lifecycle",
      "add",
      bucket,
      "logs",
      "logs/",
      "--expire-days",
      "30",
      "--ia-transition-days",
      "10",
      "--force",
    );
    expect(await succeeds("bucket", "lifecycle", "list", bucket)).toContain("after 30 days");
    await succeeds("bucket", "lifecycle", "remove", bucket, "--name", "logs");
    writeFileSync(join(folder, "lifecycle.json"), JSON.stringify({ rules: [] }));
    await succeeds("bucket", "lifecycle", "set", bucket, "--file", "lifecycle.json", "--force");
    expect(await succeeds("bucket", "lifecycle", "list", bucket)).toContain("no lifecycle rules");

    await succeeds("bucket", "lock", "add", bucket, "keep", "kept/", "--retention-days", "5", "--force");
    await succeeds("bucket", "lock", "add", bucket, "for-ever", "ever/", "--retention-indefinite", "--force");
    expect(await succeeds("bucket", "lock", "list", bucket)).toMatch(/after 5 days[\s\S]*indefinitely/);
    await succeeds("object", "put", `${bucket}/kept/x`, "--remote", "--file", "in");
    expect(await fails("object", "delete", `${bucket}/kept/x`, "--remote")).toContain("locked");
    await succeeds("bucket", "lock", "remove", bucket, "--name", "keep");
    await succeeds("object", "delete", `${bucket}/kept/x`, "--remote");
    writeFileSync(join(folder, "lock.json"), JSON.stringify({ rules: [] }));
    await succeeds("bucket", "lock", "set", bucket, "--file", "lock.json", "--force");
  });

  test.runIf(version === "wrangler")("makes buckets public", slow, async () => {
    const bucket = "my-bucket";
    const { id } = await store.getBucket({ accountId, name: bucket, jurisdiction: "default" });
    expect(await succeeds("bucket", "dev-url", "get", bucket)).toContain("disabled");
    expect(await succeeds("bucket", "dev-url", "enable", bucket, "--force")).toContain(`pub-${id}.r2.localhost`);
    expect(await succeeds("bucket", "dev-url", "get", bucket)).toContain("enabled");
    await succeeds("bucket", "dev-url", "disable", bucket, "--force");

    const domain = "files.example.com";
    const add = (name: string, zone = "zone-1") =>
      wrangler("bucket", "domain", "add", bucket, "--domain", name, "--zone-id", zone, "--min-tls", "1.2", "--force");
    expect((await add(domain)).failed).toBe(false);
    expect([...claimed]).toEqual([[domain, id]]);
    expect((await add("files.example.org")).output).toContain("does not lie in a zone");
    expect((await add("worker.example.com")).output).toContain("in use");
    expect(await succeeds("bucket", "domain", "list", bucket)).toContain(domain);
    await succeeds("bucket", "domain", "update", bucket, "--domain", domain, "--min-tls", "1.3");
    expect(await succeeds("bucket", "domain", "get", bucket, "--domain", domain)).toContain("1.3");
    await succeeds("bucket", "domain", "remove", bucket, "--domain", domain, "--force");
    expect(claimed.size).toBe(0);
  });

  test.runIf(version === "wrangler")("keeps notification rules, and says what is not here", slow, async () => {
    const bucket = "my-bucket";
    await succeeds(
      "bucket",
      "notification",
      "create",
      bucket,
      "--event-type",
      "object-create",
      "--queue",
      "my-queue",
      "--prefix",
      "in/",
    );
    const listed = await succeeds("bucket", "notification", "list", bucket);
    expect(listed).toContain("PutObject,CompleteMultipartUpload,CopyObject");
    await succeeds("bucket", "notification", "delete", bucket, "--queue", "my-queue");
    const { failed, output } = await wrangler("bucket", "catalog", "enable", bucket);
    expect([failed, output]).toEqual([true, expect.stringContaining("not available on this server")]);
    await wrangler("bucket", "catalog", "get", bucket);
    expect((await wrangler("bucket", "sippy", "get", bucket)).output).not.toContain("malformed");
  });

  test.runIf(version === "wrangler")("puts many objects at once", slow, async () => {
    writeFileSync(join(folder, "bulk.json"), JSON.stringify(["a", "b", "c/d"].map((key) => ({ key, file: "in" }))));
    await succeeds("bulk", "put", "my-bucket", "--filename", "bulk.json", "--remote");
    const { id } = await store.getBucket({ accountId, name: "my-bucket", jurisdiction: "default" });
    expect(await store.delete(id, ["a", "b", "c/d"])).toBe(3);
  });

  test("tells of a bucket that is gone", async () => {
    await succeeds("bucket", "delete", "my-bucket");
    const { failed, output } = await wrangler("object", "put", "my-bucket/k", "--remote", "--file", "in");
    expect([failed, output]).toEqual([true, expect.stringContaining("The specified bucket does not exist")]);
  });
});
