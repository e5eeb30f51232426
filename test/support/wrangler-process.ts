import { join } from "node:path";

const modules = join(import.meta.dirname, "..", "..", "node_modules");

/** The program of an installed wrangler, by the name of its package. */
export function wranglerProgram(packageName: string): string {
  return join(modules, packageName, "bin", "wrangler.js");
}

/**
 * What every wrangler of the tests gets: nothing of ours, only that it does not ask the npm registry for updates, and that Node
 * keeps its compiled code (a fifth of a command's CPU time, and there are hundreds of commands).
 */
export const wranglerEnvironment = {
  PATH: process.env["PATH"] ?? "",
  CI: "1",
  NO_COLOR: "1",
  WRANGLER_HIDE_BANNER: "true",
  WRANGLER_SEND_METRICS: "false",
  NODE_COMPILE_CACHE: join(modules, ".cache", "wrangler"),
};
