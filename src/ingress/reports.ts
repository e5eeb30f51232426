import type { Backend } from "#ingress/upstream.ts";

/** What is under way somewhere. */
type OpenCount = { requests: number; webSockets: number };

export type OpenReport = OpenCount & {
  /** Client connections, idle ones among them. */
  connections: number;
  /** Requests that wait for a process. */
  waiting: number;
  /** By target of the routing table, those among them that no table names any more but that still have something open. */
  targets: Record<string, OpenCount>;
  sockets: Record<string, OpenCount & { target: string }>;
};

/** How a stop went: what had to be cut off at its deadline. */
export type DrainReport = { cutRequests: number; cutWebSockets: number };

/** What is open on `backends`. */
export function reportOpen(backends: readonly Backend[], others: { connections: number; waiting: number }): OpenReport {
  const report: OpenReport = { requests: 0, webSockets: 0, ...others, targets: {}, sockets: {} };
  for (const { path, target, requests, webSockets } of backends) {
    report.requests += requests;
    report.webSockets += webSockets;
    report.sockets[path] = { target, requests, webSockets };
    if (target === "") continue;
    const sum = (report.targets[target] ??= { requests: 0, webSockets: 0 });
    sum.requests += requests;
    sum.webSockets += webSockets;
  }
  return report;
}
