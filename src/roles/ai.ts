import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { createAdaptorServer } from "@hono/node-server";
import { UserError } from "#core/errors.ts";
import { openDatabase } from "#db/database.ts";
import { processVariable } from "#environment.ts";
import { createApi } from "#http/app.ts";
import { createWireServer } from "#http/wire/server.ts";
import { cacheStore } from "#products/ai-gateway/cache-store.ts";
import { Cooldowns } from "#products/ai-gateway/cooldowns.ts";
import { logStore } from "#products/ai-gateway/log-store.ts";
import { createPipeline } from "#products/ai-gateway/pipeline.ts";
import { providers } from "#products/ai-gateway/providers/catalogue.ts";
import { publicHandler } from "#products/ai-gateway/public.ts";
import { aiGatewayRoutes, type GatewayUrl } from "#products/ai-gateway/routes.ts";
import { gatewayStore } from "#products/ai-gateway/store.ts";
import { tokenCheck } from "#products/ai-gateway/token-check.ts";
import { addressRule, createUpstream } from "#products/ai-gateway/upstream.ts";
import { gatewayHost, publicUrl } from "#roles/addresses.ts";
import { openRole, serveUntilTold } from "#roles/role.ts";

/** AI Gateway: reaches the providers, and holds no state but its own. */
export async function runAi(runtimeFolder: string): Promise<void> {
  const { config, data, runtime } = await openRole(runtimeFolder);
  const db = await openDatabase(data.aiDb, ["ai-gateway"]);
  const gateways = gatewayStore(db, Buffer.from(processVariable("SOLUM_AI_SEAL_KEY"), "hex"));
  const logs = logStore(db);
  const upstream = createUpstream(addressRule({ ports: [config.port], addresses: ownAddresses }));
  const bases = readBases(config.aiProviders);
  const pipeline = createPipeline({
    gateways,
    logs,
    upstream,
    cache: cacheStore(db),
    cooldowns: new Cooldowns(),
    mayAct: tokenCheck(runtime.control),
    registry: {
      customProvider: (accountId, slug) => gateways.findProvider(accountId, slug),
      storedKey: () => undefined,
      baseOf: (slug) => bases.get(slug),
    },
  });
  const urlOf: GatewayUrl = (accountId, gatewayId, provider) =>
    [publicUrl(config, gatewayHost(config)), "v1", accountId, gatewayId, ...(provider ? [provider] : [])].join("/");

  const publicServer = createWireServer(publicHandler(pipeline));
  await publicServer.listen(runtime.gateway);
  const api = createApi();
  api.get("/ready", (c) => c.text("ready"));
  api.route("/client/v4/accounts/:account_id/ai-gateway", aiGatewayRoutes({ gateways, logs, urlOf }));
  const apiServer = createAdaptorServer({ fetch: api.fetch });
  await rm(runtime.ai, { force: true });
  apiServer.listen(runtime.ai);
  await once(apiServer, "listening");
  await chmod(runtime.ai, 0o600);

  await serveUntilTold("ai", async () => {
    await publicServer.close();
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
