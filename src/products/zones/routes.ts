import { createRoutes, ok, pageOf, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import { apiErrors } from "#http/errors.ts";
import { zoneErrors } from "#products/zones/errors.ts";
import { hostName } from "#products/zones/pattern.ts";
import { newZone, routeBody, type Zone, type ZoneRoute } from "#products/zones/schema.ts";
import type { RoutedWorker } from "#products/zones/plans.ts";
import type { ZoneStore } from "#products/zones/store.ts";

export type ZoneParts = {
  store: ZoneStore;
  findWorker: (accountId: string, name: string) => Promise<RoutedWorker | undefined>;
  accountName: (accountId: string) => Promise<string>;
  /** Resolves when the ingress serves what was written. */
  settle: () => Promise<void>;
};

/** `/zones`: domains, and the routes on them (https://developers.cloudflare.com/api/resources/zones/, wrangler-api §3.7). */
export function zoneRoutes({ store, findWorker, accountName, settle }: ZoneParts): Api {
  const app = createRoutes();
  const zoneOf = async (c: ApiContext): Promise<Zone> => {
    const zone = await store.find(c.get("principal").accountIds, param(c, "zone_id"));
    if (!zone) throw noSuch(c);
    return zone;
  };
  const json = async (zone: Zone) => zoneJson(zone, await accountName(zone.accountId));
  const changeOf = async (c: ApiContext, zone: Zone) => {
    const { pattern, script } = await readJson(c, routeBody);
    if (!script) return { pattern, worker: undefined };
    const worker = await findWorker(zone.accountId, script);
    if (!worker) throw zoneErrors.scriptNotFound();
    return { pattern, worker };
  };

  app.get("/", async (c) => {
    const { name, status, "account.id": accountId } = c.req.query();
    const mine = c.get("principal").accountIds.filter((id) => accountId === undefined || id === accountId);
    const named = (await store.list(mine)).filter((zone) => name === undefined || zone.name === hostName(name));
    const zones = status === undefined || status === "active" ? named : [];
    const { items, info } = paginate(zones, pageOf(c, { perPage: 20, perPageMax: 50 }));
    return ok(c, await Promise.all(items.map(json)), info);
  });
  app.post("/", async (c) => {
    const { name, account } = await readJson(c, newZone);
    const { accountIds } = c.get("principal");
    const accountId = account?.id ?? accountIds[0];
    if (accountId === undefined || !accountIds.includes(accountId)) throw apiErrors.authentication();
    return ok(c, await json(await store.create(accountId, name)));
  });
  app.get("/:zone_id", async (c) => ok(c, await json(await zoneOf(c))));
  app.delete("/:zone_id", async (c) => {
    const zone = await zoneOf(c);
    await store.delete(zone);
    await settle();
    return ok(c, { id: zone.id });
  });

  app.get("/:zone_id/workers/routes", async (c) => ok(c, (await store.routes(await zoneOf(c))).map(routeJson)));
  app.post("/:zone_id/workers/routes", async (c) => {
    const zone = await zoneOf(c);
    const route = await store.createRoute(zone, await changeOf(c, zone));
    await settle();
    return ok(c, routeJson(route));
  });
  app.get("/:zone_id/workers/routes/:route_id", async (c) => {
    const found = (await store.routes(await zoneOf(c))).find(({ id }) => id === param(c, "route_id"));
    if (!found) throw noSuch(c);
    return ok(c, routeJson(found));
  });
  app.put("/:zone_id/workers/routes/:route_id", async (c) => {
    const zone = await zoneOf(c);
    const route = await store.updateRoute(zone, param(c, "route_id"), await changeOf(c, zone));
    if (!route) throw noSuch(c);
    await settle();
    return ok(c, routeJson(route));
  });
  app.delete("/:zone_id/workers/routes/:route_id", async (c) => {
    const id = param(c, "route_id");
    if (!(await store.deleteRoute(await zoneOf(c), id))) throw noSuch(c);
    await settle();
    return ok(c, { id });
  });
  return app;
}

/** A route as the API shows it: without `script` when it keeps Workers away. */
export function routeJson({ id, pattern, script }: ZoneRoute) {
  return { id, pattern, ...(script === undefined ? {} : { script }) };
}

/** A zone is active from the start: its name server is not ours, so there is nothing to wait for. */
function zoneJson(zone: Zone, accountName: string) {
  return {
    id: zone.id,
    name: zone.name,
    status: "active",
    paused: false,
    type: "full",
    development_mode: 0,
    name_servers: [],
    original_name_servers: [],
    created_on: zone.createdOn,
    modified_on: zone.modifiedOn,
    activated_on: zone.createdOn,
    account: { id: zone.accountId, name: accountName },
    owner: { id: zone.accountId, type: "organization", name: accountName },
    permissions: ["#zone:read", "#zone:edit", "#worker:read", "#worker:edit"],
  };
}

function noSuch(c: ApiContext) {
  return apiErrors.noRoute(new URL(c.req.url).pathname);
}
