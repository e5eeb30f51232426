import { transaction, type DatabaseSchema, type WriteConnection } from "#db/schema.ts";
import { bucketHasHost } from "#products/r2/public-hosts.ts";
import { zoneErrors } from "#products/zones/errors.ts";
import { isWithin, type RouteParts } from "#products/zones/pattern.ts";
import { limits, type Zone } from "#products/zones/schema.ts";

export const createZone = transaction("zones.create", (db, zone: Zone): void => {
  const all = db.prepare("SELECT name, account_id FROM zones").all();
  if (all.some((row) => row["name"] === zone.name)) throw zoneErrors.nameTaken(zone.name);
  const others = all.filter((row) => row["account_id"] !== zone.accountId).map((row) => String(row["name"]));
  if (others.some((name) => isWithin(name, zone.name) || isWithin(zone.name, name)))
    throw zoneErrors.nameOverlaps(zone.name);
  if (all.length - others.length >= limits.zonesPerAccount) throw zoneErrors.tooManyZones(limits.zonesPerAccount);
  db.prepare("INSERT INTO zones (id, account_id, name, created_on, modified_on) VALUES (?, ?, ?, ?, ?)").run(
    zone.id,
    zone.accountId,
    zone.name,
    zone.createdOn,
    zone.modifiedOn,
  );
});

export const deleteZone = transaction("zones.delete", (db, { id }: { id: string }): void => {
  db.prepare("DELETE FROM zones WHERE id = ?").run(id);
});

/** A route to be: `workerId` null for one that keeps Workers away. */
export type NewRoute = {
  id: string;
  accountId: string;
  zoneId: string;
  workerId: string | null;
  pattern: string;
  parts: RouteParts;
  createdOn: string;
};

export const createRoute = transaction("zones.createRoute", (db, route: NewRoute): void => {
  insertRoute(db, route);
  checkRoom(db, "zone_routes", [route]);
});

/** Another pattern or another Worker for a route that keeps its id. */
export const replaceRoute = transaction("zones.replaceRoute", (db, route: NewRoute): boolean => {
  const { changes } = db.prepare("DELETE FROM zone_routes WHERE id = ? AND zone_id = ?").run(route.id, route.zoneId);
  if (changes === 0) return false;
  insertRoute(db, route);
  return true;
});

export const deleteRoute = transaction(
  "zones.deleteRoute",
  (db, { zoneId, id }: { zoneId: string; id: string }): boolean =>
    db.prepare("DELETE FROM zone_routes WHERE id = ? AND zone_id = ?").run(id, zoneId).changes > 0,
);

/** Makes `routes` all the routes of a Worker. One that it had keeps its id; one of another Worker refuses the whole change. */
export const replaceWorkerRoutes = transaction(
  "zones.replaceWorkerRoutes",
  (db, { workerId, routes }: { workerId: string; routes: NewRoute[] }): void => {
    const before = db.prepare("SELECT id, zone_id, pattern FROM zone_routes WHERE worker_id = ?").all(workerId);
    const idOf = new Map(before.map((row) => [`${String(row["zone_id"])} ${String(row["pattern"])}`, row["id"]]));
    db.prepare("DELETE FROM zone_routes WHERE worker_id = ?").run(workerId);
    for (const route of routes) {
      const known = idOf.get(`${route.zoneId} ${route.pattern}`);
      insertRoute(db, { ...route, id: typeof known === "string" ? known : route.id });
    }
    checkRoom(db, "zone_routes", routes);
  },
);

