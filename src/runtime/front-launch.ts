import { createHash, randomBytes } from "node:crypto";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { workerScriptUrl } from "#core/entry.ts";
import type { DataLayout, RuntimeLayout } from "#core/layout.ts";
import { unseal } from "#core/seal.ts";
import { secretContext } from "#products/workers/secret-context.ts";
import type { RunnableVersion } from "#products/workers/runnable.ts";
import type { ConfigFile } from "#runtime/binding-pieces.ts";
import type { ChildSpec } from "#runtime/child.ts";
import type { Launch, Running } from "#runtime/keeper.ts";
import type { WorkerConfig } from "#runtime/worker-config.ts";

export type FrontParts = {
  data: DataLayout;
  runtime: RuntimeLayout;
  workerd: string;
  buildId: string;
  sealKey: Buffer;
  environment: Readonly<Record<string, string>>;
  configure: (version: RunnableVersion, sockets: FrontSockets) => Promise<WorkerConfig>;
};

/** `http` is what the ingress talks to, `probe` what we ask whether it lives and what is under way. */
export type FrontSockets = { http: string; probe: string };

/** A version to start, with its secrets still sealed. */
export type Startable = {
  version: RunnableVersion;
  secrets: ReadonlyMap<string, Uint8Array>;
  stagingFolder?: string;
  /** `limits.cpu_ms` of the upload, where it gave one. */
  cpuMs?: number | undefined;
};

/** What of a process can be known from its name: all that its end needs. */
export type FrontRunning = Running & { sockets: FrontSockets; folder: string; logFile: string };
export type FrontLaunch = FrontRunning & Launch;

const prefix = "front";

/** The highest there is: the kernel ends such a process first (`man 5 proc`, `oom_score_adj`). */
const oomScoreOfWorkers = 1000;

/** `front/<worker>/<version>/<process>`: ids of ours, so a name is also a path. */
function frontName(version: RunnableVersion, processId: string): string {
  return `${prefix}/${version.workerId}/${version.versionId}/${processId}`;
}

export function parseFrontName(name: string): { workerId: string; versionId: string; processId: string } | undefined {
  const [kind, workerId, versionId, processId] = name.split("/");
  return kind === prefix && workerId && versionId && processId ? { workerId, versionId, processId } : undefined;
}

/** Prepares a new process: its folder with the configuration and what it embeds, and how to start it. */
export async function launchFront(parts: FrontParts, startable: Startable): Promise<FrontLaunch> {
  const processId = randomBytes(4).toString("hex");
  const { files, text, ...launch } = await describeFront(parts, startable, processId);
  await mkdir(launch.folder, { recursive: true, mode: 0o700 });
  for (const file of files) await placeFile(parts, startable, join(launch.folder, file.name), file);
  await writeFile(join(launch.folder, "config.capnp"), text, { mode: 0o600 });
  return launch;
}

async function placeFile(
  parts: FrontParts,
  { stagingFolder }: Startable,
  path: string,
  file: ConfigFile,
): Promise<void> {
  if ("text" in file) await writeFile(path, file.text, { mode: 0o600 });
  else if ("script" in file) await symlink(fileURLToPath(workerScriptUrl(file.script)), path);
  else await symlink(stagingFolder === undefined ? parts.data.blob(file.hash) : join(stagingFolder, file.hash), path);
}

/** What `launchFront` would start as `processId`; nothing is written. An adopted process must be equal to this. */
export async function describeFront(
  parts: FrontParts,
  startable: Startable,
  processId: string,
): Promise<FrontLaunch & Pick<WorkerConfig, "text" | "files">> {
  const { version, secrets } = startable;
  const running = runningFront(parts.runtime, version.workerId, processId);
  const { folder, sockets, logFile } = running;
  const config = await parts.configure(version, sockets);
  const texts = Object.fromEntries(
    Object.entries(config.environment).map(([variable, name]) => [
      variable,
      openSecret(parts.sealKey, version, name, secrets.get(name)),
    ]),
  );
  const hash = createHash("sha256")
    .update(JSON.stringify([parts.buildId, parts.workerd, version, config.text, config.files, texts]))
    .digest("hex")
    .slice(0, 32);
  const spec: ChildSpec = {
    name: frontName(version, processId),
    hash,
    command: parts.workerd,
    args: ["serve", "--experimental", join(folder, "config.capnp")],
    environment: { ...parts.environment, ...texts },
    logFile,
    // A Worker that eats all memory is what the kernel shall end, and never a store.
    oomScore: oomScoreOfWorkers,
  };
  return { ...running, spec, files: config.files, text: config.text };
}

/** Where a process of a Worker has its files and sockets. */
export function runningFront(runtime: RuntimeLayout, workerId: string, processId: string): FrontRunning {
  const folder = runtime.worker(workerId).process(processId);
  const sockets = { http: join(folder, "http.sock"), probe: join(folder, "probe.sock") };
  const dispose = () => rm(folder, { recursive: true, force: true });
  return { socket: sockets.probe, sockets, folder, logFile: join(folder, "output.log"), dispose };
}

function openSecret(key: Buffer, version: RunnableVersion, name: string, sealed: Uint8Array | undefined): string {
  if (!sealed) throw new Error(`version ${version.versionId} binds the secret ${name}, which is not stored`);
  return unseal(key, secretContext(version.accountId, version.workerId, name), sealed);
}
