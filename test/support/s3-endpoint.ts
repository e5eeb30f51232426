import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newHexId } from "#core/ids.ts";
import { createWireServer, type WireServer } from "#http/wire/server.ts";
import { r2PlatformHandler } from "#products/r2/platform.ts";
import type { Grant } from "#products/r2/settings.ts";
import { openR2Store, type SqliteR2Store } from "#products/r2/sqlite-store.ts";
import type { Route } from "#runtime/routes.ts";
import { IngressRig } from "./ingress-rig.ts";

export const s3Account = "a".repeat(32);

export type S3Keys = { accessKeyId: string; secretAccessKey: string };

/** R2's public side behind an ingress, on a store of its own. Tools that cannot resolve names use it by address. */
export class S3Endpoint implements AsyncDisposable {
  readonly folder: string;
  readonly store: SqliteR2Store;
  readonly rig: IngressRig;
  /** What the endpoint's clock is ahead by, in milliseconds. */
  ahead = 0;
  readonly #server: WireServer;

  private constructor(folder: string, store: SqliteR2Store, rig: IngressRig) {
    this.folder = folder;
    this.store = store;
    this.rig = rig;
    const now = () => Date.now() + this.ahead;
    this.#server = createWireServer(r2PlatformHandler({ store, appDomain: "localhost", endpoint: "127.0.0.1", now }));
  }

  static async start(): Promise<S3Endpoint> {
    const folder = mkdtempSync(join(tmpdir(), "solum-s3-"));
    const paths = { db: join(folder, "r2.db"), blobs: join(folder, "r2") };
    const store = await openR2Store({ ...paths, sealKey: Buffer.alloc(32, 1) });
    const endpoint = new S3Endpoint(folder, store, await IngressRig.start());
    const socket = join(folder, "s3.sock");
    await endpoint.#server.listen(socket);
    const route: Route = { kind: "platform", socket };
    const patterns = ["*.r2.localhost", "*.127.0.0.1"].map((host) => ({ host, path: "/*", route }));
    const hosts = { "127.0.0.1": route, "files.example.com": route };
    await endpoint.rig.put({ hosts, patterns, services: {}, targets: {} });
    return endpoint;
  }

  get url(): string {
    return `http://127.0.0.1:${this.rig.port}`;
  }

  async bucket(name: string): Promise<string> {
    return (await this.store.createBucket({ accountId: s3Account, name, jurisdiction: "default" })).id;
  }

  /** An access key with `grants`; all of the account when none are given. */
  async keys(grants: Grant[] = [{ write: true }], accountId = s3Account): Promise<S3Keys> {
    const [id, value] = [newHexId(), randomBytes(30).toString("base64url")];
    const time = new Date().toISOString();
    await this.store.settings.addAccessKey(
      { id, accountId, name: "test", grants, policies: [], status: "active", issuedOn: time, modifiedOn: time },
      value,
    );
    return { accessKeyId: id, secretAccessKey: createHash("sha256").update(value).digest("hex") };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.rig[Symbol.asyncDispose]();
    await this.#server.close();
    await this.store.close();
    rmSync(this.folder, { recursive: true });
  }
}
