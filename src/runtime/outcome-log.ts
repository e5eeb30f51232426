import { request, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { bindHeader } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { logBatchPath, logLimits, type LogBatch } from "#products/logs/schema.ts";
import type { CondemnOutcome } from "#runtime/routes.ts";

/** Texts of Cloudflare's exceptions for these outcomes (workers/observability/errors/#runtime-errors). */
const messages: Record<CondemnOutcome, string> = {
  exceededCpu: "Worker exceeded CPU time limit.",
  exceededMemory: "Worker exceeded memory limit.",
};

/** Tells a Worker's log why its process is ended: what runs in it cannot say so itself any more. */
export async function logOutcome(
  options: { socket: string; capabilityKey: Buffer; workerId: string; versionId: string },
  outcome: CondemnOutcome,
): Promise<void> {
  const { socket, capabilityKey, workerId: scope, versionId: resource } = options;
  const now = Date.now();
  const exception = { name: "Error", message: messages[outcome], timestamp: now };
  const batch: LogBatch = {
    events: [{ id: null, outcome, eventTimestamp: now, event: null, logs: [], exceptions: [exception] }],
    unlisted: 0,
    dropped: 0,
  };
  const body = JSON.stringify(batch);
  const outgoing = request({
    socketPath: socket,
    method: "POST",
    path: logBatchPath,
    headers: {
      host: "log",
      "content-length": Buffer.byteLength(body),
      [bindHeader]: signCapability(capabilityKey, { scope, kind: "log", resource }),
    },
    signal: AbortSignal.timeout(logLimits.sendMs),
    agent: false,
  });
  outgoing.end(body);
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  response.resume();
  if (response.statusCode !== 200) throw new Error(`the log socket answered ${response.statusCode}`);
}
