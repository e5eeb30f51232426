import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Config } from "#config.ts";
import type { RunningSupervisor } from "#cli/supervise.ts";
import { buildIdUrl } from "#core/entry.ts";
import { type DataLayout, dataLayout, ingressName, runtimeLayout, type RuntimeLayout } from "#core/layout.ts";
import { setLogLevel } from "#core/log.ts";
import { childEnvironment } from "#environment.ts";
import { createWireServer } from "#http/wire/server.ts";
import { vectorizePiece } from "#products/vectorize/binding.ts";
import { aiPiece } from "#products/ai-gateway/binding.ts";
import { d1Piece } from "#products/d1/binding.ts";
import { kvPiece } from "#products/kv/binding.ts";
import { queuePiece } from "#products/queues/binding.ts";
import { r2Piece } from "#products/r2/binding.ts";
import type { RunnableVersion } from "#products/workers/runnable.ts";
import { platformRoutes } from "#roles/addresses.ts";
import { desiredReader } from "#roles/desired-reader.ts";
import { routerSettings } from "#roles/egress-rules.ts";
import { ensureKeys, readKeys } from "#roles/keys.ts";
import { definitions } from "#roles/service-definitions.ts";
import { compatibilityChecker } from "#runtime/compatibility-checker.ts";
import {
  parseProcessName,
  sweepProcessFolders,
  type FrontParts,
  type FrontSockets,
  type ObjectsPlace,
} from "#runtime/front-launch.ts";
import { FrontWatch } from "#runtime/front-watch.ts";
import { Fronts } from "#runtime/fronts.ts";
import { serveOwnerDoors } from "#runtime/owner-doors.ts";
import { OnDemand } from "#runtime/on-demand.ts";
import { Owners } from "#runtime/owners.ts";
import { Ingresses } from "#runtime/ingresses.ts";
import { keepLogsSmall } from "#runtime/log-files.ts";
import { logOutcome } from "#runtime/outcome-log.ts";
import { findChildren } from "#runtime/proc.ts";
import { chooseSandbox } from "#runtime/sandbox-choice.ts";
import { Services } from "#runtime/services.ts";
import { Supervisor } from "#runtime/supervisor.ts";
import { supervisorHandler } from "#runtime/supervisor-server.ts";
import { WorkerSockets } from "#runtime/worker-sockets.ts";
import { heapFlags, workerConfig, type WorkerConfig } from "#runtime/worker-config.ts";
import { newestCompatibilityDate, workerdPath } from "#runtime/workerd.ts";

/** Workers' processes that may be starting at once. Two a core: while one reads its files another compiles. */
const startsPerCore = 2;

/** Wires the supervisor of an installation and starts it. */
export async function startSupervisor(config: Config): Promise<RunningSupervisor> {
  setLogLevel(config.logLevel);
  const data = dataLayout(config.data);
  const instance = config.runtime ?? "";
  const runtime = runtimeLayout(instance);
  await prepareFolders(data, runtime);
  const keys = await readKeys(data);
  const buildId = await readFile(buildIdUrl(), "utf8");
  const workerd = workerdPath();
  const newestDate = newestCompatibilityDate();
  const sandbox = await chooseSandbox(config.sandbox, workerd);
  const environment = childEnvironment();

  // Assigned below: what changes wakes the supervisor, which is made of the parts that change.
  let supervisor: Supervisor | undefined;
  const changed = () => supervisor?.wake();
  const services = new Services({ instance, changed });
  const ingresses = ingressesOf(config, runtime, services);
  const desired = desiredReader(data.controlDb, config.appDomain);
  const parts: FrontParts = {
    data,
    runtime,
    workerd,
    sandbox,
    buildId,
    sealKey: keys.seal,
    environment: pickTimeZone(environment),
    configure: configureWith(config, keys.capability, newestDate),
  };
  const { fronts, owners } = processesOf(config, { instance, parts, ingresses, changed });
  const watch = watchOf(config, { fronts, owners, ingresses, capabilityKey: keys.capability });
  const own = definitions({ config, data, runtime, keys, buildId, workerd, environment });
  supervisor = new Supervisor({
    instance,
    workerSockets: new WorkerSockets(runtime, config.d1Hosts + config.d1OwnHosts),
    services,
    ingresses,
    fronts,
    owners,
    watch,
    always: own.always,
    egress: own.egress,
    onDemand: new OnDemand(services, own.onDemand),
    d1Host: own.d1Host,
    sandbox: sandbox.report,
    d1HostCount: config.d1Hosts + config.d1OwnHosts,
    readDesired: () => desired.read(),
    previewOf: (host) => desired.previewOf(host),
    refusesCompatibility: compatibilityChecker({ workerd, newestDate, folder: runtime.service("compatibility") }),
    consoleHost: config.consoleHost,
    appDomain: config.appDomain,
    platformRoutes: platformRoutes(config, runtime),
    drainMs: config.drainMs,
  });

  const running = supervisor;
  const server = createWireServer(supervisorHandler(running));
  await server.listen(runtime.supervisor);
  const doors = await serveOwnerDoors(owners, { workersFolder: runtime.workers, capabilityKey: keys.capability });
  const logFiles = keepLogsSmall(async () => [
    ...(await readdir(data.logs)).map((name) => join(data.logs, name)),
    ...[fronts, owners].flatMap((processes) => processes.logFiles()),
  ]);
  const ready = running.start();
  return {
    ready,
    accountId: () => desired.firstAccount(),
    async stop() {
      logFiles.stop();
      await server.close();
      await running.stop();
      await doors.close();
      desired.close();
      await rm(instance, { recursive: true, force: true });
    },
    async kill() {
      for (const { facts } of findChildren(instance)) if (facts.pid !== process.pid) process.kill(facts.pid, "SIGKILL");
    },
  };
}

