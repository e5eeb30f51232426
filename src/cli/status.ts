import { askResult } from "#cli/client.ts";
import { findInstance, type Instance } from "#cli/instance.ts";
import { runtimeLayout } from "#core/layout.ts";
import { askSocket } from "#runtime/probe.ts";
import { readMemory } from "#runtime/proc.ts";
import type { SandboxReport } from "#runtime/sandbox.ts";
import type { SupervisorStatus } from "#runtime/supervisor.ts";

type Row = { name: string; state: string; pid: number | undefined; restarts: number; pssBytes: number | undefined };
type WorkerRow = { name: string; address: string; versions: { id: string; percentage: number; state: string }[] };
export type StatusReport = Instance & {
  /** How Workers' processes are isolated. */
  sandbox: SandboxReport;
  processes: Row[];
  workers: WorkerRow[];
  /** What each deployed version has used. */
  versions: SupervisorStatus["versions"];
};

/** `solum status`: what runs, since when it had to be started again, and where each Worker answers. */
export async function status(options: { data?: string; json: boolean }): Promise<void> {
  const report = await readStatus(await findInstance(options.data));
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : render(report));
}

async function readStatus(instance: Instance): Promise<StatusReport> {
  const { body } = await askSocket(runtimeLayout(instance.runtime).supervisor, { path: "/status", ms: 5000 });
  const { sandbox, services, fronts, versions } = JSON.parse(body) as SupervisorStatus;
  const rows = [
    { name: "supervisor", state: "ready", pid: instance.pid, restarts: 0 },
    ...services,
    ...fronts.map((front) => ({ ...front, name: `${front.scriptName} ${front.versionId.slice(0, 8)}` })),
  ];
  const processes = rows.map(({ name, state, pid, restarts }) => ({
    name,
    state,
    pid,
    restarts,
    pssBytes: pid === undefined ? undefined : readMemory(pid)?.pssBytes,
  }));
  const scripts = await askResult<{ id: string }[]>(instance, "/workers/scripts");
  const workers = await Promise.all(scripts.map(({ id }) => readWorker(instance, id, { fronts, versions })));
  return { ...instance, sandbox, processes, workers, versions };
}

async function readWorker(
  instance: Instance,
  name: string,
  runs: Pick<SupervisorStatus, "fronts" | "versions">,
): Promise<WorkerRow> {
  const [{ subdomain }, { deployments }] = await Promise.all([
    askResult<{ subdomain: { enabled: boolean; url: string } }>(instance, `/workers/workers/${name}`),
    askResult<{ deployments: { versions: { version_id: string; percentage: number }[] }[] }>(
      instance,
      `/workers/scripts/${name}/deployments`,
    ),
  ]);
  const versions = (deployments[0]?.versions ?? []).map(({ version_id: id, percentage }) => ({
    id,
    percentage,
    state: stateOf(id, runs),
  }));
  return { name, address: subdomain.enabled ? subdomain.url : "", versions };
}

function stateOf(id: string, { fronts, versions }: Pick<SupervisorStatus, "fronts" | "versions">): string {
  if (versions.find(({ versionId }) => versionId === id)?.asleep) return "asleep";
  const own = fronts.filter(({ versionId }) => versionId === id);
  return (own.find(({ state }) => state === "ready") ?? own[0])?.state ?? "stopped";
}

function render(report: StatusReport): string {
  const processes = report.processes.map(({ name, state, pid, restarts, pssBytes }) => [
    name,
    state,
    pid === undefined ? "-" : String(pid),
    pssBytes === undefined ? "-" : `${(pssBytes / 1e6).toFixed(0)} MB`,
    restarts === 0 ? "" : `started again ${restarts} times`,
  ]);
  const total = report.processes.reduce((sum, { pssBytes }) => sum + (pssBytes ?? 0), 0);
  const workers = report.workers.map(({ name, address, versions }) => [
    name,
    address || "no address",
    versions.map(({ id, percentage, state }) => `${id.slice(0, 8)} ${percentage} % ${state}`).join(", ") ||
      "not deployed",
  ]);
  return [
    `Solum on ${report.data}, console ${report.url}`,
    "",
    table(["PROCESS", "STATE", "PID", "MEMORY", ""], processes),
    `${(total / 1e6).toFixed(0)} MB in all`,
    "",
    `Isolation of Workers: ${report.sandbox.kind}, ${report.sandbox.summary}.`,
    ...(report.sandbox.lacking === undefined ? [] : [`Why not better: ${report.sandbox.lacking}`]),
    "",
    workers.length === 0
      ? "No Worker is deployed. In a project's folder: solum wrangler deploy"
      : table(["WORKER", "ADDRESS", "VERSIONS"], workers),
    "",
  ].join("\n");
}

function table(head: readonly string[], rows: readonly string[][]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  return [[...head], ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
