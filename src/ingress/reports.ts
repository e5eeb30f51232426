import type { OpenReport } from "#runtime/routes.ts";
import type { Backend, Usage } from "#ingress/upstream.ts";

/** How a stop went: what had to be cut off at its deadline. */
export type DrainReport = { cutRequests: number; cutWebSockets: number };

/** What is open on `backends`. */
export function reportOpen(
  backends: readonly Backend[],
  usages: ReadonlyMap<string, Usage>,
  others: { connections: number; waiting: number },
): OpenReport {
  const report: OpenReport = { requests: 0, webSockets: 0, ...others, targets: {}, sockets: {} };
  for (const { path, target, requests, webSockets } of backends) {
    report.requests += requests;
    report.webSockets += webSockets;
    report.sockets[path] = { target, requests, webSockets };
    if (target === "") continue;
    const usage = usages.get(target);
    const sum = (report.targets[target] ??= {
      requests: 0,
      webSockets: 0,
      lastUsedAgoMs: Math.round(performance.now() - (usage?.lastUsedMs ?? 0)),
      requestsStarted: usage?.requestsStarted ?? 0,
    });
    sum.requests += requests;
    sum.webSockets += webSockets;
    if (requests + webSockets > 0) sum.lastUsedAgoMs = 0;
  }
  return report;
}
