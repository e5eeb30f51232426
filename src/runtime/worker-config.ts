import { configText, embed, type CapnpValue } from "#core/capnp-text.ts";
import { externalService } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import type { WorkerLayout } from "#core/layout.ts";
import type { ModuleType, RunnableVersion } from "#products/workers/runnable.ts";
import { assetsService, assetsServiceConfig } from "#runtime/assets-config.ts";
import { bindingPieces, type ConfigFile, type PieceMakers } from "#runtime/binding-pieces.ts";
import { entryLibrary, entryModule, mainModule, probeEntrypoint } from "#runtime/entry-module.ts";
import { classNames, ownerWorkflows } from "#products/workflows/piece.ts";
import { ownerObjects } from "#products/durable-objects/front-piece.ts";
import { exportedNamespaces, reachedObjects } from "#runtime/object-pieces.ts";
import {
  routerCacheEntrypoint,
  routerEventsEntrypoint,
  routerService,
  routerServices,
} from "#runtime/router-config.ts";
import type { RouterSettings } from "#runtime/router-settings.ts";
import { privateHeaders } from "#runtime/routes.ts";

export type WorkerConfigOptions = {
  layout: WorkerLayout;
  capabilityKey: Buffer;
  /** Absolute paths of the sockets that the process listens on. */
  sockets: { http: string; named: string; events: string; probe: string };
  /** Folder of the version's assets. */
  assetsFolder: (tree: string) => string;
  /** What each asset was uploaded as, by its path with a leading slash. */
  contentTypes: ReadonlyMap<string, string>;
  router: RouterSettings;
  pieces: PieceMakers;
  /** Where a Worker's objects are called. */
  ownerSocket: (workerId: string) => string;
  /** For the process that has the Worker's own objects: where they are, and where it is told to begin nothing more. */
  objects?: { folder: string; brokerSocket: string } | undefined;
  /** The newest compatibility date that workerd knows. */
  newestDate: string;
  v8Flags?: readonly string[];
};

export type WorkerConfig = {
  text: string;
  /** Environment variable → name of the secret binding whose text it must hold. */
  environment: Record<string, string>;
  /** Files that must lie beside the configuration. */
  files: ConfigFile[];
};

/** Names in a configuration. */
const userService = "user";
const logBinding = "__SOLUM_LOG";

const httpOptions = { cfBlobHeader: privateHeaders.cf, forwardedProtoHeader: privateHeaders.proto };

/**
 * The workerd configuration of one process of a version. Pure: the same version and options give the same text, which is how
 * the supervisor tells whether a process that it finds is the one it wants.
 */
export function workerConfig(accepted: RunnableVersion, options: WorkerConfigOptions): WorkerConfig {
  const version = { ...accepted, compatibilityDate: knownDate(accepted.compatibilityDate, options.newestDate) };
  const pieces = bindingPieces(version, options);
  const reached = reachedObjects(version, options);
  const { objects } = options;
  const owned =
    objects &&
    ownerObjects(version.ownNamespaces, {
      ...objects,
      service: userService,
      workflows: ownerWorkflows(version.ownWorkflows, { service: userService, versionId: version.versionId }),
    });
  const program = programOf(version, objects ? classNames(version.ownWorkflows) : []);
  const { assets } = version;
  const hasCode = version.format !== "assets-only";
  const services: CapnpValue[] = [{ name: "internet", network: { allow: [] } }];
  if (assets) {
    const folder = options.assetsFolder(assets.tree);
    services.push(assetsServiceConfig(version, assets.config, { folder, contentTypes: options.contentTypes }));
  }
  if (hasCode) {
    services.push({
      name: userService,
      worker: {
        ...program.worker,
        ...owned?.worker,
        compatibilityDate: version.compatibilityDate,
        compatibilityFlags: flagsOf(version),
        bindings: [...pieces.bindings, ...program.bindings, ...(objects ? [] : exportedNamespaces(version))],
        globalOutbound: routerService,
        cacheApiOutbound: { name: routerService, entrypoint: routerCacheEntrypoint },
      },
    });
    const { workerId } = version;
    services.push(
      ...routerServices({ ...options, workerId, settings: options.router, script: "router.js", user: userService }),
    );
    services.push(logService(version, options));
  }
  services.push(...program.services, ...pieces.services, ...reached.services, ...(owned?.services ?? []));
  const text = configText({
    services,
    sockets: [
      {
        name: "http",
        address: `unix:${options.sockets.http}`,
        service: assets ? assetsService : userService,
        http: httpOptions,
      },
      ...program.sockets.map((socket) => ({ ...socket, address: `unix:${options.sockets.named}`, http: httpOptions })),
      ...(hasCode ? [eventsSocket(options)] : []),
      { name: "probe", address: `unix:${options.sockets.probe}`, service: program.probe, http: {} },
      ...(owned?.sockets ?? []),
    ],
    extensions: [...program.extensions, ...pieces.extensions].length
      ? [{ modules: [...program.extensions, ...pieces.extensions] }]
      : undefined,
    v8Flags: options.v8Flags,
  });
  const router: ConfigFile[] = hasCode ? [{ name: "router.js", script: "router" }] : [];
  const files = [...program.files, ...router, ...pieces.files, ...reached.files, ...(owned?.files ?? [])];
  return { text, environment: pieces.environment, files };
}

