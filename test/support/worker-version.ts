import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { pollUntil } from "#core/deadline.ts";
import { runtimeLayout, type WorkerLayout } from "#core/layout.ts";
import { createWireServer, type WireHandler, type WireServer } from "#http/wire/server.ts";
import { logHandler } from "#products/logs/binding.ts";
import { createLogStore, type LogStore } from "#products/logs/store.ts";
import { logListenPath, type LogMessage } from "#products/logs/schema.ts";
import type { ModuleType, RunnableVersion } from "#products/workers/runnable.ts";
import type { PieceMakers } from "#runtime/binding-pieces.ts";
import type { RouterSettings } from "#runtime/router-settings.ts";
import { newestCompatibilityDate } from "#runtime/workerd.ts";
import { workerConfig, type WorkerConfigOptions } from "#runtime/worker-config.ts";
import { send, startWorkerd, temporaryFolder, type TestResponse, type TestWorkerd } from "./workerd.ts";

export const testWorkerId = "0123456789abcdef0123456789abcdef";
export const testCapabilityKey = Buffer.alloc(32, 7);

/** A module of a test version, by its source. */
export type TestModule = { name: string; type?: ModuleType; source: string | Uint8Array };

/** A version from sources; what it exports must be said, as the upload would find it out. */
export function testVersion(options: Partial<Omit<RunnableVersion, "modules">> & { modules?: readonly TestModule[] }): {
  version: RunnableVersion;
  blobs: Map<string, string | Uint8Array>;
} {
  const { modules = [], ...rest } = options;
  const blobs = new Map<string, string | Uint8Array>();
  const version: RunnableVersion = {
    accountId: "acc00000000000000000000000000000",
    workerId: testWorkerId,
    scriptName: "hello",
    versionId: "11111111-2222-4333-8444-555555555555",
    versionTag: "",
    createdOn: "2026-11-01T00:00:00.000Z",
    format: "modules",
    exports: ["default"],
    compatibilityDate: "2026-11-01",
    compatibilityFlags: [],
    bindings: [],
    assets: undefined,
    ownNamespaces: [],
    ownWorkflows: [],
    ...rest,
    modules: modules.map(({ name, type = "esm", source }) => {
      const hash = createHash("sha256").update(source).digest("hex");
      blobs.set(hash, source);
      return { name, type, hash, sizeBytes: source.length };
    }),
  };
  return { version, blobs };
}

export const testRouter: RouterSettings = {
  hosts: ["localhost", "s3.localhost", "gateway.localhost"],
  domain: "localhost",
  ports: [8787],
  listenPort: 8787,
  reachesLoopback: false,
  addresses: ["192.0.2.77"],
};

/** Pieces that no test of this folder looks into: the products test their own. */
const noPieces: PieceMakers = {
  kv: () => ({ bindings: [], services: [] }),
  r2: () => ({ bindings: [], services: [] }),
  queue: () => ({ bindings: [], services: [] }),
  d1: () => ({ bindings: [], services: [] }),
  ai: () => ({ bindings: [], services: [] }),
  vectorize: () => ({ bindings: [], services: [] }),
};

export function configOptions(folder: string, more: Partial<WorkerConfigOptions> = {}): WorkerConfigOptions {
  return {
    layout: runtimeLayout(folder).worker(testWorkerId),
    capabilityKey: testCapabilityKey,
    sockets: {
      http: join(folder, "http.sock"),
      named: join(folder, "named.sock"),
      events: join(folder, "events.sock"),
      probe: join(folder, "probe.sock"),
    },
    assetsFolder: (tree) => join(folder, tree),
    contentTypes: new Map(),
    router: testRouter,
    pieces: noPieces,
    ownerSocket: (workerId) => runtimeLayout(folder).owner(workerId).debug,
    newestDate: newestCompatibilityDate(),
    ...more,
  };
}

/** A running version with a log socket of its own. */
export type RunningVersion = AsyncDisposable & {
  workerd: TestWorkerd;
  folder: string;
  layout: WorkerLayout;
  sockets: WorkerConfigOptions["sockets"];
  workerId: string;
  logs: LogStore;
  /** Closes the log socket, as when the control process ends. */
  stopLogs(): Promise<void>;
  get(path?: string, options?: Parameters<typeof send>[2]): Promise<TestResponse>;
  probe(path?: string): Promise<{ inFlight: number; waitUntil: number; unsent: number }>;
  /** The messages that arrived, once `ready` says that they are enough. */
  messages(ready: (messages: LogMessage[]) => boolean): Promise<LogMessage[]>;
};

export async function runVersion(
  options: Parameters<typeof testVersion>[0],
  more: Partial<WorkerConfigOptions> & {
    environment?: Record<string, string>;
    /** Whether somebody listens to the logs; default true. */
    listening?: boolean;
    /** What answers at the log socket besides the logs, by path. */
    control?: Record<string, WireHandler>;
    /** Changes the text of the configuration, for what no version can have yet. */
    edit?: (text: string) => string;
  } = {},
): Promise<RunningVersion> {
  const { version, blobs } = testVersion(options);
  const folder = temporaryFolder();
  const configuration = configOptions(folder.path, more);
  const { layout } = configuration;
  const config = workerConfig(version, configuration);
  // Not before it runs: then it is told everything anyway.
  const tell = async () => void (await send(configuration.sockets.probe, logListenPath).catch(() => {}));
  const logs = createLogStore(tell);
  const arrived: LogMessage[] = [];
  const ended = new AbortController();
  if (more.listening ?? true) void collect(logs, ended.signal, arrived);
  const log = await startLogSocket(layout.log, logs, more.control);
  const workerd = await startWorkerd({
    ...config,
    text: more.edit?.(config.text) ?? config.text,
    folder: folder.path,
    blobs,
    environment: more.environment ?? {},
  });
  return {
    workerd,
    folder: folder.path,
    layout,
    sockets: configuration.sockets,
    workerId: testWorkerId,
    logs,
    stopLogs: async () => log.close(),
    get: async (path, request) => send(configuration.sockets.http, path, request),
    probe: async (path = "/") => JSON.parse((await send(configuration.sockets.probe, path)).body),
    messages: async (ready) =>
      pollUntil({ ms: 10_000, everyMs: 10, what: "waiting for log messages" }, () =>
        ready(arrived) ? arrived : undefined,
      ),
    async [Symbol.asyncDispose]() {
      ended.abort();
      await workerd.stop();
      await log.close();
      folder[Symbol.dispose]();
    },
  };
}

async function collect(logs: LogStore, signal: AbortSignal, into: LogMessage[]): Promise<void> {
  for await (const message of (await logs.listen(testWorkerId, "hello", signal)) ?? []) into.push(message);
}

async function startLogSocket(
  path: string,
  store: LogStore,
  control: Record<string, WireHandler> = {},
): Promise<WireServer> {
  mkdirSync(dirname(path), { recursive: true });
  const logs = logHandler({ capabilityKey: testCapabilityKey, workerId: testWorkerId, store });
  const server = createWireServer(async (request) => (control[request.target] ?? logs)(request));
  await server.listen(path);
  return server;
}
