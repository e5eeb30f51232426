import type { Reader } from "#db/schema.ts";
/** What zones add to the routing table. `workerId` null: a route that keeps Workers away. */
export type DesiredZones = {
  routes: { zone: string; scheme: "http" | "https" | undefined; host: string; path: string; workerId: string | null }[];
  domains: { hostname: string; workerId: string }[];
};

export function readDesiredZones(db: Reader): DesiredZones {
  const routes = db
    .prepare(
      `SELECT zones.name AS zone, scheme, host, path, worker_id FROM zone_routes
       JOIN zones ON zones.id = zone_routes.zone_id ORDER BY zones.name, host, path, scheme`,
    )
    .all();
  const domains = db
    .prepare("SELECT hostname, worker_id FROM custom_domains WHERE enabled = 1 ORDER BY hostname")
    .all();
  return {
    routes: routes.map((row) => ({
      zone: String(row["zone"]),
      scheme: row["scheme"] === "http" || row["scheme"] === "https" ? row["scheme"] : undefined,
      host: String(row["host"]),
      path: String(row["path"]),
      workerId: row["worker_id"] === null ? null : String(row["worker_id"]),
    })),
    domains: domains.map((row) => ({ hostname: String(row["hostname"]), workerId: String(row["worker_id"]) })),
  };
}
