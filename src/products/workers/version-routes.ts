import { createRoutes, accountOf, ok, pageOf, param, readJson, type Api } from "#http/app.ts";
import { pageInfo } from "#http/envelope.ts";
import { givenAnnotations } from "#products/workers/annotations.ts";
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
    const { worker, version } = await releases.upload(request, c.req.raw.signal);
    return ok(c, versionJson(worker, version));
  });

  app.get("/scripts/:name/versions", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const all = await store.countVersions(worker);
    const known = c.req.query("deployable") === "true" ? Math.min(all, limits.versionsDeployable) : all;
    const { page, perPage } = pageOf(c, { perPage: limits.versionsDeployable, perPageMax: limits.versionsDeployable });
    const offset = (page - 1) * perPage;
    const versions = await store.listVersions(worker, { offset, max: Math.max(0, Math.min(perPage, known - offset)) });
    const items = versions.map((version) => versionJson(worker, version));
    return ok(c, { items }, pageInfo({ page, perPage, count: items.length, total: known }));
  });

  app.get("/scripts/:name/versions/:version_id", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    return ok(c, versionJson(worker, await store.getVersion(worker, param(c, "version_id"))));
  });

  app.get("/scripts/:name/deployments", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const { page, perPage } = pageOf(c, { perPage: limits.deploymentsListed, perPageMax: limits.deploymentsKnown });
    const deployments = await store.listDeployments(worker, perPage, (page - 1) * perPage);
    return ok(c, { deployments: deployments.map(deploymentJson) });
  });

  app.get("/scripts/:name/deployments/:deployment_id", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    const id = param(c, "deployment_id");
    const found = (await store.listDeployments(worker, limits.deploymentsKnown)).find(
      (deployment) => deployment.id === id,
    );
    if (!found) throw workerErrors.deploymentNotFound();
    return ok(c, deploymentJson(found));
  });

  app.delete("/scripts/:name/deployments/:deployment_id", async (c) => {
    const worker = await store.get(accountOf(c), param(c, "name"));
    if (!(await store.deleteDeployment(worker, param(c, "deployment_id")))) throw workerErrors.deploymentNotFound();
    return ok(c, null);
  });

  app.post("/scripts/:name/deployments", async (c) => {
    const body = await readJson(c, newDeployment);
    const request = {
      accountId: accountOf(c),
      name: param(c, "name"),
      actor: actorOf(c),
      versions: body.versions.map(({ version_id: versionId, percentage }) => ({ versionId, percentage })),
      annotations: givenAnnotations(body.annotations),
      force: c.req.query("force") === "true",
    };
    return ok(c, deploymentJson(await releases.deploy(request, c.req.raw.signal)));
  });

  return app;
}
