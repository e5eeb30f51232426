import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { Config } from "#config.ts";
import { createLogger, setLogLevel } from "#core/log.ts";
import { dataLayout, runtimeLayout, type DataLayout, type RuntimeLayout } from "#core/layout.ts";

/** What every role starts from: the configuration that the supervisor wrote, and where everything is. */
export type RoleContext = { config: Config; data: DataLayout; runtime: RuntimeLayout };

export async function openRole(runtimeFolder: string): Promise<RoleContext> {
  const runtime = runtimeLayout(runtimeFolder);
  const config = JSON.parse(await readFile(runtime.config, "utf8")) as Config;
  setLogLevel(config.logLevel);
  return { config, data: dataLayout(config.data), runtime };
}

/** Waits for SIGTERM, runs `stop` and ends the process. */
export async function serveUntilTold(name: string, stop: () => Promise<void>): Promise<void> {
  const log = createLogger(name);
  log.info("serving", { pid: process.pid });
  await once(process, "SIGTERM");
  await stop();
  log.info("stopped");
  process.exit(0);
}
