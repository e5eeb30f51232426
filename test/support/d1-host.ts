import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { configText, embed } from "#core/capnp-text.ts";
import { pollUntil } from "#core/deadline.ts";
import { workerScriptUrl } from "#core/entry.ts";
import { newUuid } from "#core/ids.ts";
import { dataLayout, runtimeLayout } from "#core/layout.ts";
import { d1Piece } from "#products/d1/binding.ts";
import { hostProcess } from "#products/d1/host-config.ts";
import { namespaceKey } from "#products/d1/host-protocol.ts";

const require = createRequire(import.meta.url);

/** The workerd that Solum runs, and not wrangler's older one. */
const workerdPath = join(dirname(require.resolve("@cloudflare/workerd-linux-64/package.json")), "bin", "workerd");

export interface TestProcess {
  readonly pid: number;
  /** Ends it with SIGKILL and waits until it is gone. */
  kill(): Promise<void>;
}

export const testKey = Buffer.alloc(32, 7);

/** Folders for one test, short enough for sockets. */
export function testFolders() {
  const root = mkdtempSync(join(tmpdir(), "d1-"));
  return {
    root,
    data: dataLayout(join(root, "data")),
    runtime: runtimeLayout(join(root, "run")),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Starts host number `host` as the supervisor does: under its lock, and ready when its probe answers. */
export async function startD1Host(
  folders: Pick<ReturnType<typeof testFolders>, "data" | "runtime">,
  host = 0,
  databaseBytes = 0,
  /** A command that gets the folder of the databases and then runs the rest. */
  under: readonly string[] = [],
): Promise<TestProcess> {
  const { data, runtime } = folders;
  const wanted = hostProcess({
    host,
    colo: "SOL",
    databaseBytes,
    workerd: workerdPath,
    capabilityKey: testKey,
    data,
    runtime,
  });
  for (const folder of wanted.folders) mkdirSync(folder, { recursive: true });
  for (const { path, content } of wanted.files) {
    if (typeof content === "string") writeFileSync(path, content);
    else copyFileSync(content.copyOf, path);
  }
  for (const path of wanted.remove) rmSync(path, { force: true });
  const around = under.length > 0 ? [...under, join(data.d1Host(host), namespaceKey)] : [];
  const args = ["-n", "-F", wanted.lock, ...around, wanted.command, ...wanted.args];
  return startProcess("flock", args, wanted.environment, () => answers(wanted.probe.socket, wanted.probe.path));
}

/** A Worker with the D1 binding `DB`, as a process of a version has it; the socket that it answers on. */
export async function startD1Worker(
  folders: ReturnType<typeof testFolders>,
  options: { modules: Record<string, string>; databaseId: string; host?: number },
): Promise<TestProcess & { socket: string }> {
  const { modules, databaseId, host = 0 } = options;
  const folder = join(folders.root, newUuid().slice(0, 8));
  mkdirSync(folder);
  for (const [name, text] of Object.entries(modules)) writeFileSync(join(folder, name), text);
  const piece = d1Piece({
    name: "DB",
    databaseId,
    host,
    hosts: 4,
    workerId: "w1",
    socketOf: folders.runtime.d1Host,
    capabilityKey: testKey,
  });
  const socket = join(folder, "s");
  const internal = (piece.modules ?? []).map(({ name, script }) => {
    copyFileSync(workerScriptUrl(script), join(folder, `${script}.js`));
    return { name, internal: true, esModule: embed(`${script}.js`) };
  });
  const worker = {
    modules: Object.keys(modules).map((name) => ({ name, esModule: embed(name) })),
    compatibilityDate: "2026-08-01",
    bindings: piece.bindings,
  };
  const config = configText({
    services: [{ name: "worker", worker }, ...piece.services],
    sockets: [{ name: "http", address: `unix:${socket}`, http: {}, service: "worker" }],
    extensions: [{ modules: internal }],
  });
  writeFileSync(join(folder, "config.capnp"), config);
  return { ...(await startWorkerd(join(folder, "config.capnp"), socket)), socket };
}

/** What a Worker answers to GET `path`. */
export async function getText(socketPath: string, path: string): Promise<{ status: number; text: string }> {
  const outgoing = request({ socketPath, path });
  const answered = once(outgoing, "response");
  outgoing.end();
  const [response] = (await answered) as [IncomingMessage];
  const text = Buffer.concat((await response.toArray()) as Buffer[]).toString();
  return { status: response.statusCode ?? 0, text };
}

/** Starts workerd with the configuration `file`, ready when `socket` answers anything. */
async function startWorkerd(file: string, socket: string): Promise<TestProcess> {
  return startProcess(workerdPath, ["serve", "--experimental", file], {}, () => answers(socket, "/"));
}

async function startProcess(
  command: string,
  args: string[],
  environment: Record<string, string>,
  ready: () => Promise<boolean>,
): Promise<TestProcess> {
  // It must not outlive a test runner that is killed.
  const child = spawn("setpriv", ["--pdeathsig", "KILL", command, ...args], {
    env: { PATH: process.env["PATH"] ?? "", ...environment },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let complaints = "";
  child.stderr.on("data", (text: Buffer) => (complaints = (complaints + text.toString()).slice(-4000)));
  await pollUntil({ ms: 10_000, everyMs: 5, what: `starting ${command}` }, async () => {
    if (child.exitCode !== null) throw new Error(`${command} ended: ${complaints}`);
    return (await ready()) || undefined;
  });
  return { pid: child.pid ?? 0, kill: () => kill(child) };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

async function answers(socketPath: string, path: string): Promise<boolean> {
  const outgoing = request({ socketPath, path, agent: false });
  try {
    const answered = once(outgoing, "response");
    outgoing.end();
    const [response] = (await answered) as [NodeJS.ReadableStream];
    response.resume();
    return true;
  } catch {
    return false;
  }
}
