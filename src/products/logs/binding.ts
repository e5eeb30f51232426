import { z } from "zod";
import { bindHeader } from "#core/binding-piece.ts";
import { capabilityReader } from "#core/capability.ts";
import type { WireHandler } from "#http/wire/server.ts";
import { logBatchPath, logLevels, logLimits, type LogBatch, type LogReply } from "#products/logs/schema.ts";
import type { LogStore } from "#products/logs/store.ts";

/** Kind of the capability that a version's process sends its batches with; the resource is the version's id. */
const logCapability = "log";

/**
 * The log socket of the Worker `workerId`: takes batches of events. What comes in was written by a process that runs user
 * code, so every member is checked, and whose version it is follows from the capability alone.
 */
export function logHandler(options: { capabilityKey: Buffer; workerId: string; store: LogStore }): WireHandler {
  const versionOf = capabilityReader(options.capabilityKey, options.workerId);
  return async (request) => {
    const versionId = versionOf(request.header(bindHeader), logCapability);
    if (versionId === undefined) return { status: 403 };
    if (request.method !== "POST" || request.target !== logBatchPath) return { status: 404 };
    const batch = parseBatch(await request.bytes(logLimits.readBytes));
    if (!batch) return { status: 400 };
    const reply: LogReply = { detail: options.store.accept(options.workerId, versionId, batch) };
    return { status: 200, body: JSON.stringify(reply) };
  };
}

const text = z.string().max(64 * 1024);
const milliseconds = z.number().min(0).max(8.64e15);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const errorInfo = z.object({ name: text, message: text, stack: text.optional() });

const line = z.object({
  level: z.enum(logLevels as [string, ...string[]]),
  message: z.array(z.unknown()),
  timestamp: milliseconds,
  errorInfo: z.array(errorInfo.nullable()).optional(),
});

/** Not `z.record`, which leaves out `__proto__`: a header may be called so. */
const headers = z.custom<Record<string, string>>(
  (value) =>
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((one) => typeof one === "string"),
);

/** Whatever is said about what set an invocation off, the members that are looked at are what they should be; else it is unknown. */
const trigger = z
  .looseObject({
    request: z.looseObject({ url: z.string(), method: z.string(), headers: headers.optional() }).optional(),
    response: z.looseObject({ status: z.number() }).optional(),
    rpcMethod: z.string().optional(),
    cron: z.string().optional(),
    scheduledTime: z.union([z.string(), z.number()]).nullish(),
    queue: z.string().optional(),
    batchSize: z.number().optional(),
    mailFrom: z.string().optional(),
    rcptTo: z.string().optional(),
    rawSize: z.number().optional(),
    getWebSocketEvent: z.looseObject({ webSocketEventType: z.string() }).optional(),
    consumedEvents: z.array(z.looseObject({ scriptName: z.string().nullable() })).optional(),
  })
  .nullable()
  .catch(null);

const event = z.object({
  id: z.string().max(64).nullable(),
  part: z.enum(["startup", "late"]).optional(),
  entrypoint: z.string().max(1024).optional(),
  outcome: z.enum(["ok", "exception", "canceled", "exceededCpu", "exceededMemory", "unknown"]),
  eventTimestamp: milliseconds,
  wallTime: milliseconds.optional(),
  event: trigger,
  logs: z.array(line),
  exceptions: z.array(errorInfo.extend({ timestamp: milliseconds })),
  executionModel: z.enum(["durableObject", "workflow"]).optional(),
  truncated: z.boolean().optional(),
});

const batchSchema = z.object({
  events: z.array(event).max(logLimits.readEvents),
  unlisted: count,
  dropped: count,
});

function parseBatch(bytes: Buffer): LogBatch | undefined {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
  const result = batchSchema.safeParse(json);
  return result.success ? (result.data as LogBatch) : undefined;
}
