import { ok, pageOf, param, readJson, type Api } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import { gatewayOf } from "#products/ai-gateway/gateway-of.ts";
import type { ProviderKeys } from "#products/ai-gateway/provider-keys.ts";
import { newProviderConfig } from "#products/ai-gateway/schema.ts";
import type { GatewayStore } from "#products/ai-gateway/store.ts";

export function keyRoutes(app: Api, { gateways, keys }: { gateways: GatewayStore; keys: ProviderKeys }): void {
  app.get("/gateways/:gateway_id/provider_configs", (c) => {
    const { items, info } = paginate(keys.list(gatewayOf(c, gateways)), pageOf(c, { perPage: 20, perPageMax: 100 }));
    return ok(c, items, info);
  });
  app.post("/gateways/:gateway_id/provider_configs", async (c) =>
    ok(c, await keys.create(gatewayOf(c, gateways), await readJson(c, newProviderConfig))),
  );
  app.delete("/gateways/:gateway_id/provider_configs/:config_id", async (c) =>
    ok(c, await keys.delete(gatewayOf(c, gateways), param(c, "config_id"))),
  );
}
