import { newHexId } from "#core/ids.ts";
import type { Database } from "#db/database.ts";
import { zoneErrors } from "#products/zones/errors.ts";
import { hostName } from "#products/zones/pattern.ts";
import {
  isPlatformHost,
  zonePlans,
  type PlatformHosts,
  type RoutedWorker,
  type WantedDomain,
  type WantedRoute,
} from "#products/zones/plans.ts";
import type { CustomDomain, Zone, ZoneRoute } from "#products/zones/schema.ts";
import * as writes from "#products/zones/writes.ts";

type RouteChange = { pattern: string; worker: RoutedWorker | undefined };

/** Domains of accounts and what of them goes to Workers. What another account owns does not exist. */
export interface ZoneStore {
  /** By name. */
  list(accountIds: readonly string[]): Promise<Zone[]>;
  find(accountIds: readonly string[], zoneId: string): Promise<Zone | undefined>;
  create(accountId: string, name: string): Promise<Zone>;
  delete(zone: Zone): Promise<void>;
  routes(zone: Zone): Promise<ZoneRoute[]>;
  createRoute(zone: Zone, change: RouteChange): Promise<ZoneRoute>;
  /** Undefined when there is no such route. */
  updateRoute(zone: Zone, id: string, change: RouteChange): Promise<ZoneRoute | undefined>;
  deleteRoute(zone: Zone, id: string): Promise<boolean>;
  routesOf(worker: RoutedWorker): Promise<ZoneRoute[]>;
  /** Makes these all the routes of the Worker, in whatever zones. */
  replaceRoutes(worker: RoutedWorker, wanted: readonly WantedRoute[]): Promise<ZoneRoute[]>;
  domains(accountId: string): Promise<CustomDomain[]>;
  /** Gives hosts to a Worker: `replace` makes them all that it has, `override` takes them from other Workers. */
  setDomains(
    worker: RoutedWorker,
    wanted: readonly WantedDomain[],
    how: { replace: boolean; override: boolean },
  ): Promise<CustomDomain[]>;
  /** The domain that one wanted would be, without writing it; refuses what `setDomains` would refuse about the host. */
  planDomain(worker: RoutedWorker, wanted: WantedDomain): Promise<CustomDomain>;
  deleteDomain(accountId: string, id: string): Promise<boolean>;
}

export function zoneStore(db: Database, platform: PlatformHosts): ZoneStore {
  const { zonesOf, planRoute, planDomain, planWorkerRoute } = zonePlans(db, platform);

  const routeColumns = `SELECT zone_routes.id, zone_id, zones.name AS zone_name, pattern, workers.name AS script
    FROM zone_routes JOIN zones ON zones.id = zone_routes.zone_id LEFT JOIN workers ON workers.id = zone_routes.worker_id`;
  const domainColumns = `SELECT custom_domains.id, zone_id, zones.name AS zone_name, hostname, enabled,
    custom_domains.previews_enabled,
    workers.name AS script FROM custom_domains JOIN zones ON zones.id = custom_domains.zone_id
    JOIN workers ON workers.id = custom_domains.worker_id`;

  const routeOf = (zone: Zone, { id, pattern }: writes.NewRoute, worker: RoutedWorker | undefined): ZoneRoute => ({
    id,
    zoneId: zone.id,
    zoneName: zone.name,
    pattern,
    script: worker?.name,
  });

  const store: ZoneStore = {
    async list(accountIds) {
      return zonesOf(accountIds).toSorted((a, b) => (a.name < b.name ? -1 : 1));
    },
    async find(accountIds, zoneId) {
      return zonesOf(accountIds).find(({ id }) => id === zoneId);
    },
    async create(accountId, wanted) {
      const name = hostName(wanted);
      if (name === undefined || !name.includes(".")) throw zoneErrors.nameInvalid(wanted);
      if (isPlatformHost(name, platform)) throw zoneErrors.namePlatform(name);
      const now = new Date().toISOString();
      const zone = { id: newHexId(), accountId, name, createdOn: now, modifiedOn: now };
      await db.write(writes.createZone, zone);
      return zone;
    },
    async delete({ id }) {
      await db.write(writes.deleteZone, { id });
    },
    async routes(zone) {
      return db.prepare(`${routeColumns} WHERE zone_id = ? ORDER BY pattern`).all(zone.id).map(toRoute);
    },
    async createRoute(zone, { pattern, worker }) {
      const route = planRoute(zone, pattern, worker);
      await db.write(writes.createRoute, route);
      return routeOf(zone, route, worker);
    },
    async updateRoute(zone, id, { pattern, worker }) {
      const route = { ...planRoute(zone, pattern, worker), id };
      return (await db.write(writes.replaceRoute, route)) ? routeOf(zone, route, worker) : undefined;
    },
    deleteRoute: (zone, id) => db.write(writes.deleteRoute, { zoneId: zone.id, id }),
    async routesOf(worker) {
      return db.prepare(`${routeColumns} WHERE worker_id = ? ORDER BY pattern`).all(worker.id).map(toRoute);
    },
    async replaceRoutes(worker, wanted) {
      const routes = wanted.map((route) => planWorkerRoute(worker, route));
      await db.write(writes.replaceWorkerRoutes, { workerId: worker.id, routes });
      return store.routesOf(worker);
    },
    async domains(accountId) {
      const rows = db.prepare(`${domainColumns} WHERE custom_domains.account_id = ? ORDER BY hostname`).all(accountId);
      return rows.map(toDomain);
    },
    async setDomains(worker, wanted, { replace, override }) {
      const domains = wanted.map((domain) => planDomain(worker, domain));
      await db.write(writes.setDomains, { workerId: worker.id, domains, replace, override });
      const names = new Set(domains.map(({ hostname }) => hostname));
      return (await store.domains(worker.accountId)).filter(({ hostname }) => names.has(hostname));
    },
    async planDomain(worker, wanted) {
      const planned = planDomain(worker, wanted);
      const zone = zonesOf([worker.accountId]).find(({ id }) => id === planned.zoneId);
      return { ...planned, zoneName: zone?.name ?? "", script: worker.name };
    },
    deleteDomain: (accountId, id) => db.write(writes.deleteDomain, { accountId, id }),
  };
  return store;
}

function toRoute(row: Record<string, unknown>): ZoneRoute {
  return {
    id: String(row["id"]),
    zoneId: String(row["zone_id"]),
    zoneName: String(row["zone_name"]),
    pattern: String(row["pattern"]),
    script: typeof row["script"] === "string" ? row["script"] : undefined,
  };
}

function toDomain(row: Record<string, unknown>): CustomDomain {
  return {
    id: String(row["id"]),
    zoneId: String(row["zone_id"]),
    zoneName: String(row["zone_name"]),
    hostname: String(row["hostname"]),
    script: String(row["script"]),
    enabled: row["enabled"] === 1,
    previewsEnabled: row["previews_enabled"] === 1,
  };
}
