import { createRoutes, accountOf, ok, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { isHexId } from "#core/ids.ts";
import type { BlobStore } from "#products/workers/blobs.ts";
import type { Actor, Releases } from "#products/workers/releases.ts";
import { scriptSettings, subdomainBody, type Version, type Worker } from "#products/workers/schema.ts";
import type { WorkerStore } from "#products/workers/store.ts";
import { readUpload } from "#products/workers/upload.ts";
import {
  scriptJson,
  scriptSettingsJson,
  settingsJson,
  subdomainJson,
  workerJson,
  type WorkerAddress,
} from "#products/workers/wire.ts";

export type WorkerParts = {
  store: WorkerStore;
  releases: Releases;
  /** Largest Worker, bytes. */
  workerBytes: number;
  blobs: BlobStore;
  address: (worker: Worker) => Promise<WorkerAddress>;
};

/** Below `/accounts/:account_id/workers`: scripts and what is said of them. */
export function scriptRoutes(parts: WorkerParts): Api {
  const { store, releases } = parts;
  const app = createRoutes();

  app.get("/scripts", async (c) => ok(c, (await store.list(accountOf(c))).map(scriptJson)));

  app.put("/scripts/:name", async (c) => {
    const upload = await readUpload(c.req.raw, parts.workerBytes);
    const request = { accountId: accountOf(c), name: param(c, "name"), upload, actor: actorOf(c), deploy: true };
    const { worker, version } = await releases.upload(request, c.req.raw.signal);
    return ok(c, uploadJson(worker, version));
  });

  app.delete("/scripts/:name", async (c) => {
    const force = c.req.query("force") === "true";
    await releases.remove({ accountId: accountOf(c), name: param(c, "name"), force });
    return ok(c, null);
  });

  app.get("/workers/:name", async (c) => {
    const worker = await findByIdOrName(store, accountOf(c), param(c, "name"));
    const [deployment] = await store.listDeployments(worker, 1);
    return ok(c, workerJson(worker, { address: await parts.address(worker), deployedOn: deployment?.createdOn }));
  });

  app.get("/scripts/:name/settings", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    return ok(c, settingsJson(worker, await store.latestVersion(worker)));
  });

  app.get("/scripts/:name/script-settings", async (c) =>
    ok(c, scriptSettingsJson(await store.get(accountOf(c), param(c, "name")))),
  );

  app.patch("/scripts/:name/script-settings", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const change = await readJson(c, scriptSettings);
    const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
    const settings = { ...worker.settings, ...given };
    await store.update({ id: worker.id, settings });
    return ok(c, scriptSettingsJson({ ...worker, settings }));
  });

  app.get("/scripts/:name/subdomain", async (c) =>
    ok(c, subdomainJson(await store.get(accountOf(c), param(c, "name")))),
  );

  app.post("/scripts/:name/subdomain", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const { enabled, previews_enabled: previews } = await readJson(c, subdomainBody);
    // What the server decides when previews are not mentioned: they follow the Worker (wrangler-api §3.7).
    const change = { subdomainEnabled: enabled, previewsEnabled: previews ?? enabled };
    await releases.setSubdomain(worker, change);
    return ok(c, subdomainJson({ ...worker, ...change }));
  });

  app.delete("/scripts/:name/subdomain", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const change = { subdomainEnabled: false, previewsEnabled: false };
    await releases.setSubdomain(worker, change);
    return ok(c, subdomainJson({ ...worker, ...change }));
  });

  return app;
}

/** `deployment_id` is the version's id, whatever it is called (wrangler-api §3.6). */
function uploadJson(worker: Worker, version: Version) {
  return {
    ...scriptJson(worker),
    etag: version.etag,
    handlers: version.handlers,
    modified_on: version.createdOn,
    last_deployed_from: version.source,
    deployment_id: version.id.replaceAll("-", ""),
    startup_time_ms: version.startupMs,
    pipeline_hash: null,
    mutable_pipeline_id: null,
    usage_model: version.extra.usageModel,
    has_assets: version.runnable.assets !== undefined,
    has_modules: version.runnable.format === "modules",
  };
}

/** The newer API names a Worker by its id; wrangler says the name in the same place. */
async function findByIdOrName(store: WorkerStore, accountId: string, idOrName: string): Promise<Worker> {
  const byId = isHexId(idOrName) ? (await store.list(accountId)).find(({ id }) => id === idOrName) : undefined;
  return byId ?? store.get(accountId, idOrName);
}

/** Who asks, and with what: wrangler warns before it overwrites what the API or the dashboard deployed. */
export function actorOf(c: ApiContext): Actor {
  const agent = c.req.header("user-agent") ?? "";
  return {
    email: c.get("principal").email,
    source: agent.startsWith("wrangler/") || agent.startsWith("undici") ? "wrangler" : "api",
  };
}
