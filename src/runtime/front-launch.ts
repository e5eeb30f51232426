import { createHash, randomBytes } from "node:crypto";
import { constants, copyFile, link, mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { workerScriptUrl } from "#core/entry.ts";
import { systemCode } from "#core/errors.ts";
import type { DataLayout, RuntimeLayout } from "#core/layout.ts";
import { unseal } from "#core/seal.ts";
import { secretContext } from "#products/workers/secret-context.ts";
import type { RunnableVersion } from "#products/workers/runnable.ts";
import type { ChildSpec } from "#runtime/child.ts";
import { socketNames } from "#runtime/routes.ts";
import type { Launch, Running } from "#runtime/keeper.ts";
import { ownersOf } from "#runtime/object-pieces.ts";
import { sandboxed, type Sandbox, type View } from "#runtime/sandbox.ts";
import type { WorkerConfig } from "#runtime/worker-config.ts";

export type FrontParts = {
  data: DataLayout;
  runtime: RuntimeLayout;
  workerd: string;
  sandbox: Sandbox;
  buildId: string;
  sealKey: Buffer;
  environment: Readonly<Record<string, string>>;
  configure: (version: RunnableVersion, sockets: FrontSockets, objects?: ObjectsPlace) => Promise<WorkerConfig>;
};

/** `owner`: the one process of a Worker that has its Durable Objects. */
export type Role = "front" | "owner";

/** Where an owner has its objects, and where it is told to begin nothing more. */
export type ObjectsPlace = { folder: string; brokerSocket: string };

type Layouts = Pick<FrontParts, "data" | "runtime">;

/** `http` is what the ingress talks to, `probe` what we ask whether it lives and what is under way; the others are
 * by `socketNames`. */
export type FrontSockets = { http: string; named: string; events: string; debug: string; probe: string };

/** A version to start, with its secrets still sealed. */
export type Startable = {
  version: RunnableVersion;
  secrets: ReadonlyMap<string, Uint8Array>;
  stagingFolder?: string;
  /** `limits.cpu_ms` of the upload, where it gave one. */
  cpuMs?: number | undefined;
};

/** What of a process can be known from its name: all that its end needs. */
export type FrontRunning = Running & {
  sockets: FrontSockets;
  /** Of an owner alone. */
  brokerSocket: string;
  folder: string;
  logFile: string;
};
export type FrontLaunch = FrontRunning & Launch;

/** The highest there is: the kernel ends such a process first (`man 5 proc`, `oom_score_adj`). */
const oomScoreOfWorkers = 1000;

export type ProcessName = { role: Role; workerId: string; versionId: string; processId: string };

/** `<role>/<worker>/<version>/<process>`: ids of ours, so a name is also a path. */
function processName({ role, workerId, versionId, processId }: ProcessName): string {
  return `${role}/${workerId}/${versionId}/${processId}`;
}

/** What a process of a Worker is; undefined for one of the platform. */
export function parseProcessName(name: string): ProcessName | undefined {
  const [role, workerId, versionId, processId] = name.split("/");
  if ((role !== "front" && role !== "owner") || !workerId || !versionId || !processId) return undefined;
  return { role, workerId, versionId, processId };
}

/** Prepares a new process: its folder with the configuration and what it embeds, and how to start it. */
export async function launchFront(parts: FrontParts, startable: Startable, role: Role = "front"): Promise<FrontLaunch> {
  const processId = randomBytes(8).toString("hex");
  const { files, text, ...launch } = await describeFront(parts, startable, { processId, role });
  try {
    await placeFiles(parts, startable, { processId, files, text });
    return launch;
  } catch (error) {
    await launch.dispose?.();
    throw error;
  }
}

async function placeFiles(
  parts: FrontParts,
  startable: Startable,
  { processId, files, text }: Pick<WorkerConfig, "files" | "text"> & { processId: string },
): Promise<void> {
  const folder = parts.runtime.process(processId);
  const modules = parts.data.modulesOf(processId);
  const owners = ownersOf(startable.version).map((owner) => parts.runtime.owner(owner).root);
  for (const made of [folder, modules, parts.runtime.socketsOf(processId), ...owners])
    await mkdir(made, { recursive: true, mode: 0o700 });
  for (const file of files) {
    const path = join(folder, file.name);
    if ("text" in file) await writeFile(path, file.text, { mode: 0o600 });
    else if ("script" in file) await copyFile(workerScriptUrl(file.script), path);
    else await placeBlob(blobOf(parts, startable, file.hash), join(modules, file.name), path);
  }
  await writeFile(join(folder, "config.capnp"), text, { mode: 0o600 });
}

function blobOf({ data }: FrontParts, { stagingFolder }: Startable, hash: string): string {
  return stagingFolder === undefined ? data.blob(hash) : join(stagingFolder, hash);
}

/** Not the blob's own path: a process that sees this link's folder sees no other version's code. */
async function placeBlob(blob: string, ownLink: string, path: string): Promise<void> {
  await link(blob, ownLink).catch(async (error: unknown) => {
    if (systemCode(error) !== "EXDEV") throw error;
    await copyFile(blob, ownLink, constants.COPYFILE_FICLONE);
  });
  await symlink(ownLink, path);
}

/** What `launchFront` would start as `processId`; nothing is written. An adopted process must be equal to this. */
export async function describeFront(
  parts: FrontParts,
  startable: Startable,
  { processId, role }: { processId: string; role: Role },
): Promise<FrontLaunch & Pick<WorkerConfig, "text" | "files">> {
  const { version, secrets } = startable;
  const { workerId, versionId } = version;
  const processOf = { role, workerId, versionId, processId };
  const running = runningFront(parts, processOf);
  const { folder, sockets, logFile, brokerSocket } = running;
  const owns = role === "owner" ? { folder: parts.data.objectsOf(workerId), brokerSocket } : undefined;
  const config = await parts.configure(version, sockets, owns);
  const texts = Object.fromEntries(
    Object.entries(config.environment).map(([variable, name]) => [
      variable,
      openSecret(parts.sealKey, version, name, secrets.get(name)),
    ]),
  );
  const hash = createHash("sha256")
    .update(JSON.stringify([parts.buildId, parts.workerd, parts.sandbox, version, config.text, config.files, texts]))
    .digest("hex")
    .slice(0, 32);
  const spec: ChildSpec = {
    name: processName(processOf),
    hash,
    ...sandboxed(
      parts.sandbox,
      {
        command: parts.workerd,
        args: ["serve", "--experimental", `--debug-port=unix:${sockets.debug}`, join(folder, "config.capnp")],
      },
      viewOf(parts, version, processOf),
    ),
    environment: { ...parts.environment, ...texts },
    logFile,
    // Two processes that have the same objects open would both answer for them, and lose writes (workerd-runtime §6).
    ...(owns ? { lockFile: parts.data.objectsLock(workerId) } : {}),
    // A Worker that eats all memory is what the kernel shall end, and never a store.
    oomScore: oomScoreOfWorkers,
  };
  return { ...running, spec, files: config.files, text: config.text };
}

/** Where a process of a Worker has its files and sockets. */
export function runningFront(
  layouts: Layouts,
  { processId, role, workerId }: Pick<ProcessName, "processId" | "role" | "workerId">,
): FrontRunning {
  const { runtime } = layouts;
  const folder = runtime.process(processId);
  const socketFolder = runtime.socketsOf(processId);
  const at = (name: string) => join(socketFolder, name);
  const { http, named, events, debug } = socketNames;
  // Objects are called where every process of theirs is called: at the folder of their Worker.
  const debugSocket = role === "owner" ? runtime.owner(workerId).debug : at(debug);
  const sockets = { http: at(http), named: at(named), events: at(events), debug: debugSocket, probe: at("probe.sock") };
  const dispose = () => removeProcessFolders(layouts, processId);
  const brokerSocket = at("broker.sock");
  return { socket: sockets.probe, sockets, brokerSocket, folder, logFile: join(folder, "output.log"), dispose };
}

/** All that a process of `version` may see: what it starts from, its Worker's sockets, and the platform's that every Worker uses. */
function viewOf(
  { data, runtime }: FrontParts,
  version: RunnableVersion,
  { processId, role, workerId }: ProcessName,
): View {
  const owners = ownersOf(version).filter((owner) => role === "front" || owner !== workerId);
  const own = role === "owner" ? [data.objectsOf(workerId), runtime.owner(workerId).root] : [];
  const databases = version.bindings.some(({ type }) => type === "d1") ? [runtime.d1Folder] : [];
  const assets = version.assets ? [data.assetFiles(version.assets.tree)] : [];
  return {
    readOnly: [
      runtime.process(processId),
      data.modulesOf(processId),
      runtime.worker(version.workerId).root,
      runtime.egressFolder,
      ...databases,
      ...assets,
      ...owners.map((owner) => runtime.owner(owner).root),
    ],
    writable: [runtime.socketsOf(processId), ...own],
  };
}

/** Removes what processes left that no longer run: a supervisor that is killed cannot. */
export async function sweepProcessFolders(layouts: Layouts, running: ReadonlySet<string>): Promise<void> {
  const { data, runtime } = layouts;
  const folders = await Promise.all(
    [data.modules, runtime.processes, runtime.processSockets].map((path) => readdir(path)),
  );
  for (const processId of new Set(folders.flat()))
    if (!running.has(processId)) await removeProcessFolders(layouts, processId);
}

async function removeProcessFolders({ data, runtime }: Layouts, processId: string): Promise<void> {
  const folders = [data.modulesOf(processId), runtime.process(processId), runtime.socketsOf(processId)];
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })));
}

function openSecret(key: Buffer, version: RunnableVersion, name: string, sealed: Uint8Array | undefined): string {
  if (!sealed) throw new Error(`version ${version.versionId} binds the secret ${name}, which is not stored`);
  return unseal(key, secretContext(version.accountId, version.workerId, name), sealed);
}
