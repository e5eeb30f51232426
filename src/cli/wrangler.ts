import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { inheritedEnvironment } from "#environment.ts";
import { messageOf, UserError } from "#core/errors.ts";
import { runtimeLayout } from "#core/layout.ts";
import { wranglerEnvironment } from "#cli/environment.ts";
import { askResult } from "#cli/client.ts";
import { findInstance, type Instance } from "#cli/instance.ts";
import { askSocket } from "#runtime/probe.ts";
import type { SupervisorStatus } from "#runtime/supervisor.ts";

/** `solum wrangler …`: wrangler with everything set, and after a deploy the address that it cannot print itself. */
export async function wrangler(args: readonly string[], options: { data?: string; cwd?: string }): Promise<number> {
  const instance = await findInstance(options.data);
  const cwd = options.cwd ?? process.cwd();
  const folder = await mkdtemp(join(tmpdir(), "solum-wrangler-"));
  try {
    const inherited = inheritedEnvironment();
    const output = inherited["WRANGLER_OUTPUT_FILE_PATH"] ?? join(folder, "output.ndjson");
    const before = await readLines(output);
    const code = await run(findWrangler(cwd), args, {
      cwd,
      environment: {
        // wrangler asks the npm registry for updates unless its banner is hidden (wrangler-api §12).
        WRANGLER_HIDE_BANNER: "true",
        ...inherited,
        ...(await wranglerEnvironment(instance)),
        WRANGLER_OUTPUT_FILE_PATH: output,
      },
    });
    const lines = await readLines(output);
    if (code === 0) await announceDeploys(instance, lines.slice(before.length));
    return code;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The project's own wrangler, in the nearest node_modules; else the one that came with Solum. */
function findWrangler(cwd: string): string {
  for (let folder = cwd; ; folder = dirname(folder)) {
    const candidate = join(folder, "node_modules", "wrangler", "bin", "wrangler.js");
    if (existsSync(candidate)) return candidate;
    if (folder === dirname(folder)) break;
  }
  try {
    return join(dirname(createRequire(import.meta.url).resolve("wrangler/package.json")), "bin", "wrangler.js");
  } catch (error) {
    throw new UserError(`There is no wrangler here: npm install --save-dev wrangler (${messageOf(error)})`);
  }
}

async function run(
  program: string,
  args: readonly string[],
  options: { cwd: string; environment: NodeJS.ProcessEnv },
): Promise<number> {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: options.cwd,
    env: options.environment,
    stdio: "inherit",
  });
  // Ctrl-C reaches wrangler through the terminal; it decides how to end.
  const ignore = () => undefined;
  process.on("SIGINT", ignore);
  try {
    const [code] = (await once(child, "exit")) as [number | null];
    return code ?? 1;
  } finally {
    process.off("SIGINT", ignore);
  }
}

type DeployLine = { type: string; worker_name?: string; version_id?: string };

async function readLines(file: string): Promise<DeployLine[]> {
  const text = await readFile(file, "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => (line.trim() === "" ? [] : [JSON.parse(line) as DeployLine]));
}

/** wrangler drops scheme and port of an address that is not on workers.dev (wrangler-api §3.8). */
async function announceDeploys(instance: Instance, lines: readonly DeployLine[]): Promise<void> {
  for (const { type, worker_name: name, version_id: versionId } of lines) {
    if (type !== "deploy" || !name || !versionId) continue;
    const { subdomain } = await askResult<{ subdomain: { enabled: boolean; url: string } }>(
      instance,
      `/workers/workers/${encodeURIComponent(name)}`,
    );
    const address = subdomain.enabled ? subdomain.url : `${name} is deployed without an address (workers_dev is false)`;
    const tookMs = await timeToLive(instance, name, versionId);
    process.stdout.write(
      `\n${address}   version ${versionId.slice(0, 8)}${tookMs === undefined ? "" : `   live ${(tookMs / 1000).toFixed(2)} s after its upload`}\n`,
    );
  }
}

/** From the moment the platform had the version until the ingress served it. */
async function timeToLive(instance: Instance, name: string, versionId: string): Promise<number | undefined> {
  const { body } = await askSocket(runtimeLayout(instance.runtime).supervisor, { path: "/status", ms: 2000 });
  const liveMs = (JSON.parse(body) as SupervisorStatus).liveSinceMs[versionId];
  const version = await askResult<{ metadata: { created_on: string } }>(
    instance,
    `/workers/scripts/${encodeURIComponent(name)}/versions/${versionId}`,
  );
  return liveMs === undefined ? undefined : Math.max(0, liveMs - Date.parse(version.metadata.created_on));
}
