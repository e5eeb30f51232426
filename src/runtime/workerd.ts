import { createRequire } from "node:module";

/** Path of the workerd that Solum runs: the package for this machine, not wrangler's older one in `node_modules/.bin`. */
export function workerdPath(): string {
  const name = process.arch === "arm64" ? "@cloudflare/workerd-linux-arm64" : "@cloudflare/workerd-linux-64";
  return createRequire(import.meta.url).resolve(`${name}/bin/workerd`);
}
