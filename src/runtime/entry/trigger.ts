import type { LogDetail, LogTrigger } from "#products/logs/schema.ts";

const { create } = Object;

/** Names under which workerd looks for handlers: on an exported object, and on the instances of an exported class. */
export const handlerNames = [
  "fetch",
  "scheduled",
  "queue",
  "email",
  "tail",
  "tailStream",
  "trace",
  "test",
  "connect",
  "alarm",
  "webSocketMessage",
  "webSocketClose",
  "webSocketError",
] as const;

/**
 * What set an invocation off, in the words of Cloudflare's tail. `subject` is the handler's first argument; it is read late,
 * and only as far as `detail` asks, since each look into a native object costs.
 */
export function triggerOf(
  handler: string,
  subject: unknown,
  status: number | undefined,
  detail: LogDetail,
): LogTrigger {
  const about = (typeof subject === "object" && subject !== null ? subject : {}) as Record<string, unknown>;
  switch (handler) {
    case "fetch":
      return { request: requestOf(subject, detail), ...(status === undefined ? {} : { response: { status } }) };
    case "scheduled":
      return { cron: about["cron"] ?? "", scheduledTime: Number(about["scheduledTime"]) };
    case "queue":
      return { queue: about["queue"], batchSize: Array.isArray(about["messages"]) ? about["messages"].length : 0 };
    case "email":
      return { mailFrom: about["from"], rcptTo: about["to"], rawSize: about["rawSize"] };
    case "tail":
    case "trace":
      return {
        consumedEvents: Array.isArray(subject)
          ? subject
              .slice(0, consumedMax)
              .map((item: { scriptName?: unknown }) => ({ scriptName: item.scriptName ?? null }))
          : [],
      };
    case "alarm":
      return { scheduledTime: new Date().toISOString() };
    case "webSocketMessage":
    case "webSocketClose":
    case "webSocketError":
      return { getWebSocketEvent: { webSocketEventType: handler.slice("webSocket".length).toLowerCase() } };
    case "constructor":
    case "connect":
    case "test":
    case "tailStream":
      return null;
    default:
      return { rpcMethod: handler };
  }
}

const consumedMax = 100;
const urlMax = 8 * 1024;

function requestOf(subject: unknown, detail: LogDetail): Record<string, unknown> {
  if (!(subject instanceof Request)) return { url: "", method: "" };
  const { method } = subject;
  const url = subject.url.slice(0, urlMax);
  if (detail === "quiet") return { url, method, headers: {}, cf: {} };
  // A client may call a header as it likes, `__proto__` as well.
  const headers: Record<string, string> = create(null) as Record<string, string>;
  for (const [name, value] of subject.headers) headers[name] = isSecret(name) ? "REDACTED" : value;
  return { url, method, headers, cf: (subject as { cf?: unknown }).cf ?? {} };
}

/** The rule of workerd's own tail (`TraceItem::FetchEventInfo::Request::getHeaders`). */
function isSecret(header: string): boolean {
  return /^(?:cookie|set-cookie)$|auth|jwt|key|secret|token/.test(header);
}
