import { createRoutes, accountOf, ok, param, readJson, type Api } from "#http/app.ts";
import { givenAnnotations } from "#products/workers/annotations.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { secretBody, secretsPatch, versionPatch } from "#products/workers/schema.ts";
import { actorOf, type WorkerParts } from "#products/workers/script-routes.ts";
import { versionJson } from "#products/workers/wire.ts";

/** Below `/accounts/:account_id/workers`: secrets, which can be set and removed but never read (wrangler-api §7). */
export function secretRoutes({ store, releases }: WorkerParts): Api {
  const app = createRoutes();

  app.get("/scripts/:name/secrets", async (c) => ok(c, await secretsOf(accountOf(c), param(c, "name"))));

  app.get("/scripts/:name/secrets/:secret_name", async (c) => {
    const secretName = param(c, "secret_name");
    const found = (await secretsOf(accountOf(c), param(c, "name"))).find(({ name }) => name === secretName);
    if (!found) throw workerErrors.secretNotFound(secretName);
    return ok(c, found);
  });

  app.put("/scripts/:name/secrets", async (c) => {
    const { name, text } = await readJson(c, secretBody);
    await releases.changeSecrets(
      { accountId: accountOf(c), name: param(c, "name"), actor: actorOf(c), changes: { [name]: text }, deploy: true },
      c.req.raw.signal,
    );
    return ok(c, { name, type: "secret_text" });
  });

  app.delete("/scripts/:name/secrets/:secret_name", async (c) => {
    const changes = { [param(c, "secret_name")]: null };
    await releases.changeSecrets(
      { accountId: accountOf(c), name: param(c, "name"), actor: actorOf(c), changes, deploy: true },
      c.req.raw.signal,
    );
    return ok(c, null);
  });

  app.patch("/scripts/:name/secrets-bulk", async (c) => {
    const { secrets } = await readJson(c, secretsPatch);
    const changes = Object.fromEntries(Object.entries(secrets).map(([name, secret]) => [name, secret?.text ?? null]));
    const [accountId, name] = [accountOf(c), param(c, "name")];
    await releases.changeSecrets({ accountId, name, actor: actorOf(c), changes, deploy: true }, c.req.raw.signal);
    return ok(c, await secretsOf(accountId, name));
  });

  app.patch("/workers/:name/versions/latest", async (c) => {
    const { env, annotations } = await readJson(c, versionPatch);
    const changes = Object.fromEntries(Object.entries(env).map(([name, secret]) => [name, secret?.text ?? null]));
    const request = {
      accountId: accountOf(c),
      name: param(c, "name"),
      actor: actorOf(c),
      changes,
      deploy: false,
      annotations: givenAnnotations(annotations),
    };
    const version = await releases.changeSecrets(request, c.req.raw.signal);
    return ok(c, versionJson(await store.get(request.accountId, request.name), version));
  });

  async function secretsOf(accountId: string, name: string) {
    const worker = await store.get(accountId, name);
    const version = await store.latestVersion(worker);
    const secrets = version?.bindings.filter(({ type }) => type === "secret_text") ?? [];
    return secrets
      .map((secret) => ({ name: secret.name, type: secret.type }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  return app;
}
