import { workflowStore } from "#products/workflows/store.ts";
import { objectStore } from "#products/durable-objects/store.ts";
import assert from "node:assert";
import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dataLayout, type DataLayout } from "#core/layout.ts";
import { openDatabase, type Database } from "#db/database.ts";
import { createApi, type Api } from "#http/app.ts";
import { requireAccount, requireToken } from "#http/auth.ts";
import { accountStore } from "#products/accounts/store.ts";
import { assetUploadRoutes } from "#products/workers/asset-routes.ts";
import { assetStore } from "#products/workers/assets.ts";
import type { Resources } from "#products/workers/bindings.ts";
import { blobStore } from "#products/workers/blobs.ts";
import type { Deployer, TrialRequest } from "#products/workers/deployer.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { releases } from "#products/workers/releases.ts";
import { workerRoutes } from "#products/workers/routes.ts";
import { workerStore } from "#products/workers/store.ts";
import { zoneRoutes } from "#products/zones/routes.ts";
import { zoneStore, type ZoneStore } from "#products/zones/store.ts";
import { workerZoneRoutes } from "#products/zones/worker-routes.ts";

export type Answer = {
  status: number;
  json: { success: boolean; errors: { code: number; message: string }[]; result: never };
};

/** A namespace and a database that the first account has; it also has a bucket named `files`. */
export const namespace = "0123456789abcdef0123456789abcdef";
export const database = "01234567-89ab-4def-8123-456789abcdef";

/**
 * The Workers' API over a real database and real files. Only the part that runs processes is played here: what it was asked
 * is recorded, and a module that says "throw" fails as workerd would.
 */
