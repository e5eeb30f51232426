import { createRoutes, accountOf, ok, param, readJson, type Api } from "#http/app.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { limits, newDeployment } from "#products/workers/schema.ts";
import { actorOf, type WorkerParts } from "#products/workers/script-routes.ts";
import { readUpload } from "#products/workers/upload.ts";
import { deploymentJson, versionJson } from "#products/workers/wire.ts";

/** Below `/accounts/:account_id/workers`: versions and deployments (wrangler-api §6). */
export function versionRoutes({ store, releases, workerBytes }: WorkerParts): Api {
  const app = createRoutes();

  app.post("/scripts/:name/versions", async (c) => {
    const upload = await readUpload(c.req.raw, workerBytes);
    const name = param(c, "name");
    if (!(await store.find(accountOf(c), name))) throw workerErrors.scriptNotFound();
    const request = { accountId: accountOf(c), name, upload, actor: actorOf(c), deploy: false };
    const { version } = await releases.upload(request, c.req.raw.signal);
    return ok(c, versionJson(version));
  });

  app.get("/scripts/:name/versions", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const versions = await store.listVersions(worker, limits.versionsListed);
    return ok(c, { items: versions.map(versionJson) });
  });

  app.get("/scripts/:name/versions/:version_id", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const version = await store.findVersion(worker, param(c, "version_id"));
    if (!version) throw workerErrors.versionNotFound();
    return ok(c, versionJson(version));
  });

  app.get("/scripts/:name/deployments", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    return ok(c, { deployments: (await store.listDeployments(worker, 10)).map(deploymentJson) });
  });

  app.get("/scripts/:name/deployments/:deployment_id", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const id = param(c, "deployment_id");
    const found = (await store.listDeployments(worker, limits.versionsListed)).find(
      (deployment) => deployment.id === id,
    );
    if (!found) throw workerErrors.deploymentNotFound();
    return ok(c, deploymentJson(found));
  });

  app.post("/scripts/:name/deployments", async (c) => {
    const body = await readJson(c, newDeployment);
    const request = {
      accountId: accountOf(c),
      name: param(c, "name"),
      actor: actorOf(c),
      versions: body.versions.map(({ version_id: versionId, percentage }) => ({ versionId, percentage })),
      annotations: withoutEmpty(body.annotations),
    };
    return ok(c, deploymentJson(await releases.deploy(request, c.req.raw.signal)));
  });

  return app;
}

/** Annotations that say something; wrangler sends null for those that do not. */
export function withoutEmpty(annotations: Record<string, string | null | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).flatMap(([key, value]) => (value ? [[key, value]] : [])));
}
