import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { createAdaptorServer } from "@hono/node-server";
import { capabilityReader } from "#core/capability.ts";
import { UserError } from "#core/errors.ts";
import { openDatabase } from "#db/database.ts";
import { processVariable } from "#environment.ts";
import { createApi } from "#http/app.ts";
import { createWireServer } from "#http/wire/server.ts";
import { aiBindingHandler } from "#products/ai-gateway/binding.ts";
import { cacheStore } from "#products/ai-gateway/cache-store.ts";
import { Cooldowns } from "#products/ai-gateway/cooldowns.ts";
import { dynamicRoutes } from "#products/ai-gateway/dynamic-routes.ts";
import { logStore } from "#products/ai-gateway/log-store.ts";
import { createPipeline } from "#products/ai-gateway/pipeline.ts";
import { providerKeys } from "#products/ai-gateway/provider-keys.ts";
import { providers } from "#products/ai-gateway/providers/catalogue.ts";
import { publicHandler } from "#products/ai-gateway/public.ts";
import { aiRestRoutes } from "#products/ai-gateway/rest-routes.ts";
import { aiGatewayRoutes, type GatewayUrl } from "#products/ai-gateway/routes.ts";
import { gatewayStore } from "#products/ai-gateway/store.ts";
import { tokenCheck } from "#products/ai-gateway/token-check.ts";
import { openSpendStore } from "#products/ai-gateway/spend.ts";
import { RateLimiter } from "#products/ai-gateway/rate-limiter.ts";
import { addressRule, createUpstream } from "#products/ai-gateway/upstream.ts";
import { gatewayHost, publicUrl } from "#roles/addresses.ts";
import { openRole, serveUntilTold } from "#roles/role.ts";
import { serveEachWorker } from "#runtime/worker-folders.ts";

/** AI Gateway: reaches the providers, and holds no state but its own. */
export async function runAi(runtimeFolder: string): Promise<void> {
  const { config, data, runtime } = await openRole(runtimeFolder);
  const db = await openDatabase(data.aiDb, ["ai-gateway"]);
  const sealKey = Buffer.from(processVariable("SOLUM_AI_SEAL_KEY"), "hex");
  const gateways = gatewayStore(db, sealKey);
  const keys = providerKeys(db, sealKey);
  const logs = logStore(db);
  const routes = dynamicRoutes(db);
  const upstream = createUpstream(addressRule({ ports: [config.port], addresses: ownAddresses }));
  const bases = readBases(config.aiProviders);
  const pipeline = createPipeline({
    gateways,
    logs,
    routes,
    upstream,
    cache: cacheStore(db),
    cooldowns: new Cooldowns(),
    rates: new RateLimiter(),
    spend: await openSpendStore(db),
    mayAct: tokenCheck(runtime.control),
    registry: {
      customProvider: (accountId, slug) => gateways.findProvider(accountId, slug),
      storedKey: (gateway, slug, alias) => keys.find(gateway, slug, alias),
      baseOf: (slug) => bases.get(slug),
    },
  });
  const urlOf: GatewayUrl = (accountId, gatewayId, provider) =>
    [publicUrl(config, gatewayHost(config)), "v1", accountId, gatewayId, ...(provider ? [provider] : [])].join("/");

  const capabilityKey = Buffer.from(processVariable("SOLUM_CAPABILITY_KEY"), "hex");
  const workers = await serveEachWorker(runtime.workers, async (workerId, folder) => {
    const reader = capabilityReader(capabilityKey, workerId);
    const server = createWireServer(
      aiBindingHandler({ gateways, logs, keys, routes, urlOf, pipeline, workerId, reader }),
    );
    await server.listen(join(folder, "ai.sock"));
    return server;
  });
  const publicServer = createWireServer(publicHandler(pipeline));
  await publicServer.listen(runtime.gateway);
  const api = createApi();
  api.get("/ready", (c) => c.text("ready"));
  api.route("/client/v4/accounts/:account_id/ai-gateway", aiGatewayRoutes({ gateways, logs, keys, routes, urlOf }));
  api.route("/client/v4/accounts/:account_id/ai", aiRestRoutes(pipeline));
  const apiServer = createAdaptorServer({ fetch: api.fetch });
  await rm(runtime.ai, { force: true });
  apiServer.listen(runtime.ai);
  await once(apiServer, "listening");
  await chmod(runtime.ai, 0o600);

  await serveUntilTold("ai", async () => {
    await Promise.all([workers.close(), publicServer.close()]);
    apiServer.close();
    await upstream.close();
    await logs[Symbol.asyncDispose]();
    await db.close();
  });
}

/** `<slug>=<url>` of the setting. */
function readBases(entries: readonly string[]): Map<string, string> {
  return new Map(
    entries.map((entry) => {
      const [, slug = "", url = ""] = /^([a-z0-9-]+)=(https?:\/\/.+)$/.exec(entry) ?? [];
      if (!Object.hasOwn(providers, slug) || !URL.canParse(url))
        throw new UserError(`aiProviders: "${entry}" is not <slug>=<url> of a provider that is known`);
      return [slug, url.endsWith("/") ? url : `${url}/`];
    }),
  );
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
}
