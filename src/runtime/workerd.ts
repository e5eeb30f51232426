import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { resolve } = createRequire(import.meta.url);
const packageName = process.arch === "arm64" ? "@cloudflare/workerd-linux-arm64" : "@cloudflare/workerd-linux-64";

/** Path of the workerd that Solum runs: the package for this machine, not wrangler's older one in `node_modules/.bin`. */
export function workerdPath(): string {
  return resolve(`${packageName}/bin/workerd`);
}

/** Days from a workerd's release to the newest compatibility date that it accepts (its `supported-compatibility-date.txt`). */
const daysAhead = 7;

/** The newest compatibility date that this workerd knows, by its version: `1.20261117.1` → `2026-11-24`. */
export function newestCompatibilityDate(): string {
  const { version } = JSON.parse(readFileSync(resolve(`${packageName}/package.json`), "utf8")) as { version: string };
  const [, year, month, day] = /^\d+\.(\d{4})(\d\d)(\d\d)\./.exec(version) ?? [];
  return new Date(Date.UTC(Number(year), Number(month) - 1, Number(day) + daysAhead)).toISOString().slice(0, 10);
}
