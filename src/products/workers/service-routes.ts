import { accountOf, createRoutes, ok, param, type Api, type ApiContext } from "#http/app.ts";
import { contentResponse } from "#products/workers/content.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { referencesOf } from "#products/workers/references.ts";
import type { Version, Worker } from "#products/workers/schema.ts";
import type { WorkerParts } from "#products/workers/script-routes.ts";
import { environmentJson, referencesJson, serviceJson, settingsJson, subdomainJson } from "#products/workers/wire.ts";

/** A Worker has one environment by this name; wrangler's own environments are Workers of their own. */
const onlyEnvironment = "production";

/**
 * Below `/accounts/:account_id/workers`: what wrangler asks before it deploys over a Worker or deletes one, and what
 * `wrangler init --from-dash` reads back (wrangler-api §3.2, §3.10).
 */
export function serviceRoutes({ store, releases, blobs }: WorkerParts): Api {
  const app = createRoutes();

  const service = async (c: ApiContext): Promise<Worker> => {
    const worker = await store.find(accountOf(c), param(c, "name"));
    const environment = c.req.param("environment");
    if (!worker || (environment !== undefined && environment !== onlyEnvironment)) throw workerErrors.serviceNotFound();
    return worker;
  };
  /** The version that most requests get; the latest one of a Worker that is not deployed. */
  const served = async (worker: Worker): Promise<Version> => {
    const [deployment] = await store.listDeployments(worker, 1);
    const most = deployment?.versions.toSorted((a, b) => b.percentage - a.percentage)[0];
    const version = most ? await store.findVersion(worker, most.versionId) : await store.latestVersion(worker);
    if (!version) throw workerErrors.noVersions();
    return version;
  };

  app.get("/services/:name", async (c) => ok(c, serviceJson(await service(c))));
  app.delete("/services/:name", async (c) => {
    const worker = await service(c);
    await releases.remove({ accountId: worker.accountId, name: worker.name, force: c.req.query("force") === "true" });
    return ok(c, null);
  });

  app.get("/services/:name/environments/:environment", async (c) => {
    const worker = await service(c);
    return ok(c, environmentJson(worker, await served(worker)));
  });
  app.get("/services/:name/environments/:environment/bindings", async (c) =>
    ok(c, (await served(await service(c))).bindings),
  );
  app.get("/services/:name/environments/:environment/settings", async (c) => {
    const worker = await service(c);
    return ok(c, settingsJson(worker, await served(worker)));
  });
  app.get("/services/:name/environments/:environment/subdomain", async (c) => ok(c, subdomainJson(await service(c))));
  for (const suffix of ["/content", "/content/v2"]) {
    app.get(`/services/:name/environments/:environment${suffix}`, async (c) =>
      contentResponse(blobs, await served(await service(c))),
    );
  }

  for (const suffix of ["", "/content", "/content/v2"]) {
    app.get(`/scripts/:name${suffix}`, async (c) =>
      contentResponse(blobs, await served(await store.get(accountOf(c), param(c, "name")))),
    );
  }

  app.get("/scripts/:name/references", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    return ok(c, referencesJson(await referencesOf(store, worker)));
  });
  app.get("/tails/by-consumer/:name", async (c) => {
    const consumer = await store.find(accountOf(c), param(c, "name"));
    const producers = consumer ? (await referencesOf(store, consumer)).tails : [];
    return ok(
      c,
      producers.map(({ name }) => ({ consumer: { script: param(c, "name") }, producer: { script: name } })),
    );
  });
  return app;
}