/**
 * A new project is dated today, which may be later than the newest date that workerd knows: it runs as of that one, since
 * nothing that workerd has can have changed in between. Dates in the future were refused at the upload.
 */
function knownDate(date: string, newest: string): string {
  return date > newest ? newest : date;
}

/** The dates from which classes can be called, and from which `ctx.exports` is there (`rpc`, `enable_ctx_exports`). */
const entrypointsSince = "2024-04-03";
const exportsSince = "2025-11-17";

/**
 * The version's own flags, and for a module Worker the two that the entry module needs: to learn that a client left (all that
 * code can see of it is that `request.signal` aborts then: requests that are sent on do not take the signal along), and to reach
 * the named entrypoints (code that is older than `ctx.exports` finds it there).
 */
function flagsOf({ format, compatibilityDate, compatibilityFlags }: RunnableVersion): string[] {
  if (format !== "modules") return [...compatibilityFlags];
  const lacksExports = compatibilityDate >= entrypointsSince && compatibilityDate < exportsSince;
  const wanted = (lacksExports ? ["request_signal", "ctx_exports"] : ["request_signal"]).filter(
    (what) => !compatibilityFlags.some((flag) => flag === `enable_${what}` || flag === `disable_${what}`),
  );
  return [...compatibilityFlags, ...wanted.map((what) => `enable_${what}`)];
}

/**
 * Flags of V8 for a process that may have `memoryBytes`. Left to itself V8 collects so late that a Worker which only makes
 * many small calls holds 390 MB of what it has long dropped, and would be taken for one that outgrew its memory; with a small
 * first heap it holds 200 MB, at the same speed (`bench/egress.ts`).
 */
export function heapFlags(memoryBytes: number): string[] {
  return [`--max-old-space-size=${Math.floor(memoryBytes / 1024 ** 2)}`, "--initial-heap-size=8"];
}

/** What of a version's configuration depends on its format. */
type Program = {
  worker: { [member: string]: CapnpValue };
  /** Bindings of ours, after the user's: taking the last property away again keeps `env` a fast object. */
  bindings: CapnpValue[];
  services: CapnpValue[];
  extensions: CapnpValue[];
  probe: CapnpValue;
  /** Besides those that every process has. */
  sockets: { name: string; service: CapnpValue }[];
  files: ConfigFile[];
};

type ClassName = ReturnType<typeof classNames>[number];

function programOf(version: RunnableVersion, classes: readonly ClassName[]): Program {
  if (version.format === "modules") return modulesProgram(version, classes);
  const probeFile: ConfigFile = { name: "probe.js", script: "probe" };
  const probe = { name: "probe", worker: moduleWorker("probe.js") };
  const program = { bindings: [], extensions: [], probe: "probe", sockets: [] };
  if (version.format === "assets-only") return { ...program, worker: {}, services: [probe], files: [probeFile] };
  const [script] = version.modules;
  if (!script) throw new Error("a service-worker version without its script");
  const tail = { ...moduleWorker("tail.js"), bindings: [{ name: "LOG", service: "log" }] };
  return {
    ...program,
    worker: { serviceWorkerScript: embed("m0"), tails: ["tail"] },
    services: [probe, { name: "tail", worker: tail }],
    files: [{ name: "m0", hash: script.hash }, { name: "tail.js", script: "tail" }, probeFile],
  };
}

function modulesProgram(version: RunnableVersion, classes: readonly ClassName[]): Program {
  const aliases = classes.flatMap(({ className, alias }) => (alias === undefined ? [] : [{ className, alias }]));
  const modules = version.modules.map((module, index) => ({
    name: module.name,
    [moduleField[module.type]]: embed(`m${index}`),
  }));
  return {
    worker: { modules: [{ name: mainModule, esModule: embed("main.js") }, ...modules] },
    bindings: [{ name: logBinding, service: "log" }],
    services: [],
    extensions: [
      { name: entryLibrary, esModule: embed("entry.js") },
      { name: "cloudflare-internal:email", internal: true, esModule: embed("email.js") },
    ],
    probe: { name: userService, entrypoint: probeEntrypoint },
    sockets: [{ name: "named", service: { name: userService, entrypoint: probeEntrypoint } }],
    files: [
      { name: "main.js", text: entryModule(version, aliases) },
      { name: "entry.js", script: "entry" },
      { name: "email.js", script: "email" },
      ...version.modules.map(({ hash }, index) => ({ name: `m${index}`, hash })),
    ],
  };
}

const moduleField: Record<ModuleType, string> = {
  esm: "esModule",
  cjs: "commonJsModule",
  text: "text",
  data: "data",
  wasm: "wasm",
  json: "json",
};

/** A Worker of ours that is one file. */
function moduleWorker(file: string): { [member: string]: CapnpValue } {
  return { modules: [{ name: file, esModule: embed(file) }], compatibilityDate: "2026-11-01" };
}

function eventsSocket({ sockets }: WorkerConfigOptions): CapnpValue {
  const service = { name: routerService, entrypoint: routerEventsEntrypoint };
  return { name: "events", address: `unix:${sockets.events}`, service, http: {} };
}

function logService(version: RunnableVersion, options: WorkerConfigOptions): CapnpValue {
  const { workerId: scope, versionId: resource } = version;
  const capability = signCapability(options.capabilityKey, { scope, kind: "log", resource });
  return externalService({ name: "log", socket: options.layout.log, capability });
}
