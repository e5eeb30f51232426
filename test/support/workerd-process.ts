import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

/** The workerd that Solum runs, not wrangler's older one. */
function workerdPath(): string {
  const require = createRequire(import.meta.url);
  const arch = process.arch === "arm64" ? "arm64" : "64";
  return join(dirname(require.resolve(`@cloudflare/workerd-linux-${arch}/package.json`)), "bin", "workerd");
}

export type WorkerdProcess = {
  readonly child: ChildProcess;
  /** Ends the process as `kill -9` does and waits until it is gone. */
  kill: (signal?: NodeJS.Signals) => Promise<void>;
};

/** Starts workerd with a configuration file and resolves when `sockets` of its sockets listen. */
export async function startWorkerd(configFile: string, sockets: number): Promise<WorkerdProcess> {
  const child = spawn(workerdPath(), ["serve", "--experimental", "--control-fd=3", configFile], {
    stdio: ["ignore", "ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stderr?.on("data", (bytes: Buffer) => (said = (said + bytes.toString()).slice(-10_000)));
  const kill = async (signal: NodeJS.Signals = "SIGKILL") => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  };
  let listening = 0;
  for await (const line of createInterface({ input: child.stdio[3] as Readable })) {
    if (line.includes('"listen"')) listening++;
    if (listening === sockets) return { child, kill };
  }
  await kill();
  throw new Error(`workerd ended before it listened: ${said}`);
}

/**
 * One Worker as the runtime starts it, as far as the ingress can see: on a unix socket, with the private headers. `services`:
 * further services of the configuration; `bindings`: those of the Worker, both as Cap'n Proto text.
 */
export async function startWorker(options: {
  folder: string;
  name: string;
  code: string;
  socket: string;
  services?: string;
  bindings?: string;
}): Promise<WorkerdProcess> {
  const { folder, name, code, socket, services = "", bindings = "" } = options;
  writeFileSync(join(folder, `${name}.js`), code);
  const configFile = join(folder, `${name}.capnp`);
  writeFileSync(
    configFile,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [(name = "main.js", esModule = embed "${name}.js")],
      compatibilityDate = "2026-11-01",
      bindings = [${bindings}],
    )),
    ${services}
  ],
  sockets = [(
    name = "http",
    address = "unix:${socket}",
    http = (cfBlobHeader = "x-solum-cf", forwardedProtoHeader = "x-solum-proto"),
    service = "main",
  )],
);
`,
  );
  rmSync(socket, { force: true });
  return await startWorkerd(configFile, 1);
}