/** Workers' processes: those that answer requests, and those that have objects. */
function processesOf(
  config: Config,
  common: { instance: string; parts: FrontParts; ingresses: Ingresses; changed: () => void },
): { fronts: Fronts; owners: Owners } {
  const startsAtOnce = startsPerCore * availableParallelism();
  const { idleMs, drainMs, drainingMax, startupCpuMs: cpuMs, startupMs: wallMs, memoryBytes } = config;
  const fronts = new Fronts({
    ...common,
    trialLimits: { cpuMs, wallMs, memoryBytes },
    drainMs,
    drainingMax,
    startsAtOnce,
    async openRequests(socket) {
      const { requests, webSockets } = await common.ingresses.open(socket);
      return requests + webSockets;
    },
  });
  return { fronts, owners: new Owners({ ...common, idleMs, startsAtOnce, clients: () => fronts.all() }) };
}

function ingressesOf(config: Config, runtime: RuntimeLayout, services: Services): Ingresses {
  const names = Array.from({ length: config.ingressProcesses }, (_, index) => ({
    name: ingressName(index),
    socket: runtime.ingress(index),
  }));
  return new Ingresses(services, names);
}

async function prepareFolders(data: DataLayout, runtime: RuntimeLayout): Promise<void> {
  await ensureKeys(data);
  for (const folder of [
    data.logs,
    data.control,
    data.state,
    data.ai,
    data.vectors,
    data.ingress,
    data.modules,
    data.objects,
  ])
    await mkdir(folder, { recursive: true, mode: 0o700 });
  const running = findChildren(runtime.root).map(({ mark }) => parseProcessName(mark.name)?.processId ?? "");
  await sweepProcessFolders({ data, runtime }, new Set(running));
}

/** What is looked at while Workers run, and who is told of what is found. */
function watchOf(
  config: Config,
  {
    fronts,
    owners,
    ingresses,
    capabilityKey,
  }: { fronts: Fronts; owners: Owners; ingresses: Ingresses; capabilityKey: Buffer },
): FrontWatch {
  const { worker } = runtimeLayout(config.runtime ?? "");
  const { idleMs, cpuMs, memoryBytes } = config;
  return new FrontWatch({
    fronts,
    owners,
    frontsMax: config.frontsMax === 0 ? availableParallelism() : config.frontsMax,
    idleMs,
    cpuMs,
    memoryBytes,
    open: () => ingresses.open(),
    condemn: (socket, outcome) => ingresses.condemn(socket, outcome),
    logOutcome: ({ workerId, versionId }, outcome) =>
      logOutcome({ socket: worker(workerId).log, capabilityKey, workerId, versionId }, outcome),
  });
}

/** How a version's process is configured on this installation. */
function configureWith(config: Config, capabilityKey: Buffer, newestDate: string) {
  const data = dataLayout(config.data);
  const runtime = runtimeLayout(config.runtime ?? "");
  return async (version: RunnableVersion, sockets: FrontSockets, objects?: ObjectsPlace): Promise<WorkerConfig> => {
    const types = version.assets ? JSON.parse(await readFile(data.assetManifest(version.assets.tree), "utf8")) : {};
    return workerConfig(version, {
      layout: runtime.worker(version.workerId),
      capabilityKey,
      sockets,
      assetsFolder: data.assetFiles,
      contentTypes: new Map(Object.entries(types as Record<string, string>)),
      router: routerSettings(config),
      newestDate,
      ownerSocket: (workerId) => runtime.owner(workerId).debug,
      objects,
      // V8 collects the harder the nearer the heap comes to it; the process ends before, since it is more than the heap.
      v8Flags: heapFlags(config.memoryBytes),
      pieces: {
        kv: kvPiece,
        r2: r2Piece,
        queue: queuePiece,
        d1: (binding) => d1Piece({ ...binding, hosts: config.d1Hosts + config.d1OwnHosts }),
        ai: aiPiece,
        vectorize: vectorizePiece,
      },
    });
  };
}

/** A Worker's process needs nothing of our environment but where it finds certificates and what time it is. */
function pickTimeZone({ TZ, SSL_CERT_FILE, SSL_CERT_DIR }: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries({ TZ, SSL_CERT_FILE, SSL_CERT_DIR }).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value]],
    ),
  );
}
