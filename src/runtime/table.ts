import type { DesiredWorker } from "#products/workers/desired.ts";
import type { FrontTarget } from "#runtime/fronts.ts";
import type { Route, RoutingTable, Target } from "#runtime/routes.ts";

export type TableInput = {
  generation: number;
  desired: readonly DesiredWorker[];
  /** Label of each account below the app domain; undefined for the first account, whose Workers are there directly. */
  accountLabels: ReadonlyMap<string, string | undefined>;
  targetOf: (versionId: string) => FrontTarget;
  /** The table in force: a Worker whose new version is not ready yet stays with what serves. */
  previous: RoutingTable | undefined;
  consoleHost: string;
  appDomain: string;
};

/** What the ingress should serve now. */
export function buildTable(input: TableInput): RoutingTable {
  const table: RoutingTable = { generation: input.generation, hosts: {}, patterns: [], services: {}, targets: {} };
  for (const { worker, versions } of input.desired) {
    const service = `${worker.accountId}/${worker.name}`;
    const wanted: Route = {
      kind: "worker",
      script: worker.name,
      versions: versions.map(({ version, percentage }) => ({ target: version.id, weight: percentage })),
    };
    const targets = versions.map(({ version }): Target => ({
      workerId: worker.id,
      script: worker.name,
      versionId: version.id,
      ...input.targetOf(version.id),
    }));
    const before = previousOf(input.previous, service);
    const ready = targets.every(({ sockets }) => sockets.length > 0);
    const serving =
      !ready &&
      before !== undefined &&
      before.targets.every(({ versionId }) => input.targetOf(versionId).sockets.length > 0);
    const route = serving ? before.route : wanted;
    for (const target of serving ? before.targets : targets)
      table.targets[target.versionId] = { ...target, ...input.targetOf(target.versionId) };
    table.services[service] = route;
    if (worker.subdomainEnabled) table.hosts[workerHost(worker, input)] = route;
  }
  table.hosts[input.consoleHost] = { kind: "console" };
  return table;
}

/** Where a Worker answers. */
export function workerHost(
  worker: { name: string; accountId: string },
  { accountLabels, appDomain }: Pick<TableInput, "accountLabels" | "appDomain">,
): string {
  const label = accountLabels.get(worker.accountId);
  return label === undefined ? `${worker.name}.${appDomain}` : `${worker.name}.${label}.${appDomain}`;
}

/** Whether two tables say the same, whatever their generation. */
export function sameTable(a: RoutingTable | undefined, b: RoutingTable): boolean {
  return a !== undefined && JSON.stringify({ ...a, generation: 0 }) === JSON.stringify({ ...b, generation: 0 });
}

function previousOf(
  table: RoutingTable | undefined,
  service: string,
): { route: Route & { kind: "worker" }; targets: Target[] } | undefined {
  const route = table?.services[service];
  if (!table || route?.kind !== "worker") return undefined;
  const targets = route.versions.flatMap(({ target }) => table.targets[target] ?? []);
  return targets.length > 0 ? { route, targets } : undefined;
}
