import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Config } from "#config.ts";
import { privateFolder, syncFolder } from "#core/durable-file.ts";
import { entryUrl } from "#core/entry.ts";
import { findProgram } from "#core/find-program.ts";
import { ingressName, type DataLayout, type RuntimeLayout } from "#core/layout.ts";
import { hostProcess } from "#products/d1/host-config.ts";
import { egressRules } from "#roles/egress-rules.ts";
import type { Keys } from "#roles/keys.ts";
import type { ChildSpec } from "#runtime/child.ts";
import { egressConfig } from "#runtime/egress-config.ts";
import type { OnDemandService } from "#runtime/on-demand.ts";
import type { ServiceDefinition } from "#runtime/services.ts";

/** Threads that wait for the disk in `state`. With libuv's four, reads of files stand behind whatever is being fsynced. */
const stateFileThreads = 64;

type Parts = {
  config: Config;
  data: DataLayout;
  runtime: RuntimeLayout;
  keys: Keys;
  buildId: string;
  workerd: string;
  environment: Record<string, string>;
};

/** How each of the platform's own processes is started. A hash of all that goes into it tells one from another. */
export function definitions(parts: Parts): {
  always: ServiceDefinition[];
  onDemand: OnDemandService[];
  egress: ServiceDefinition;
  d1Host: (host: number) => ServiceDefinition;
} {
  const { data, runtime, config } = parts;
  const always = [
    nodeRole(parts, {
      name: "state",
      socket: runtime.stores,
      lock: data.stateLock,
      stopMs: 10_000,
      environment: { UV_THREADPOOL_SIZE: String(stateFileThreads) },
    }),
    nodeRole(parts, { name: "control", socket: runtime.control, lock: data.controlLock, stopMs: 5000 }),
    ...Array.from({ length: config.ingressProcesses }, (_, index) => ingress(parts, index)),
  ];
  const ai = nodeRole(parts, {
    name: "ai",
    socket: runtime.ai,
    lock: data.aiLock,
    stopMs: 5000,
    environment: { SOLUM_AI_SEAL_KEY: parts.keys.aiSeal.toString("hex") },
  });
  const vectors = nodeRole(parts, {
    name: "vectors",
    socket: runtime.vectors,
    lock: data.vectorsLock,
    stopMs: 10_000,
  });
  const onDemand: OnDemandService[] = [
    { definition: ai, wasUsed: () => existsSync(data.aiDb), binding: "ai", workerSocket: "ai.sock" },
    {
      definition: vectors,
      wasUsed: () => existsSync(data.vectorsDb),
      binding: "vectorize",
      workerSocket: "vectors.sock",
    },
  ];
  const hosts = Array.from({ length: config.d1Hosts + config.d1OwnHosts }, (_, host) => d1Host(parts, host));
  const hostOf = (host: number) => {
    const definition = hosts[host];
    if (!definition)
      throw new Error(
        `a database is on host ${host}, but the settings d1Hosts and d1OwnHosts together are ${hosts.length}: raise them to at least ${host + 1}`,
      );
    return definition;
  };
  return { always, onDemand, egress: egress(parts), d1Host: hostOf };
}

function nodeRole(
  parts: Parts,
  role: {
    name: string;
    role?: string;
    argument?: string;
    socket: string;
    lock: string;
    stopMs: number;
    environment?: Record<string, string>;
  },
): ServiceDefinition {
  const { name, socket, stopMs } = role;
  const main = fileURLToPath(entryUrl("main"));
  const own = role.argument === undefined ? [] : [role.argument];
  const spec = withHash(parts, {
    name,
    command: process.execPath,
    args: ["--disable-warning=ExperimentalWarning", main, "role", role.role ?? name, parts.runtime.root, ...own],
    environment: {
      ...parts.environment,
      SOLUM_CAPABILITY_KEY: parts.keys.capability.toString("hex"),
      ...role.environment,
    },
    logFile: parts.data.log(name),
    lockFile: role.lock,
  });
  return { name, socket, stopMs, spec, prepare: async () => rm(socket, { force: true }) };
}

function ingress(parts: Parts, index: number): ServiceDefinition {
  return nodeRole(parts, {
    name: ingressName(index),
    role: "ingress",
    argument: String(index),
    socket: parts.runtime.ingress(index),
    lock: parts.data.ingressLock(index),
    stopMs: 2000,
  });
}

function egress(parts: Parts): ServiceDefinition {
  const { runtime, config, data } = parts;
  const folder = runtime.service("egress");
  const file = join(folder, "config.capnp");
  const text = egressConfig({ socket: runtime.egress, rules: egressRules(config) });
  const spec = withHash(parts, {
    name: "egress",
    command: parts.workerd,
    args: ["serve", "--experimental", file],
    environment: parts.environment,
    logFile: data.log("egress"),
    lockFile: join(folder, "lock"),
    text,
  });
  const prepare = async () => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(file, text, { mode: 0o600 });
    await rm(runtime.egress, { force: true });
  };
  return { name: "egress", socket: runtime.egress, stopMs: 2000, spec, prepare };
}

function d1Host(parts: Parts, host: number): ServiceDefinition {
  const { config, data, runtime, workerd, keys } = parts;
  const described = hostProcess({
    host,
    colo: config.colo,
    databaseBytes: config.d1DatabaseBytes,
    workerd,
    capabilityKey: keys.capability,
    data,
    runtime,
  });
  const { name, command, args, files, folders, remove } = described;
  const spec = withHash(parts, {
    name,
    command,
    args,
    environment: { ...parts.environment, ...described.environment },
    logFile: data.log(name),
    lockFile: described.lock,
    text: files.map(({ content }) => (typeof content === "string" ? content : "")).join("\n"),
  });
  const prepare = async () => {
    for (const folder of folders) {
      await privateFolder(folder);
      await syncFolder(join(folder, ".."));
    }
    for (const { path, content } of files) {
      if (typeof content === "string") await writeFile(path, content, { mode: 0o600 });
      else await copyFile(content.copyOf, path);
    }
    for (const path of remove) await rm(path, { force: true });
  };
  return { name, socket: described.probe.socket, stopMs: 5000, spec, prepare };
}

/** `text`: what the process is configured with besides its arguments. */
function withHash(
  { buildId, config }: Parts,
  { text = "", ...given }: Omit<ChildSpec, "hash"> & { text?: string },
): ChildSpec {
  const spec = { ...given, ...unprivileged(given) };
  const all = [buildId, config, text, spec.command, spec.args, spec.environment];
  return { ...spec, hash: createHash("sha256").update(JSON.stringify(all)).digest("hex").slice(0, 32) };
}

/** Ours are trusted with files and network, but none of them ever has a use for a privilege that it does not have yet. */
function unprivileged({ command, args }: Pick<ChildSpec, "command" | "args">): Pick<ChildSpec, "command" | "args"> {
  const setpriv = findProgram("setpriv");
  return setpriv ? { command: setpriv, args: ["--no-new-privs", command, ...args] } : { command, args };
}
