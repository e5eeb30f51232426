import { join } from "node:path";
import { configText, embed } from "#core/capnp-text.ts";
import { workerScriptUrl } from "#core/entry.ts";
import type { DataLayout, RuntimeLayout } from "#core/layout.ts";
import { namespaceKey } from "#products/d1/host-protocol.ts";

const scriptFile = "d1-host.js";

/** workerd's configuration of a d1 host. `disk` is where the databases are; `name` and `colo` are what `meta` says. */
export function hostConfig(options: {
  name: string;
  colo: string;
  disk: string;
  socket: string;
  /** Largest database; 0 for none. */
  databaseBytes: number;
}): string {
  const served = { served_by: `solum.${options.name}`, served_by_region: options.colo, served_by_colo: options.colo };
  return configText({
    // A request leaves native memory behind that only a full collection frees, and V8 starts one by the size of its own heap.
    // With a small one the process levels off at 49 MB under load, without it at 185 MB or more, for the same CPU.
    v8Flags: ["--initial-heap-size=8", "--max-semi-space-size=2"],
    services: [
      {
        name: "d1",
        worker: {
          modules: [{ name: scriptFile, esModule: embed(scriptFile) }],
          compatibilityDate: "2026-08-01",
          // For `sql.ingest`, which imports need. The process runs our code only.
          compatibilityFlags: ["experimental"],
          bindings: [
            { name: "DATABASE", durableObjectNamespace: "Database" },
            { name: "FILES", service: "disk" },
            { name: "CAPABILITY_KEY", fromEnvironment: "SOLUM_CAPABILITY_KEY" },
            { name: "SERVED", json: JSON.stringify(served) },
            { name: "DATABASE_BYTES", json: JSON.stringify(options.databaseBytes) },
          ],
          durableObjectNamespaces: [{ className: "Database", uniqueKey: namespaceKey, enableSql: true }],
          durableObjectStorage: { localDisk: "disk" },
          globalOutbound: "internet",
        },
      },
      { name: "disk", disk: { path: options.disk, writable: true } },
      { name: "internet", network: { allow: [] } },
    ],
    sockets: [{ name: "d1", address: `unix:${options.socket}`, http: {}, service: "d1" }],
  });
}

/** All that is needed to start a host: what to make first, and what to run. */
export type HostProcess = {
  name: string;
  /** To be held with `flock` by the process: two processes must never have the same databases open. */
  lock: string;
  /** To be made durably, parents included, before anything is acknowledged in them. */
  folders: string[];
  files: { path: string; content: string | { copyOf: URL } }[];
  /** A socket that an earlier process left would be in the way. */
  remove: string[];
  command: string;
  args: string[];
  environment: Record<string, string>;
  /** Serves as soon as GET `path` answers 200. */
  probe: { socket: string; path: string };
};

/** Host number `host` of an installation; `workerd` is the path of the program. */
export function hostProcess(options: {
  host: number;
  colo: string;
  databaseBytes: number;
  workerd: string;
  capabilityKey: Buffer;
  data: DataLayout;
  runtime: RuntimeLayout;
}): HostProcess {
  const { host, data, runtime } = options;
  const name = `d1-${host}`;
  const folder = runtime.service(name);
  const socket = runtime.d1Host(host);
  const config = join(folder, "config.capnp");
  return {
    name,
    lock: data.d1Lock(host),
    folders: [data.d1Host(host), join(data.d1Host(host), namespaceKey), runtime.d1Folder, folder],
    files: [
      { path: config, content: hostConfig({ ...options, name, disk: data.d1Host(host), socket }) },
      { path: join(folder, scriptFile), content: { copyOf: workerScriptUrl("d1-host") } },
    ],
    remove: [socket],
    command: options.workerd,
    args: ["serve", "--experimental", config],
    environment: { SOLUM_CAPABILITY_KEY: options.capabilityKey.toString("hex") },
    probe: { socket, path: "/health" },
  };
}
