import { inspect, type styleText } from "node:util";
import type { LogException, LogLevel, LogMessage, LogOutcome } from "#products/logs/schema.ts";

type Style = Parameters<typeof styleText>[0];
/** Dresses a text up for where it is printed: in colour on a terminal. */
export type Paint = (style: Style, text: string) => string;

/** A message for people: what happened, when and how it ended, then its lines and what was thrown. */
export function messageText(message: LogMessage, paint: Paint): string {
  const notice = noticeOf(message);
  if (notice !== undefined) return `${paint("yellow", escape(notice))}\n`;
  const lines = message.logs.map(({ level, message: parts, timestamp }) => {
    const text = indented(parts.map(partText).join(" "), "                       ");
    return `  ${paint("dim", timeText(timestamp))} ${paint(levelStyles[level], level.padEnd(5))}  ${text}`;
  });
  const thrown = message.exceptions.map((exception) => exceptionText(exception, paint));
  return `${[headline(message, paint), ...lines, ...thrown].join("\n")}\n`;
}

const outcomes: Record<LogOutcome, { text: string; style: Style }> = {
  ok: { text: "Ok", style: "green" },
  canceled: { text: "Canceled", style: "yellow" },
  exception: { text: "Exception Thrown", style: "red" },
  exceededCpu: { text: "Exceeded CPU Limit", style: "red" },
  exceededMemory: { text: "Exceeded Memory Limit", style: "red" },
  unknown: { text: "Unknown", style: "red" },
};

const levelStyles: Record<LogLevel, Style> = {
  debug: "dim",
  info: "cyan",
  log: "reset",
  warn: "yellow",
  error: "red",
};

function headline(message: LogMessage, paint: Paint): string {
  const { outcome, wallTime, scriptVersion, eventTimestamp, part } = message;
  const { text, style } = outcomes[outcome];
  // Lines that came after their invocation was told, or before the first: how that ended is not news.
  const ending = part === undefined ? ` - ${paint(style, text)}` : "";
  const took = wallTime === undefined || part !== undefined ? [] : [`${wallTime} ms`];
  const details = [...took, scriptVersion.id.slice(0, 8)].join(", ");
  return `${paint("dim", timeText(eventTimestamp))} ${paint("bold", escape(describe(message)))}${ending} ${paint("dim", `(${details})`)}`;
}

/** Members of `event` in the shapes of Cloudflare's tail (wrangler-api §8); which are there says what it is. */
type Trigger = {
  request?: { method: string; url: string };
  response?: { status: number };
  rpcMethod?: string;
  cron?: string;
  queue?: string;
  batchSize?: number;
  mailFrom?: string;
  rcptTo?: string;
  rawSize?: number;
  scheduledTime?: string | number;
  getWebSocketEvent?: { webSocketEventType: string };
  consumedEvents?: { scriptName: string | null }[];
};

function describe({ event, entrypoint, part }: LogMessage): string {
  if (part === "startup") return "Start-up";
  const what = event ? (describeTrigger(event, entrypoint) ?? entrypoint ?? "Event") : entrypoint;
  return `${what ?? "Outside of any invocation"}${part === "late" ? " (later)" : ""}`;
}

/** What set the invocation off. */
function describeTrigger(trigger: Trigger, entrypoint: string | undefined): string | undefined {
  const { request, response, rpcMethod, cron, queue, batchSize, mailFrom, scheduledTime } = trigger;
  if (request) return `${request.method} ${request.url}${response ? ` ${response.status}` : ""}`;
  if (rpcMethod !== undefined) return `${entrypoint}.${rpcMethod}()`;
  if (cron !== undefined) return `Cron "${cron}"`;
  if (queue !== undefined) return `Queue ${queue}, ${batchSize} message${batchSize === 1 ? "" : "s"}`;
  if (mailFrom !== undefined) return `Email from ${mailFrom} to ${trigger.rcptTo}, ${trigger.rawSize} bytes`;
  if (scheduledTime !== undefined) return "Alarm";
  if (trigger.getWebSocketEvent) return `WebSocket ${trigger.getWebSocketEvent.webSocketEventType}`;
  const { consumedEvents } = trigger;
  return consumedEvents && `Tailing ${[...new Set(consumedEvents.map(({ scriptName }) => scriptName))].join(", ")}`;
}

/** The text of a message about the logs themselves. */
function noticeOf({ event, id }: LogMessage): string | undefined {
  return id === null && typeof event?.["message"] === "string" && "type" in event ? event["message"] : undefined;
}

function exceptionText({ name, message, stack }: LogException, paint: Paint): string {
  const frames = (stack ?? "").split("\n").filter((line) => line.trim() !== "");
  const text = `  ${paint("red", indented(escape(`${name}: ${message}`), "    "))}`;
  return [text, ...frames.map((line) => paint("dim", `    ${escape(line.trim())}`))].join("\n");
}

function partText(part: unknown): string {
  return typeof part === "string" ? escape(part) : inspect(part, { depth: 6, breakLength: Infinity, compact: true });
}

/** What a Worker logs must not steer the terminal: control characters are shown as wrangler shows them. */
function escape(text: string): string {
  return text.replaceAll(
    // oxlint-disable-next-line no-control-regex -- they are what is looked for.
    /[\0-\u0008\u000b-\u001f\u007f-\u009f]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function indented(text: string, by: string): string {
  return text.replaceAll("\n", `\n${by}`);
}

/** Of the day, where the reader is. */
function timeText(ms: number): string {
  const at = new Date(ms);
  const two = (value: number) => String(value).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
