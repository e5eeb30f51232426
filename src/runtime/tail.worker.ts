import { logBatchPath, logLimits, type LogEvent, type LogReply, type LogTrigger } from "#products/logs/schema.ts";
import { Outbox } from "#runtime/entry/outbox.ts";

/**
 * Logs of a service-worker version, whose script cannot be wrapped: workerd's own tail, in the batches that the entry
 * module sends. It costs about twice a hello request (workerd-runtime §13), and workerd does not tell it times.
 */
type LogSocket = { fetch(url: string, init: RequestInit): Promise<Response> };
type Env = { LOG: LogSocket };

let log: LogSocket | undefined;
let waitUntil: ((promise: Promise<unknown>) => void) | undefined;
let count = 0;
const prefix = `${Date.now().toString(36)}-`;

const outbox = new Outbox({
  now: Date.now,
  sleep: async (ms) => scheduler.wait(ms),
  background: (work) => waitUntil?.(work()),
  send: async (body) => {
    const signal = AbortSignal.timeout(logLimits.sendMs);
    try {
      const response = await log?.fetch(`http://log${logBatchPath}`, { method: "POST", body, signal });
      const text = await response?.text();
      return response?.ok && text ? (JSON.parse(text) as LogReply).detail : undefined;
    } catch {
      // As in the entry module: the next batch says how many were lost.
      return undefined;
    }
  },
});

export default {
  tail(items: TraceItem[], env: Env, ctx: ExecutionContext): void {
    log = env.LOG;
    waitUntil = (promise) => ctx.waitUntil(promise);
    for (const item of items) {
      const plain = item.logs.length === 0 && item.exceptions.length === 0 && item.outcome === "ok";
      if (!plain || outbox.takesQuiet()) outbox.add(JSON.stringify(eventOf(item)));
    }
  },
};

function eventOf(item: TraceItem): LogEvent {
  let left: number = logLimits.invocationBytes;
  const logs = item.logs.filter(({ message }) => (left -= JSON.stringify(message).length) > 0);
  return {
    id: `${prefix}${++count}`,
    entrypoint: item.entrypoint ?? "default",
    outcome: item.outcome as LogEvent["outcome"],
    eventTimestamp: item.eventTimestamp ?? Date.now(),
    event: triggerOf(item),
    logs: logs as LogEvent["logs"],
    exceptions: item.exceptions as LogEvent["exceptions"],
    ...(logs.length < item.logs.length ? { truncated: true } : {}),
  };
}

/** Whole, whether or not somebody listens: nobody can tell this process when somebody begins to. */
function triggerOf({ event }: TraceItem): LogTrigger {
  return event ? (JSON.parse(JSON.stringify(event)) as LogTrigger) : null;
}
