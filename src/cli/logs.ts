import { createInterface } from "node:readline";
import { askApi } from "#cli/client.ts";
import { findInstance } from "#cli/instance.ts";
import type { LogMessage } from "#products/logs/schema.ts";

/** `solum logs WORKER`: invocations, log lines and exceptions as they happen, until Ctrl-C. */
export async function logs(options: { worker: string; data?: string; json: boolean }): Promise<void> {
  const instance = await findInstance(options.data);
  const answer = await askApi(instance, `/workers/scripts/${encodeURIComponent(options.worker)}/logs/live`);
  if (!options.json) process.stderr.write(`Waiting for ${options.worker} ... (Ctrl-C ends it)\n`);
  for await (const line of createInterface({ input: answer })) {
    if (line === "") continue;
    process.stdout.write(options.json ? `${line}\n` : render(JSON.parse(line) as LogMessage));
  }
}

function render(message: LogMessage): string {
  const time = (ms: number) => new Date(ms).toISOString().slice(11, 23);
  const lines = message.logs.map(
    ({ level, message: parts, timestamp }) => `  ${time(timestamp)} ${level.padEnd(5)} ${asTexts(parts).join(" ")}`,
  );
  const errors = message.exceptions.map(
    ({ name, message: text, stack }) => `  ${name}: ${text}${stack ? `\n${indent(stack)}` : ""}`,
  );
  return `${[`${time(message.eventTimestamp ?? Date.now())} ${describe(message)}`, ...lines, ...errors].join("\n")}\n`;
}

function describe({ event, outcome, entrypoint, scriptVersion }: LogMessage): string {
  const version = scriptVersion?.id.slice(0, 8) ?? "";
  const request = event?.["request"] as { method?: string; url?: string } | undefined;
  const response = event?.["response"] as { status?: number } | undefined;
  const what = request
    ? `${request.method} ${request.url} ${response?.status ?? ""}`.trimEnd()
    : (entrypoint ?? "event");
  return `${what} ${outcome} ${version}`;
}

function asTexts(parts: readonly unknown[]): string[] {
  return parts.map((part) => (typeof part === "string" ? part : JSON.stringify(part)));
}

function indent(stack: string): string {
  return stack
    .split("\n")
    .slice(1)
    .map((line) => `    ${line.trim()}`)
    .join("\n");
}
