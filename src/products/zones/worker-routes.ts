import { accountOf, createRoutes, ok, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { apiErrors } from "#http/errors.ts";
import { zoneErrors } from "#products/zones/errors.ts";
import { hostName } from "#products/zones/pattern.ts";
import { routeJson, type ZoneParts } from "#products/zones/routes.ts";
import {
  changesetBody,
  domainBody,
  domainRecordsBody,
  workerRoutesBody,
  type CustomDomain,
  type ZoneRoute,
} from "#products/zones/schema.ts";
import type { RoutedWorker } from "#products/zones/plans.ts";

type Parts = Omit<ZoneParts, "accountName"> & {
  /** The Worker, or error 10007. */
  getWorker: (accountId: string, name: string) => Promise<RoutedWorker>;
};

/** Below `/accounts/:account_id/workers`: a Worker's routes and custom domains in all zones (wrangler-api §3.7). */
export function workerZoneRoutes({ store, getWorker, findWorker, settle }: Parts): Api {
  const app = createRoutes();
  const workerOf = (c: ApiContext) => getWorker(accountOf(c), param(c, "name"));

  const listRoutes = async (c: ApiContext) => ok(c, (await store.routesOf(await workerOf(c))).map(withZoneName));
  app.get("/scripts/:name/routes", listRoutes);
  app.get("/services/:name/environments/:environment/routes", listRoutes);
  app.put("/scripts/:name/routes", async (c) => {
    const worker = await workerOf(c);
    const routes = await store.replaceRoutes(worker, await readJson(c, workerRoutesBody));
    await settle();
    return ok(c, routes.map(withZoneName));
  });

  app.post("/scripts/:name/domains/changeset", async (c) => {
    const worker = await workerOf(c);
    const wanted = await readJson(c, changesetBody);
    const planned = await Promise.all(wanted.map((domain) => store.planDomain(worker, domain)));
    const existing = await store.domains(worker.accountId);
    const replaces = c.req.query("replace_state") === "true";
    return ok(c, changeset(worker, { planned, existing, replaces }));
  });
  app.put("/scripts/:name/domains/records", async (c) => {
    const worker = await workerOf(c);
    const body = await readJson(c, domainRecordsBody);
    const how = { replace: body.override_scope, override: body.override_existing_origin };
    const domains = await store.setDomains(worker, body.origins, how);
    await settle();
    return ok(c, domains.map(domainJson));
  });

  for (const path of ["/domains/records", "/domains"]) {
    app.get(path, async (c) => {
      const { service, hostname, zone_id: zoneId, zone_name: zoneName } = c.req.query();
      const matching = (await store.domains(accountOf(c))).filter(
        (domain) =>
          (service === undefined || domain.script === service) &&
          (hostname === undefined || domain.hostname === hostName(hostname)) &&
          (zoneId === undefined || domain.zoneId === zoneId) &&
          (zoneName === undefined || domain.zoneName === zoneName),
      );
      return ok(c, matching.map(domainJson));
    });
    app.get(`${path}/:domain_id`, async (c) => {
      const found = (await store.domains(accountOf(c))).find(({ id }) => id === param(c, "domain_id"));
      if (!found) throw noSuch(c);
      return ok(c, domainJson(found));
    });
    app.delete(`${path}/:domain_id`, async (c) => {
      if (!(await store.deleteDomain(accountOf(c), param(c, "domain_id")))) throw noSuch(c);
      await settle();
      return ok(c, null);
    });
  }
  app.put("/domains", async (c) => {
    const { service, ...wanted } = await readJson(c, domainBody);
    const worker = await findWorker(accountOf(c), service);
    if (!worker) throw zoneErrors.scriptNotFound();
    // The public API moves a host to the Worker that it names (workers/domains: "attaches a domain to a Worker").
    const domain = { ...wanted, enabled: true, previews_enabled: false };
    const [attached] = await store.setDomains(worker, [domain], { replace: false, override: true });
    await settle();
    return ok(c, attached && domainJson(attached));
  });
  return app;
}

/** What replacing a Worker's domains would do, as wrangler wants to show it before it asks. */
function changeset(
  worker: RoutedWorker,
  { planned, existing, replaces }: { planned: CustomDomain[]; existing: CustomDomain[]; replaces: boolean },
) {
  const byName = new Map(existing.map((domain) => [domain.hostname, domain]));
  const wanted = new Set(planned.map(({ hostname }) => hostname));
  const mine = existing.filter(({ script }) => script === worker.name);
  return {
    added: planned.filter(({ hostname }) => !byName.has(hostname)).map(domainJson),
    removed: replaces ? mine.filter(({ hostname }) => !wanted.has(hostname)).map(domainJson) : [],
    updated: planned.flatMap((domain) => {
      const before = byName.get(domain.hostname);
      if (!before) return [];
      const modified =
        before.script !== worker.name ||
        before.enabled !== domain.enabled ||
        before.previewsEnabled !== domain.previewsEnabled;
      return [{ ...domainJson({ ...domain, id: before.id }), modified }];
    }),
    // Zones have no DNS records here, so none can be in the way.
    conflicting: [],
  };
}

function withZoneName(route: ZoneRoute) {
  return { ...routeJson(route), zone_id: route.zoneId, zone_name: route.zoneName };
}

function domainJson(domain: CustomDomain) {
  return {
    id: domain.id,
    zone_id: domain.zoneId,
    zone_name: domain.zoneName,
    hostname: domain.hostname,
    service: domain.script,
    environment: "production",
    enabled: domain.enabled,
    previews_enabled: domain.previewsEnabled,
  };
}

function noSuch(c: ApiContext) {
  return apiErrors.noRoute(new URL(c.req.url).pathname);
}
