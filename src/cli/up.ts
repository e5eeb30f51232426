import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, realpathSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findInstance } from "#cli/instance.ts";
import { loadConfig, type Config, type SettingInput } from "#config.ts";
import { childEnvironment, variable } from "#environment.ts";
import { entryUrl } from "#core/entry.ts";
import { dataLayout, runtimeLayout } from "#core/layout.ts";
import { systemCode, UserError } from "#core/errors.ts";
import { findProgram } from "#core/find-program.ts";
import { findChildren } from "#runtime/proc.ts";

/** A unix socket's path ends at 107 bytes; the longest name below this folder has 49 (a Worker's `platform.sock`). */
const runtimePathMax = 50;

/**
 * `solum up`: prepares the folders and becomes the supervisor. It does so by replacing this process with `flock`, which
 * takes the data folder's lock and becomes the supervisor in its turn: the lock lives exactly as long as this pid.
 */
export async function up(options: {
  settings: SettingInput & { config?: string };
  firstDeploy?: string;
}): Promise<never> {
  const loaded = loadConfig(options.settings);
  await mkdir(loaded.data, { recursive: true, mode: 0o700 });
  await checkOwner(loaded.data);
  const data = realpathSync(loaded.data);
  await refuseSecond(data);
  const runtime = loaded.runtime ?? runtimeFolder(data);
  await prepareRuntime(runtime);
  const port = await choosePort(loaded, loaded.port, runtime);
  if (loaded.tlsPort !== undefined) await choosePort(loaded, loaded.tlsPort, runtime);
  const config = { ...loaded, data, runtime, port };
  await writeFile(runtimeLayout(runtime).config, JSON.stringify(config, null, 2), { mode: 0o600 });

  const program = [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    fileURLToPath(entryUrl("main")),
    "supervise",
    runtime,
  ];
  const more = options.firstDeploy === undefined ? [] : [options.firstDeploy];
  const lock = ["-n", "-E", "75", "-F", dataLayout(data).lock];
  process.execve?.(findFlock(), ["flock", ...lock, ...program, ...more], childEnvironment());
  throw new UserError("This Node cannot replace its own process. Use the one that comes with Solum: ./solum up");
}

/** Says plainly who holds the data folder, instead of failing on its lock. */
async function refuseSecond(data: string): Promise<void> {
  const { status } = spawnSync(findFlock(), ["-n", "-E", "75", dataLayout(data).lock, "true"]);
  if (status !== 75) return;
  const instance = await findInstance(data).catch(() => undefined);
  const where = instance ? ` (pid ${instance.pid}, ${instance.url})` : "";
  throw new UserError(
    `Solum is already running on ${data}${where}. Stop it first, or choose another folder: solum up --data DIR`,
  );
}

/** Where sockets go when no setting says so: the same folder for the same data, so that a second start finds the first. */
function runtimeFolder(data: string): string {
  const name = `solum-${createHash("sha256").update(data).digest("hex").slice(0, 12)}`;
  const folders = [variable("XDG_RUNTIME_DIR"), tmpdir(), "/tmp"].flatMap((folder) =>
    folder ? [join(folder, name)] : [],
  );
  return folders.find((folder) => folder.length <= runtimePathMax) ?? join("/tmp", name);
}

/** The folder of sockets: ours alone, and no link that somebody else put there. */
async function prepareRuntime(runtime: string): Promise<void> {
  if (runtime.length > runtimePathMax)
    throw new UserError(
      `The runtime folder ${runtime} has a path of more than ${runtimePathMax} bytes, too long for sockets below it.`,
    );
  await mkdir(runtime, { recursive: true, mode: 0o700 });
  await checkOwner(runtime);
  const layout = runtimeLayout(runtime);
  const { workers, processes, processSockets, d1Folder, egressFolder } = layout;
  for (const folder of [workers, processes, processSockets, d1Folder, egressFolder, layout.service("")])
    await mkdir(folder, { recursive: true, mode: 0o700 });
}

async function checkOwner(folder: string): Promise<void> {
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== process.getuid?.())
    throw new UserError(`${folder} is not a folder of yours.`);
  if ((found.mode & 0o077) !== 0) await chmod(folder, 0o700);
}

/** The port to serve: a free one for 0. Refused at once when another program has it. */
async function choosePort({ host }: Config, wanted: number, runtime: string): Promise<number> {
  const ours = findChildren(runtime).some(({ mark }) => /^ingress(-\d+)?$/.test(mark.name));
  if (ours && wanted !== 0) return wanted;
  const server = createServer();
  try {
    server.listen(wanted, host === "localhost" ? "127.0.0.1" : host);
    await once(server, "listening");
    const address = server.address();
    return typeof address === "object" && address ? address.port : wanted;
  } catch (error) {
    if (systemCode(error) === "EADDRINUSE")
      throw new UserError(`Port ${wanted} is in use by another program. Choose another: solum up --port N`);
    throw error;
  } finally {
    server.close();
  }
}

function findFlock(): string {
  const flock = findProgram("flock");
  if (!flock) throw new UserError("flock is not installed; it is part of util-linux.");
  return flock;
}
