import { createRoutes, accountOf, ok, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { workerErrors } from "#products/workers/errors.ts";
import type { Actor, Releases } from "#products/workers/releases.ts";
import { scriptSettings, subdomainBody, type Version, type Worker } from "#products/workers/schema.ts";
import type { WorkerStore } from "#products/workers/store.ts";
import { readUpload } from "#products/workers/upload.ts";
import { scriptJson, scriptSettingsJson, serviceJson, settingsJson } from "#products/workers/wire.ts";

export type WorkerParts = {
  store: WorkerStore;
  releases: Releases;
  /** Largest Worker, bytes. */
  workerBytes: number;
  address: (worker: Worker) => Promise<WorkerAddress>;
};

/** `url`: where the Worker answers. `previewSuffix`: what follows the first eight digits of a version in its preview's host. */
export type WorkerAddress = { url: string; previewSuffix: string };

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
    await releases.remove(accountOf(c), param(c, "name"));
    return ok(c, null);
  });

  app.get("/services/:name", async (c) => ok(c, serviceJson(await service(store, c))));

  app.delete("/services/:name", async (c) => {
    await service(store, c);
    await releases.remove(accountOf(c), param(c, "name"));
    return ok(c, null);
  });

  app.get("/workers/:name", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const { url, previewSuffix } = await parts.address(worker);
    const subdomain = {
      enabled: worker.subdomainEnabled,
      previews_enabled: worker.previewsEnabled,
      url,
      preview_url_suffix: previewSuffix,
    };
    return ok(c, { ...scriptJson(worker), name: worker.name, ...scriptSettingsJson(worker), subdomain });
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

  return app;
}

function subdomainJson(worker: Worker) {
  return { enabled: worker.subdomainEnabled, previews_enabled: worker.previewsEnabled };
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

async function service(store: WorkerStore, c: ApiContext): Promise<Worker> {
  const worker = await store.find(accountOf(c), param(c, "name"));
  if (!worker) throw workerErrors.serviceNotFound();
  return worker;
}

/** Who asks, and with what: wrangler warns before it overwrites what the API or the dashboard deployed. */
export function actorOf(c: ApiContext): Actor {
  const agent = c.req.header("user-agent") ?? "";
  return {
    email: c.get("principal").email,
    source: agent.startsWith("wrangler/") || agent.startsWith("undici") ? "wrangler" : "api",
  };
}
