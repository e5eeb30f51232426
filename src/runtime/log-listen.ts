import { logLimits, logListenPath } from "#products/logs/schema.ts";
import type { Fronts } from "#runtime/fronts.ts";
import { askSocket } from "#runtime/probe.ts";

/**
 * Tells every process of a Worker that somebody listens to its logs, so that no event of theirs comes without its headers.
 * One that does not answer in time (it may be starting, leaving or frozen) learns it with its next batch.
 */
export async function tellProcesses(fronts: Fronts, workerId: string): Promise<void> {
  const ask = { method: "POST", path: logListenPath, ms: logLimits.tellMs };
  const probes = [...fronts.all()].flatMap(({ front }) =>
    front.version.workerId === workerId && front.sockets ? [front.sockets.probe] : [],
  );
  await Promise.allSettled(probes.map((probe) => askSocket(probe, ask)));
}
