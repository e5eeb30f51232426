import type { LogMessage } from "#products/logs/schema.ts";

/**
 * A message as Cloudflare's tail sends it: the members that `wrangler tail --format json` prints there. No process knows the
 * CPU time of one invocation (workerd says 0, too).
 */
export function tailMessage(message: LogMessage): Record<string, unknown> {
  const { wallTime, truncated, executionModel, entrypoint, outcome, scriptVersion, scriptName } = message;
  return {
    wallTime: wallTime ?? 0,
    cpuTime: 0,
    truncated: truncated ?? false,
    executionModel: executionModel ?? "stateless",
    outcome,
    scriptVersion,
    scriptName,
    ...(entrypoint === undefined ? {} : { entrypoint }),
    diagnosticsChannelEvents: [],
    exceptions: message.exceptions,
    logs: message.logs,
    eventTimestamp: message.eventTimestamp,
    event: message.event,
  };
}
