import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const root = join(import.meta.dirname, "..", "..");
const wrangler = join(root, "node_modules", "wrangler", "bin", "wrangler.js");
const startDeadlineMs = 60_000;
const stopDeadlineMs = 10_000;

/** Starts a fresh ask-my-docs with empty stores on a free port, from a copy, so that nothing is left in the repository. */
export async function startExample(): Promise<{ url: string; stop(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "ask-my-docs-"));
  try {
    await cp(join(root, "examples", "ask-my-docs"), folder, {
      recursive: true,
      filter: (source) => !/\/(node_modules|dist|\.wrangler|\.dev\.vars)$/.test(source),
    });
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    await writeFile(join(folder, ".dev.vars"), `JWT_SECRET="${crypto.randomUUID()}"\n`);
    const state = ["--persist-to", join(folder, "state")];
    await succeed(run(folder, ["d1", "migrations", "apply", "DB", "--local", ...state]));
    const server = run(folder, ["dev", "--ip", "127.0.0.1", "--port", "0", ...state]);
    const stop = async () => {
      await end(server.process);
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    };
    try {
      return { url: await readyUrl(server), stop };
    } catch (error) {
      await stop();
      throw error;
    }
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

interface Running {
  process: ChildProcess;
  output: () => string;
}

/** Its own process group, so that what it starts ends with it. */
function run(cwd: string, command: readonly string[]): Running {
  const child = spawn(process.execPath, [wrangler, ...command], {
    cwd,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      CI: "1",
      NO_COLOR: "1",
      WRANGLER_SEND_METRICS: "false",
      XDG_CONFIG_HOME: join(cwd, "config"),
    },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
  return { process: child, output: () => output };
}

async function succeed({ process: child, output }: Running): Promise<void> {
  const [code] = await once(child, "close", { signal: AbortSignal.timeout(startDeadlineMs) });
  if (code !== 0) throw new Error(`wrangler failed:\n${output()}`);
}

async function readyUrl({ process: child, output }: Running): Promise<string> {
  const deadline = Date.now() + startDeadlineMs;
  while (Date.now() < deadline && child.exitCode === null) {
    const url = /Ready on (http:\/\/\S+)/.exec(output())?.[1];
    if (url !== undefined) return url;
    await delay(50);
  }
  throw new Error(`wrangler dev did not get ready:\n${output()}`);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null) return;
  const closed = once(child, "close", { signal: AbortSignal.timeout(stopDeadlineMs) });
  process.kill(-child.pid, "SIGTERM");
  const group = -child.pid;
  await closed.catch(() => process.kill(group, "SIGKILL"));
}
