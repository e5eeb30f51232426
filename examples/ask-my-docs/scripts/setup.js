// The first deployment: the Worker with everything it binds to, the tables, and a secret that nobody has seen.
// Safe to run again. What is written behind it goes to every command, for example: npm run setup -- --env staging
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";

const wrangler = join(createRequire(import.meta.url).resolve("wrangler/package.json"), "..", "bin", "wrangler.js");
// An empty name is the environment without a name.
const target = process.argv.length > 2 ? process.argv.slice(2) : ["--env", ""];

run(["deploy"]);
run(["d1", "migrations", "apply", "DB", "--remote"]);

const secrets = JSON.parse(run(["secret", "list"], { show: false }));
if (secrets.some(({ name }) => name === "JWT_SECRET")) {
  console.log("JWT_SECRET is there already and stays as it is.");
} else {
  // Through standard input, so that it is neither in the shell's history nor in the list of processes.
  run(["secret", "put", "JWT_SECRET"], { input: randomBytes(32).toString("base64url") });
}

/** Runs the wrangler that is installed here and returns what it printed. When it fails, so does the setup. */
function run(command, { input, show = true } = {}) {
  const { status, stdout } = spawnSync(process.execPath, [wrangler, ...command, ...target], {
    input,
    encoding: "utf8",
    stdio: [input === undefined ? "inherit" : "pipe", show ? "inherit" : "pipe", "inherit"],
  });
  if (status !== 0) process.exit(status ?? 1);
  return stdout;
}