export class WorkersApi implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "solum-workers-"));
  readonly layout: DataLayout = dataLayout(this.folder);
  readonly trials: TrialRequest[] = [];
  /** The namespace or the bucket, when a test takes it away. */
  readonly gone = new Set<"kv" | "r2">();
  settled = 0;
  account = "";
  stranger = "";
  api: Api = createApi();
  #db: Database | undefined;

  static async start(): Promise<WorkersApi> {
    const started = new WorkersApi();
    const { layout } = started;
    for (const path of [layout.staging, layout.blobs, layout.assetTrees]) await mkdir(path, { recursive: true });
    const db = await openDatabase(layout.controlDb, [
      "accounts",
      "workers",
      "durable_objects",
      "workflows",
      "zones",
      "r2-hosts",
    ]);
    started.#db = db;
    const accounts = accountStore(db);
    started.account = await accounts.ensureFirst("mine");
    started.stranger = (await accounts.create({ name: "Other", subdomain: "other" })).id;
    await accounts.addToken({ accountId: started.stranger, name: "t", token: "theirs" });
    const store = workerStore(db);
    const blobs = blobStore(layout);
    const assets = assetStore({ db, blobs, layout, key: Buffer.alloc(32, 1) });
    const reservedNames = new Set(["api", "s3"]);
    const parts = {
      store,
      blobs,
      assets,
      resources: started.#resources(db),
      deployer: started.#deployer(),
      reservedNames,
      queueConsumers: { list: async () => [], removeConsumersOf: async () => {} },
    };
    started.api.route("/", assetUploadRoutes(assets));
    started.api.use(
      "*",
      requireToken((token) => accounts.principalOf(token)),
    );
    const zones = {
      store: started.zones,
      findWorker: (accountId: string, name: string) => store.find(accountId, name),
      getWorker: (accountId: string, name: string) => store.get(accountId, name),
      accountName: async (accountId: string) => (await accounts.get(accountId))?.name ?? "",
      settle: async () => void started.settled++,
    };
    started.api.route("/zones", zoneRoutes(zones));
    started.api.use("/accounts/:account_id/*", requireAccount());
    started.api.route("/accounts/:account_id/workers", workerZoneRoutes(zones));
    started.api.route(
      "/accounts/:account_id",
      workerRoutes({
        ...parts,
        releases: releases({
          ...parts,
          sealKey: Buffer.alloc(32, 2),
          unsupportedBindings: "refuse",
          keptAssetsMs: 60_000,
        }),
        workerBytes: 1024 * 1024,
        address: async () => ({ url: "http://x", previewSuffix: "-x" }),
      }),
    );
    return started;
  }

  /** A request to the API of the account that `token` stands for: `mine` or `theirs`. */
  call(method: string, path: string, body?: unknown, token = "mine"): Promise<Answer> {
    const account = token === "mine" ? this.account : this.stranger;
    return this.request(method, `/accounts/${account}${path}`, body, token);
  }

  /** The same for what lies outside of accounts. */
  async request(method: string, path: string, body?: unknown, token = "mine"): Promise<Answer> {
    const isForm = body instanceof FormData || typeof body === "string";
    const init = {
      method,
      headers: { authorization: `Bearer ${token}` },
      ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
    };
    const answer = await this.api.request(`http://localhost${path}`, init);
    return { status: answer.status, json: (await answer.json()) as Answer["json"] };
  }

  put(name: string, upload: FormData | string, token?: string): Promise<Answer> {
    return this.call("PUT", `/workers/scripts/${name}?bindings_inherit=strict`, upload, token);
  }

  get db(): Database {
    assert(this.#db);
    return this.#db;
  }

  get zones(): ZoneStore {
    return zoneStore(this.db, { appDomain: "apps.example.net", consoleHost: "console.example.net" });
  }

  async closeDatabase(): Promise<void> {
    await this.#db?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeDatabase();
    rmSync(this.folder, { recursive: true });
  }

  #resources(db: Database): Resources {
    return {
      hasKvNamespace: async (accountId, id) => accountId === this.account && id === namespace && !this.gone.has("kv"),
      findD1Host: async (accountId, id) => (accountId === this.account && id === database ? 1 : undefined),
      findBucketId: async (accountId, { name }) =>
        accountId === this.account && name === "files" && !this.gone.has("r2") ? "bucket-id" : undefined,
      findQueueId: async (accountId, name) => (accountId === this.account && name === "jobs" ? "queue-id" : undefined),
      findVectorIndexId: async () => undefined,
      listWorkflows: (accountId) => workflowStore(db).list(accountId),
      listNamespaces: (accountId) => objectStore(db).list(accountId),
      hasWorker: async (accountId, name) => (await workerStore(db).find(accountId, name)) !== undefined,
    };
  }

  #deployer(): Deployer {
    return {
      trial: async (request) => {
        this.trials.push(request);
        const { modules, format } = request.version;
        if (request.stagingFolder !== undefined && modules[0]) {
          const text = await readFile(join(request.stagingFolder, modules[0].hash), "utf8");
          if (text.includes("throw")) throw workerErrors.uncaughtAtStartup("Uncaught Error: thrown");
        }
        return { startupMs: 7, handlers: format === "assets-only" ? null : ["fetch"], namedHandlers: [] };
      },
      refusesCompatibility: async (date) =>
        date > "2026-11-23" ? `Can't set compatibility date in the future: "${date}".` : undefined,
      settle: async () => {
        this.settled++;
      },
    };
  }
}

export type UploadPart = { name: string; type: string; text: string };

export const mainPart: UploadPart = {
  name: "index.js",
  type: "application/javascript+module",
  text: "export default { fetch() {} }; export class Room {}",
};

/** A multipart upload as wrangler builds it. */
export function uploadForm(metadata: Record<string, unknown>, parts: UploadPart[] = [mainPart]): FormData {
  const data = new FormData();
  data.set("metadata", JSON.stringify(metadata));
  for (const { name, type, text } of parts) data.append(name, new File([text], name, { type }));
  return data;
}

/** An upload of one good module. */
export function moduleUpload(more: Record<string, unknown> = {}): FormData {
  return uploadForm({ main_module: "index.js", compatibility_date: "2026-01-01", ...more });
}

export function firstError({ json }: Answer): { code: number; message: string } | undefined {
  return json.errors[0];
}
