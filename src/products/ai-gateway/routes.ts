import { accountOf, createRoutes, ok, pageOf, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import { parseJson } from "#products/ai-gateway/meter.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import type { DynamicRoutes } from "#products/ai-gateway/dynamic-routes.ts";
import { gatewayOf } from "#products/ai-gateway/gateway-of.ts";
import { keyRoutes } from "#products/ai-gateway/key-routes.ts";
import { logRoutes } from "#products/ai-gateway/log-routes.ts";
import type { LogStore } from "#products/ai-gateway/log-store.ts";
import { dynamicRouteRoutes } from "#products/ai-gateway/route-routes.ts";
import type { ProviderKeys } from "#products/ai-gateway/provider-keys.ts";
import {
  changedCustomProvider,
  customProvider,
  gatewaySettings,
  newGateway,
  unkeptPromise,
  type CustomProvider,
  type Gateway,
  type GatewaySettings,
} from "#products/ai-gateway/schema.ts";
import type { GatewayStore } from "#products/ai-gateway/store.ts";

export type RoutesParts = {
  gateways: GatewayStore;
  logs: LogStore;
  keys: ProviderKeys;
  routes: DynamicRoutes;
  /** Address of a gateway, or of a provider in it. */
  urlOf: GatewayUrl;
};

export type GatewayUrl = (accountId: string, gatewayId: string, provider?: string) => string;

/** Below `/accounts/:account_id/ai-gateway` (https://developers.cloudflare.com/api/resources/ai_gateway/). */
export function aiGatewayRoutes(parts: RoutesParts): Api {
  const app = createRoutes();
  gatewayRoutes(app, parts);
  providerRoutes(app, parts.gateways);
  keyRoutes(app, parts);
  dynamicRouteRoutes(app, parts);
  logRoutes(app, parts);
  return app;
}

function gatewayRoutes(app: Api, { gateways, keys, routes, urlOf }: RoutesParts): void {
  app.get("/gateways", (c) => {
    const all = gateways.list(accountOf(c), c.req.query("search"));
    const { items, info } = paginate(all.map(gatewayJson), pageOf(c, { perPage: 20, perPageMax: 100 }));
    return ok(c, items, info);
  });
  app.post("/gateways", async (c) => {
    const { id, ...settings } = await readJson(c, newGateway);
    checkPromises(settings);
    return ok(c, gatewayJson(await gateways.create(accountOf(c), id, settings)));
  });
  app.get("/gateways/:gateway_id", (c) => ok(c, gatewayJson(gatewayOf(c, gateways))));
  app.put("/gateways/:gateway_id", async (c) => {
    const settings = await readJson(c, gatewaySettings);
    checkPromises(settings);
    return ok(c, gatewayJson(await gateways.update(accountOf(c), param(c, "gateway_id"), settings)));
  });
  app.delete("/gateways/:gateway_id", async (c) => {
    const gateway = gatewayOf(c, gateways);
    await gateways.delete(gateway.accountId, gateway.id);
    keys.forget(gateway);
    routes.forget(gateway);
    return ok(c, gatewayJson(gateway));
  });
  app.get("/gateways/:gateway_id/url/:provider", (c) => {
    const { accountId, id } = gatewayOf(c, gateways);
    const provider = param(c, "provider");
    return ok(c, urlOf(accountId, id, provider === "universal" ? undefined : provider));
  });
}

function providerRoutes(app: Api, gateways: GatewayStore): void {
  const find = (c: ApiContext): CustomProvider => {
    const provider = gateways.listProviders(accountOf(c)).find(({ id }) => id === param(c, "provider_id"));
    if (!provider) throw gatewayErrors.notFound("Custom provider");
    return provider;
  };
  app.get("/custom-providers", (c) => {
    const search = c.req.query("search") ?? "";
    const all = gateways
      .listProviders(accountOf(c))
      .filter(({ body }) => body.name.includes(search) || body.slug.includes(search));
    const { items, info } = paginate(all.map(providerJson), pageOf(c, { perPage: 20, perPageMax: 100 }));
    return ok(c, items, info);
  });
  app.post("/custom-providers", async (c) => {
    const body = await readJson(c, customProvider);
    checkHeaders(body.headers);
    return ok(c, providerJson(await gateways.createProvider(accountOf(c), body)));
  });
  app.get("/custom-providers/:provider_id", (c) => ok(c, providerJson(find(c))));
  app.patch("/custom-providers/:provider_id", async (c) => {
    const change = await readJson(c, changedCustomProvider);
    checkHeaders(change.headers);
    return ok(c, providerJson(await gateways.updateProvider(accountOf(c), param(c, "provider_id"), change)));
  });
  app.delete("/custom-providers/:provider_id", async (c) => {
    const provider = find(c);
    await gateways.deleteProvider(provider.accountId, provider.id);
    return ok(c, providerJson(provider));
  });
}

/** A setting that is stored and does nothing would be believed in. */
function checkPromises(settings: GatewaySettings): void {
  const name = unkeptPromise(settings);
  if (name !== undefined) throw gatewayErrors.notDone(name);
}

/** A JSON object of header names and texts that can be sent as they are. */
function checkHeaders(text: string | undefined): void {
  if (text === undefined) return;
  const headers = parseJson(text);
  const sendable =
    typeof headers === "object" &&
    headers !== null &&
    Object.entries(headers).every(
      ([name, value]) =>
        typeof value === "string" &&
        /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name) &&
        /^[\t\x20-\x7e\xa0-\xff]*$/.test(value),
    );
  if (!sendable) throw gatewayErrors.invalid("headers must be a JSON object of header names and texts");
}

function gatewayJson({ id, settings, createdAt, modifiedAt }: Gateway) {
  return { ...settings, id, is_default: id === "default", created_at: createdAt, modified_at: modifiedAt };
}

function providerJson({ id, body, createdAt, modifiedAt }: CustomProvider) {
  return { ...body, id, created_at: createdAt, modified_at: modifiedAt };
}
