import { newHexId } from "#core/ids.ts";
import type { Database } from "#db/database.ts";
import { zoneErrors } from "#products/zones/errors.ts";
import { hostInPattern, hostName, isWithin, parsePattern } from "#products/zones/pattern.ts";
import type { Zone } from "#products/zones/schema.ts";
import type { NewDomain, NewRoute } from "#products/zones/writes.ts";

/** A Worker as zones know it. */
export type RoutedWorker = { id: string; accountId: string; name: string };

/** A zone by what a client says of it; without either it is found by the host. */
export type ZoneHint = { zone_id?: string | undefined; zone_name?: string | undefined };

export type WantedRoute = { pattern: string } & ZoneHint;
export type WantedDomain = { hostname: string; enabled: boolean; previews_enabled: boolean } & ZoneHint;

/** Hosts that the platform keeps: no zone can lie among them and no route or custom domain can take them. */
export type PlatformHosts = { appDomain: string; consoleHost: string };

/** Checks what is wanted of zones, up to the moment of writing. */
export function zonePlans(db: Database, platform: PlatformHosts) {
  const zonesOf = (accountIds: readonly string[]) =>
    accountIds.flatMap((id) =>
      db.prepare("SELECT * FROM zones WHERE account_id = ? ORDER BY name").all(id).map(toZone),
    );

  /** `shown`: how the error names what has no zone. */
  const zoneFor = (accountId: string, shown: string, host: string | undefined, hint: ZoneHint): Zone => {
    const zones = zonesOf([accountId]);
    const found =
      hint.zone_id !== undefined
        ? zones.find(({ id }) => id === hint.zone_id)
        : hint.zone_name !== undefined
          ? zones.find(({ name }) => name === hostName(hint.zone_name ?? ""))
          : zones
              .filter(({ name }) => host !== undefined && isWithin(host, name))
              .toSorted((a, b) => b.name.length - a.name.length)[0];
    if (!found) throw zoneErrors.zoneNotFound(shown);
    return found;
  };

  const planRoute = (zone: Zone, pattern: string, worker: RoutedWorker | undefined): NewRoute => {
    const parts = parsePattern(pattern, zone.name);
    if (takesPlatformHost(parts.host, zone, platform)) throw zoneErrors.platformHost();
    return {
      id: newHexId(),
      accountId: zone.accountId,
      zoneId: zone.id,
      workerId: worker?.id ?? null,
      pattern,
      parts,
      createdOn: new Date().toISOString(),
    };
  };

  const planDomain = (worker: RoutedWorker, wanted: WantedDomain): NewDomain => {
    const hostname = hostName(wanted.hostname);
    if (hostname === undefined) throw zoneErrors.hostnameInvalid(wanted.hostname);
    if (isPlatformHost(hostname, platform)) throw zoneErrors.platformHost();
    const zone = zoneFor(worker.accountId, hostname, hostname, wanted);
    if (!isWithin(hostname, zone.name)) throw zoneErrors.zoneNotFound(hostname);
    return {
      id: newHexId(),
      accountId: worker.accountId,
      zoneId: zone.id,
      workerId: worker.id,
      hostname,
      enabled: wanted.enabled,
      previewsEnabled: wanted.previews_enabled,
      createdOn: new Date().toISOString(),
    };
  };

  return {
    zonesOf,
    planRoute,
    planDomain,
    /** A route of a Worker in the zone that its pattern lies in. */
    planWorkerRoute: (worker: RoutedWorker, { pattern, ...hint }: WantedRoute): NewRoute =>
      planRoute(zoneFor(worker.accountId, pattern, hostInPattern(pattern), hint), pattern, worker),
  };
}

export function isPlatformHost(host: string, { appDomain, consoleHost }: PlatformHosts): boolean {
  return isWithin(host, appDomain) || host === consoleHost;
}

/** A wildcard takes them too when they lie in the zone. */
function takesPlatformHost(host: string, zone: Zone, platform: PlatformHosts): boolean {
  if (!host.startsWith("*")) return isPlatformHost(host, platform);
  const rest = host.slice(1);
  const ends = (name: string) => isWithin(name, zone.name) && (name.endsWith(rest) || name === rest.slice(1));
  return ends(`x.${platform.appDomain}`) || ends(platform.consoleHost) || isWithin(rest, platform.appDomain);
}

function toZone(row: Record<string, unknown>): Zone {
  return {
    id: String(row["id"]),
    accountId: String(row["account_id"]),
    name: String(row["name"]),
    createdOn: String(row["created_on"]),
    modifiedOn: String(row["modified_on"]),
  };
}