function insertRoute(db: WriteConnection, route: NewRoute): void {
  requireWorker(db, route);
  const { scheme, host, path } = route.parts;
  const same = db
    .prepare(
      `SELECT workers.name AS script FROM zone_routes LEFT JOIN workers ON workers.id = zone_routes.worker_id
       WHERE zone_id = ? AND scheme = ? AND host = ? AND path = ?`,
    )
    .get(route.zoneId, scheme ?? "", host, path);
  if (same)
    throw zoneErrors.duplicateRoute(route.pattern, same["script"] === null ? undefined : String(same["script"]));
  db.prepare(
    `INSERT INTO zone_routes (id, account_id, zone_id, worker_id, pattern, scheme, host, path, created_on)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  ).run(
    route.id,
    route.accountId,
    route.zoneId,
    route.workerId,
    route.pattern,
    scheme ?? "",
    host,
    path,
    route.createdOn,
  );
}

export type NewDomain = {
  id: string;
  accountId: string;
  zoneId: string;
  workerId: string;
  hostname: string;
  enabled: boolean;
  previewsEnabled: boolean;
  createdOn: string;
};

/**
 * Gives hosts to a Worker; with `replace` they are all that it has. A host of another Worker is taken over only with
 * `override`; without, nothing happens at all.
 */
export const setDomains = transaction(
  "zones.setDomains",
  (db, change: { workerId: string; domains: NewDomain[]; replace: boolean; override: boolean }): void => {
    if (change.replace) {
      const wanted = new Set(change.domains.map(({ hostname }) => hostname));
      const had = db.prepare("SELECT hostname FROM custom_domains WHERE worker_id = ?").all(change.workerId);
      for (const { hostname } of had)
        if (!wanted.has(String(hostname)))
          db.prepare("DELETE FROM custom_domains WHERE hostname = ?").run(hostname ?? "");
    }
    for (const domain of change.domains) setDomain(db, domain, change.override);
    checkRoom(db, "custom_domains", change.domains);
  },
);

function setDomain(db: WriteConnection, domain: NewDomain, override: boolean): void {
  requireWorker(db, domain);
  // `override` is about other Workers: a bucket's host is let go where it was given, at the bucket.
  if (bucketHasHost(db, domain.hostname)) throw zoneErrors.hostnameOfBucket(domain.hostname);
  const before = db
    .prepare(
      `SELECT custom_domains.worker_id, workers.name AS script FROM custom_domains
       JOIN workers ON workers.id = custom_domains.worker_id WHERE hostname = ?`,
    )
    .get(domain.hostname);
  if (before && before["worker_id"] !== domain.workerId && !override)
    throw zoneErrors.hostnameTaken(domain.hostname, String(before["script"]));
  db.prepare(
    `INSERT INTO custom_domains (id, account_id, zone_id, worker_id, hostname, enabled, previews_enabled, created_on)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (hostname) DO UPDATE SET zone_id = excluded.zone_id, worker_id = excluded.worker_id,
       enabled = excluded.enabled, previews_enabled = excluded.previews_enabled`,
  ).run(
    domain.id,
    domain.accountId,
    domain.zoneId,
    domain.workerId,
    domain.hostname,
    Number(domain.enabled),
    Number(domain.previewsEnabled),
    domain.createdOn,
  );
}

export const deleteDomain = transaction(
  "zones.deleteDomain",
  (db, { accountId, id }: { accountId: string; id: string }): boolean =>
    db.prepare("DELETE FROM custom_domains WHERE id = ? AND account_id = ?").run(id, accountId).changes > 0,
);

/** Refuses a change that leaves a zone, an account or the whole installation with more than it can have. */
function checkRoom(
  db: WriteConnection,
  table: "zone_routes" | "custom_domains",
  added: readonly { zoneId: string; accountId: string }[],
): void {
  const check = (whose: string, max: number, where: string, ...values: string[]) => {
    const count = db.prepare(`SELECT count(*) AS count FROM ${table} ${where}`).get(...values)?.["count"];
    if (Number(count) > max) throw zoneErrors.tooMany(whose, max, table);
  };
  const perZone = table === "zone_routes" ? limits.routesPerZone : limits.domainsPerZone;
  for (const zoneId of new Set(added.map((row) => row.zoneId))) check("A zone", perZone, "WHERE zone_id = ?", zoneId);
  for (const accountId of new Set(added.map((row) => row.accountId)))
    check("An account", limits.perAccount, "WHERE account_id = ?", accountId);
  check("This installation", limits.inAll, "");
}

/** The Worker may have been deleted, and the zone too, since they were looked up. */
function requireWorker(
  db: WriteConnection,
  { accountId, zoneId, workerId }: { accountId: string; zoneId: string; workerId: string | null },
): void {
  const zone = db.prepare("SELECT 1 AS one FROM zones WHERE id = ? AND account_id = ?").get(zoneId, accountId);
  if (!zone) throw zoneErrors.zoneNotFound(zoneId);
  if (workerId === null) return;
  const worker = db.prepare("SELECT 1 AS one FROM workers WHERE id = ? AND account_id = ?").get(workerId, accountId);
  if (!worker) throw zoneErrors.scriptNotFound();
}

export const zonesSchema: DatabaseSchema = {
  product: "zones",
  migrations: [
    `CREATE TABLE zones (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
       name TEXT NOT NULL UNIQUE,
       created_on TEXT NOT NULL,
       modified_on TEXT NOT NULL
     ) STRICT;
     CREATE TABLE zone_routes (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       zone_id TEXT NOT NULL REFERENCES zones (id) ON DELETE CASCADE,
       worker_id TEXT REFERENCES workers (id) ON DELETE CASCADE,
       pattern TEXT NOT NULL,
       scheme TEXT NOT NULL,
       host TEXT NOT NULL,
       path TEXT NOT NULL,
       created_on TEXT NOT NULL,
       UNIQUE (zone_id, scheme, host, path)
     ) STRICT;
     CREATE INDEX zone_routes_of_worker ON zone_routes (worker_id);
     CREATE TABLE custom_domains (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       zone_id TEXT NOT NULL REFERENCES zones (id) ON DELETE CASCADE,
       worker_id TEXT NOT NULL REFERENCES workers (id) ON DELETE CASCADE,
       hostname TEXT NOT NULL UNIQUE,
       enabled INTEGER NOT NULL,
       previews_enabled INTEGER NOT NULL,
       created_on TEXT NOT NULL
     ) STRICT;
     CREATE INDEX custom_domains_of_worker ON custom_domains (worker_id);`,
  ],
  transactions: [
    createZone,
    deleteZone,
    createRoute,
    replaceRoute,
    deleteRoute,
    replaceWorkerRoutes,
    setDomains,
    deleteDomain,
  ],
};
