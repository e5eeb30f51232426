import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request, type IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { workerScriptUrl } from "#core/entry.ts";
import type { ConfigFile } from "#runtime/binding-pieces.ts";

/** The workerd that Solum runs, not the older one of wrangler's. */
export const workerdBinary = fileURLToPath(
  import.meta.resolve(`@cloudflare/workerd-linux-${process.arch === "arm64" ? "arm64" : "64"}/bin/workerd`),
);

/** A workerd under test, and the folder that it runs in. */
export type TestWorkerd = AsyncDisposable & {
  folder: string;
  pid: number;
  /** What it wrote so far. */
  output: { stdout: string; stderr: string };
  stop(): Promise<void>;
};

/** A folder for sockets and files, short enough for a socket's path; removed by `stop` or `using`. */
export function temporaryFolder(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "sl-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/**
 * Writes `text` and `files` into `folder` and starts workerd there. Resolves when it listens, on its debug port too; rejects with what it wrote to
 * standard error when it ends first.
 */
export async function startWorkerd(options: {
  folder: string;
  text: string;
  files?: readonly (ConfigFile | { name: string; bytes: Uint8Array })[];
  /** Blobs by their hash. */
  blobs?: ReadonlyMap<string, Uint8Array | string>;
  environment?: Record<string, string>;
  flags?: readonly string[];
}): Promise<TestWorkerd> {
  const { folder } = options;
  for (const file of options.files ?? []) writeConfigFile(folder, file, options.blobs);
  writeFileSync(join(folder, "workerd.capnp"), options.text);
  const flags = options.flags ?? ["--experimental"];
  const child = spawn(workerdBinary, ["serve", ...flags, "--control-fd=3", "workerd.capnp"], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    env: { ...options.environment },
  });
  const output = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (piece: string) => (output.stdout += piece));
  child.stderr?.setEncoding("utf8").on("data", (piece: string) => (output.stderr += piece));
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "close");
  };
  await listening(child, output, flags.some((flag) => flag.startsWith("--debug-port=")) ? "debug-port" : undefined);
  return { folder, pid: child.pid ?? 0, output, stop, [Symbol.asyncDispose]: stop };
}

/** workerd tells of its sockets one after the other, and of its debug port last. */
async function listening(child: ChildProcess, output: { stderr: string }, socket: string | undefined): Promise<void> {
  const control = child.stdio[3];
  if (!control || !("on" in control)) throw new Error("no control pipe");
  const lines = createInterface({ input: control as NodeJS.ReadableStream });
  const closed = once(child, "close").then(() => {
    throw new Error(output.stderr);
  });
  const listens = new Promise<void>((resolve) => {
    lines.on("line", (line) => {
      if (!socket || (JSON.parse(line) as { socket: string }).socket === socket) resolve();
    });
  });
  await Promise.race([listens, closed]);
  closed.catch(() => {});
}

function writeConfigFile(
  folder: string,
  file: ConfigFile | { name: string; bytes: Uint8Array },
  blobs: ReadonlyMap<string, Uint8Array | string> | undefined,
): void {
  const path = join(folder, file.name);
  if ("text" in file) writeFileSync(path, file.text);
  else if ("bytes" in file) writeFileSync(path, file.bytes);
  else if ("script" in file) writeFileSync(path, readFileSync(workerScriptUrl(file.script)));
  else {
    const blob = blobs?.get(file.hash);
    if (blob === undefined) throw new Error(`no blob ${file.hash}`);
    writeFileSync(path, blob);
  }
}

export type TestResponse = { status: number; headers: IncomingHttpHeaders; body: string };

/** One request over a unix socket, its path sent as it is written. */
export async function send(
  socketPath: string,
  path = "/",
  options: {
    method?: string;
    headers?: Record<string, string>;
    body?: string | Uint8Array;
    host?: string;
    signal?: AbortSignal;
  } = {},
): Promise<TestResponse> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        socketPath,
        path,
        method: options.method ?? "GET",
        headers: { host: options.host ?? "worker.localhost:8787", ...options.headers },
        ...(options.signal ? { signal: options.signal } : {}),
      },
      (incoming) => {
        let body = "";
        incoming.setEncoding("utf8").on("data", (piece: string) => (body += piece));
        incoming.on("end", () => resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body }));
        incoming.on("error", reject);
      },
    );
    outgoing.on("error", reject);
    outgoing.end(options.body);
  });
}
