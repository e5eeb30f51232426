import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { styleText } from "node:util";
import { askApi } from "#cli/client.ts";
import { findInstance } from "#cli/instance.ts";
import { messageText } from "#cli/log-text.ts";
import { sleep } from "#core/deadline.ts";
import { systemCode, UserError } from "#core/errors.ts";
import type { TailFilter } from "#products/logs/filters.ts";
import type { LogMessage } from "#products/logs/schema.ts";

/** The options of `solum logs`, which are those of `wrangler tail`. */
export type LogsOptions = {
  worker: string;
  data?: string;
  json: boolean;
  status?: string[];
  method?: string[];
  header?: string;
  search?: string;
  ip?: string[];
  samplingRate?: string;
  versionId?: string;
};

/** How long the control process may take to come back. */
const comeBackMs = 30_000;
const tryEveryMs = 500;

/** `solum logs WORKER`: invocations, log lines and exceptions as they happen, until Ctrl-C. */
export async function logs(options: LogsOptions): Promise<void> {
  const filters = JSON.stringify(filtersOf(options));
  const path = `/workers/scripts/${encodeURIComponent(options.worker)}/logs/live?filters=${encodeURIComponent(filters)}`;
  const stop = stopSignal();
  try {
    let answer = await askApi(await findInstance(options.data), path, stop);
    if (!options.json) process.stderr.write(`Waiting for ${options.worker} ... (Ctrl-C ends it)\n`);
    for (;;) {
      await printAll(answer, options.json, stop);
      answer = await comeBack(path, options, stop);
    }
  } catch (error) {
    if (!stop.aborted) throw error;
  }
}

/** Aborts on Ctrl-C, SIGTERM and when nobody reads what is printed. */
function stopSignal(): AbortSignal {
  const stopped = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stopped.abort());
  process.stdout.on("error", (error) => {
    if (systemCode(error) !== "EPIPE") throw error;
    stopped.abort();
  });
  return stopped.signal;
}

async function printAll(answer: IncomingMessage, json: boolean, stop: AbortSignal): Promise<void> {
  const paint = (style: Parameters<typeof styleText>[0], text: string) =>
    styleText(style, text, { stream: process.stdout });
  try {
    for await (const line of linesOf(answer)) {
      const text = json ? `${line}\n` : messageText(JSON.parse(line) as LogMessage, paint);
      if (!process.stdout.write(text)) await once(process.stdout, "drain", { signal: stop });
    }
  } catch (error) {
    // The control process went away.
    if (systemCode(error) !== "ECONNRESET") throw error;
  }
}

/** Not readline: it throws an error of the stream at nobody while a line is being printed. */
async function* linesOf(answer: IncomingMessage): AsyncGenerator<string> {
  let rest = "";
  for await (const piece of answer.setEncoding("utf8") as AsyncIterable<string>) {
    const lines = `${rest}${piece}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") yield line;
  }
}

/** The same again after the control process was restarted. It also ends what it sends when the Worker is deleted. */
async function comeBack(path: string, options: LogsOptions, stop: AbortSignal): Promise<IncomingMessage> {
  stop.throwIfAborted();
  process.stderr.write("The connection ended. Connecting again ...\n");
  const end = performance.now() + comeBackMs;
  for (;;) {
    // Says so when Solum was stopped.
    const instance = await findInstance(options.data);
    try {
      return await askApi(instance, path, stop);
    } catch (error) {
      if (performance.now() > end || !isRestart(error)) throw error;
    }
    await sleep(tryEveryMs, stop);
  }
}

function isRestart(error: unknown): boolean {
  return (error instanceof UserError && error.message.includes("restarting")) || systemCode(error) === "ECONNRESET";
}

/** The filters as `wrangler tail` makes them of its options. */
function filtersOf(options: LogsOptions): TailFilter[] {
  const filters: TailFilter[] = [];
  if (options.samplingRate !== undefined) {
    const rate = Number(options.samplingRate);
    if (!(rate > 0 && rate < 1)) throw new UserError("A sampling rate must be between 0 and 1, such as 0.25.");
    filters.push({ sampling_rate: rate });
  }
  if (options.status) filters.push({ outcome: [...new Set(options.status.flatMap(outcomesOf))] });
  if (options.method) filters.push({ method: options.method });
  if (options.header !== undefined) {
    const [key = "", ...query] = options.header.split(":");
    filters.push({
      header: { key: key.trim(), ...(query.length === 0 ? {} : { query: query.join(":").trim() }) },
    });
  }
  // Whoever runs this is on this machine.
  if (options.ip)
    filters.push({ client_ip: options.ip.map((address) => (address === "self" ? "127.0.0.1" : address)) });
  if (options.search !== undefined) filters.push({ query: options.search });
  if (options.versionId !== undefined) filters.push({ scriptVersion: options.versionId });
  return filters;
}

function outcomesOf(
  status: string,
): ("ok" | "canceled" | "exception" | "exceededCpu" | "exceededMemory" | "unknown")[] {
  if (status === "ok" || status === "canceled") return [status];
  if (status === "error") return ["exception", "exceededCpu", "exceededMemory", "unknown"];
  throw new UserError(`--status is ok, error or canceled, and not "${status}".`);
}
