import type { DesiredWorker } from "#products/workers/desired.ts";
import type { AppHosts, Preview } from "#products/workers/previews.ts";
import type { Version, Worker } from "#products/workers/schema.ts";
import type { DesiredZones } from "#products/zones/desired.ts";
import type { FrontTarget } from "#runtime/version-fronts.ts";
import type { Route, RoutingTable, Target } from "#runtime/routes.ts";

export type TableInput = AppHosts & {
  generation: number;
  desired: readonly DesiredWorker[];
  zones: DesiredZones;
  /** What goes to processes of the platform. */
  platform: PlatformRoutes;
  /** Previews in use; each is only what `previewOf` says now. */
  previews: readonly Preview[];
  targetOf: (versionId: string) => FrontTarget;
  /** The table in force: a Worker whose new version is not ready yet stays with what serves. */
  previous: RoutingTable | undefined;
  consoleHost: string;
  appDomain: string;
};

/** Hosts and patterns that lead to no Worker: R2's endpoint, public buckets. */
export type PlatformRoutes = Pick<RoutingTable, "hosts" | "patterns">;

type WorkerRoute = Route & { kind: "worker" };

/** What the ingress should serve now. */
export function buildTable(input: TableInput): RoutingTable {
  const table: RoutingTable = { generation: input.generation, hosts: {}, patterns: [], services: {}, targets: {} };
  const routes = new Map<string, WorkerRoute>();
  for (const { worker, versions } of input.desired) {
    const service = `${worker.accountId}/${worker.name}`;
    const wanted: WorkerRoute = {
      kind: "worker",
      script: worker.name,
      versions: versions.map(({ version, percentage }) => ({ target: version.id, weight: percentage })),
    };
    const targets = versions.map(({ version }) => targetFor(worker, version, input));
    const before = previousOf(input.previous, service);
    const ready = targets.every(({ sockets, asleep }) => sockets.length > 0 || asleep);
    // One that sleeps, or is just waking, answers whoever asks: only one that fails gives way to what may yet fail as well.
    const serving =
      !ready &&
      before !== undefined &&
      before.targets.every(({ versionId }) => input.targetOf(versionId).down === undefined);
    const route = serving ? before.route : wanted;
    for (const target of serving ? before.targets : targets)
      table.targets[target.versionId] = { ...target, ...input.targetOf(target.versionId) };
    table.services[service] = route;
    routes.set(worker.id, route);
  }
  addPreviews(table, input);
  Object.assign(table.hosts, input.platform.hosts);
  table.patterns.push(...input.platform.patterns);
  addZones(table, input.zones, routes);
  // A Worker's own host goes before a custom domain or a preview that says the same, and the console's before everything.
  for (const { worker } of input.desired) {
    const route = routes.get(worker.id);
    if (route && worker.subdomainEnabled) table.hosts[workerHost(worker, input)] = route;
  }
  table.hosts[input.consoleHost] = { kind: "console" };
  return table;
}

/** Where a Worker answers. */
export function workerHost(
  worker: { name: string; accountId: string },
  { accountLabels, appDomain }: AppHosts,
): string {
  const label = accountLabels.get(worker.accountId);
  return label === undefined ? `${worker.name}.${appDomain}` : `${worker.name}.${label}.${appDomain}`;
}

/** Whether two tables say the same, whatever their generation. */
export function sameTable(a: RoutingTable | undefined, b: RoutingTable): boolean {
  return a !== undefined && JSON.stringify({ ...a, generation: 0 }) === JSON.stringify({ ...b, generation: 0 });
}

/** A version that is previewed may be one that is deployed: then both share its processes. */
function addPreviews(table: RoutingTable, input: TableInput): void {
  for (const { host, worker, version } of input.previews) {
    table.targets[version.id] ??= targetFor(worker, version, input);
    table.hosts[host] = { kind: "worker", script: worker.name, versions: [{ target: version.id, weight: 100 }] };
  }
}

/** A route of a Worker that is not deployed yet leads to no Worker. */
function addZones(table: RoutingTable, zones: DesiredZones, routes: ReadonlyMap<string, WorkerRoute>): void {
  for (const { zone, scheme, host, path, workerId } of zones.routes) {
    const route = workerId === null ? null : (routes.get(workerId) ?? null);
    table.patterns.push({ host, path, zone, route, ...(scheme === undefined ? {} : { scheme }) });
  }
  for (const { hostname, workerId } of zones.domains) {
    const route = routes.get(workerId);
    if (route) table.hosts[hostname] = route;
  }
}

function targetFor(worker: Worker, version: Version, { targetOf }: TableInput): Target {
  return { workerId: worker.id, script: worker.name, versionId: version.id, ...targetOf(version.id) };
}

function previousOf(
  table: RoutingTable | undefined,
  service: string,
): { route: WorkerRoute; targets: Target[] } | undefined {
  const route = table?.services[service];
  if (!table || route?.kind !== "worker") return undefined;
  const targets = route.versions.flatMap(({ target }) => table.targets[target] ?? []);
  return targets.length > 0 ? { route, targets } : undefined;
}
