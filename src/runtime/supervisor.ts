import { pollUntil, sleep } from "#core/deadline.ts";
import { createLogger } from "#core/log.ts";
import type { NamespacePlace } from "#products/durable-objects/store.ts";
import type { TrialOutcome } from "#products/workers/deployer.ts";
import type { DesiredWorker } from "#products/workers/desired.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { ownPlacesOf, ownsObjects, placesOf } from "#products/workers/places.ts";
import type { Preview } from "#products/workers/previews.ts";
import type { Version } from "#products/workers/schema.ts";
import type { DesiredZones } from "#products/zones/desired.ts";
import { adoptChild, stopChild } from "#runtime/child.ts";
import type { Startable } from "#runtime/front-launch.ts";
import type { FrontWatch } from "#runtime/front-watch.ts";
import type { Fronts, FrontStatus, VersionUsage, Wanted } from "#runtime/fronts.ts";
import type { OnDemand } from "#runtime/on-demand.ts";
import { parseProcessName } from "#runtime/front-launch.ts";
import type { Owners, OwnerStatus, WantedOwner } from "#runtime/owners.ts";
import type { Ingresses } from "#runtime/ingresses.ts";
import { tellProcesses } from "#runtime/log-listen.ts";
import { findChildren } from "#runtime/proc.ts";
import type { RoutingTable } from "#runtime/routes.ts";
import type { SandboxReport } from "#runtime/sandbox.ts";
import type { FoundChild, ServiceDefinition, Services, ServiceStatus } from "#runtime/services.ts";
import { buildTable, sameTable, type PlatformRoutes } from "#runtime/table.ts";
import type { WorkerSockets } from "#runtime/worker-sockets.ts";

/** What should run, as the control database says it. */
export type Desired = {
  workers: DesiredWorker[];
  accountLabels: Map<string, string | undefined>;
  zones: DesiredZones;
  bucketHosts: string[];
  /** Of Durable Objects. The same array until something has changed. */
  namespaces: readonly NamespacePlace[];
  /** Hosts that hold databases. */
  d1Hosts: number[];
  secretsOf: (versionId: string) => ReadonlyMap<string, Uint8Array>;
};

export type SupervisorParts = {
  instance: string;
  workerSockets: WorkerSockets;
  services: Services;
  ingresses: Ingresses;
  fronts: Fronts;
  owners: Owners;
  watch: FrontWatch;
  /** Processes that always run, in the order of their start. */
  always: readonly ServiceDefinition[];
  /** Started with the first Worker. */
  egress: ServiceDefinition;
  onDemand: OnDemand;
  d1Host: (host: number) => ServiceDefinition;
  d1HostCount: number;
  sandbox: SandboxReport;
  /** What the control database says now; undefined while it does not exist yet. */
  readDesired: () => Desired | undefined;
  /** Which version a host previews now. */
  previewOf: (host: string) => Preview | undefined;
  refusesCompatibility: (date: string, flags: readonly string[]) => Promise<string | undefined>;
  consoleHost: string;
  appDomain: string;
  /** Routes to processes of the platform; public buckets have hosts of their own. */
  platformRoutes: (bucketHosts: readonly string[], isReady: (service: string) => boolean) => PlatformRoutes;
  drainMs: number;
};

export type SupervisorStatus = {
  sandbox: SandboxReport;
  services: ServiceStatus[];
  fronts: FrontStatus[];
  owners: OwnerStatus[];
  versions: VersionUsage[];
  hosts: string[];
  generation: number;
  /** Version → ms since 1970 at which the ingress began to serve it. */
  liveSinceMs: Record<string, number>;
};

const limits = {
  /** How long a deploy waits until the ingress serves it. */
  settleMs: 10_000,
  /** After a pass that failed. */
  retryMs: 200,
  /** How long the first start may take until everything answers. */
  readyMs: 60_000,
  evictMs: 2000,
  /** Previews that have an address at the same time; the one that was asked for first makes room. */
  previews: 1000,
};

const log = createLogger("supervisor");

/**
 * Compares what should run with what runs and moves one step at a time. It is woken when the database has changed and
 * whenever a process has; a pass that fails is tried again. What serves goes on serving when this process is gone.
 */
export class Supervisor {
  readonly #parts: SupervisorParts;
  #loop: Promise<void> | undefined;
  #dirty = false;
  #stopping = false;
  /** When the ingress began to serve a version, ms since 1970. */
  readonly #liveSinceMs = new Map<string, number>();
  /** The table that the ingress has acknowledged. */
  #acknowledged: { table: RoutingTable } | undefined;
  #generation = 0;
  /** Whose generations these are: an ingress that outlives us compares only within one supervisor. */
  readonly #id = `${process.pid}-${Date.now()}`;
  #settledOnce = false;
  /** Workers whose version is being started for the first time: the database does not know them yet. */
  readonly #onTrial: string[] = [];
  /** Hosts of previews that were asked for and do not sleep yet. */
  readonly #previewHosts = new Set<string>();

  constructor(parts: SupervisorParts) {
    this.#parts = parts;
  }

  /** Takes over or ends what an earlier supervisor left, starts what is missing, and resolves once everything serves. */
  async start(): Promise<void> {
    const { services, always, instance } = this.#parts;
    const found = findChildren(instance).filter(({ facts }) => facts.pid !== process.pid);
    services.setFound(found);
    await Promise.all(always.map((definition) => services.run(definition)));
    await this.#adoptFronts(found.filter(({ mark }) => roleOf(mark.name) === "front"));
    await this.#adoptOwners(found.filter(({ mark }) => roleOf(mark.name) === "owner"));
    await this.#endStrangers(found);
    this.#parts.watch.start();
    this.#parts.owners.start();
    this.wake();
    await pollUntil({ ms: limits.readyMs, everyMs: 10, what: "Starting" }, () => (this.#allReady() ? true : undefined));
  }

  /** Something has changed: look again. */
  readonly wake = (): void => {
    this.#dirty = true;
    if (!this.#stopping) this.#loop ??= this.#run();
  };

  /** Starts an uploaded version; see `Deployer.trial`. */
  async trial(startable: Startable, signal: AbortSignal): Promise<TrialOutcome> {
    const { workerId } = startable.version;
    this.#onTrial.push(workerId);
    try {
      const { workerSockets, fronts, onDemand } = this.#parts;
      await workerSockets.ensure(workerId);
      const sockets = await onDemand.runBound(startable.version);
      const [outcome] = await Promise.all([
        fronts.trial(startable, signal),
        workerSockets.untilOpen(workerId, sockets),
      ]);
      return outcome;
    } finally {
      this.#onTrial.splice(this.#onTrial.indexOf(workerId), 1);
    }
  }

  /** A request waits for a version, or a process of the platform, that sleeps. */
  async wakeTarget(target: string): Promise<void> {
    if (await this.#parts.onDemand.start(target)) return;
    if (this.#parts.fronts.wake(target)) this.wake();
  }

  /** A request waits for a host that no table names: true when it previews a version, which the next table has then. */
  wakePreview(host: string): boolean {
    const preview = this.#parts.previewOf(host);
    if (!preview) return false;
    const [first] = this.#previewHosts;
    if (this.#previewHosts.size >= limits.previews && first !== undefined) this.#previewHosts.delete(first);
    this.#previewHosts.add(host);
    this.#parts.fronts.wake(preview.version.id);
    this.wake();
    return true;
  }

  /** Somebody has begun to listen to a Worker's logs. */
  async tellListening(workerId: string): Promise<void> {
    await tellProcesses(this.#parts.fronts, workerId);
  }

  /** Resolves when the ingress serves what the database said when this was called. */
  async settle(): Promise<void> {
    const end = performance.now() + limits.settleMs;
    this.wake();
    for (;;) {
      await this.#loop;
      if (this.#settledOnce) return;
      if (performance.now() > end) throw workerErrors.notLive();
      await sleep(10);
      this.wake();
    }
  }

  /** Starts a host that is about to get its first database. */
  async startD1Host(host: number): Promise<void> {
    await this.#parts.services.run(this.#parts.d1Host(host));
  }

  /** Resolves once a process that is started on demand answers. */
  async startOnDemand(name: string): Promise<void> {
    await this.#parts.onDemand.start(name);
  }

  /** Resolves once the process of a Worker's objects answers: where it is asked about its Workflows. */
  async wakeOwner(workerId: string): Promise<string> {
    return this.#parts.owners.wakeForWorkflows(workerId);
  }

  refusesCompatibility(date: string, flags: readonly string[]): Promise<string | undefined> {
    return this.#parts.refusesCompatibility(date, flags);
  }

  status(): SupervisorStatus {
    const table = this.#acknowledged?.table;
    return {
      sandbox: this.#parts.sandbox,
      services: this.#parts.services.status(),
      ...this.#parts.fronts.status(),
      owners: this.#parts.owners.status(),
      hosts: Object.keys(table?.hosts ?? {}),
      generation: table?.generation ?? 0,
      liveSinceMs: Object.fromEntries(this.#liveSinceMs),
    };
  }

  /** Finishes what is open, then ends every process. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#loop;
    const { services, fronts, owners, ingresses, watch, drainMs } = this.#parts;
    await ingresses.stop(drainMs);
    await fronts.stop();
    await owners.stop();
    watch.stop();
    // Whoever others write to ends last.
    const first = services.names().filter((name) => name !== "state");
    await Promise.all(first.map((name) => services.stop(name)));
    await services.stop("state");
  }

  async #run(): Promise<void> {
    try {
      while (this.#dirty && !this.#stopping) {
        this.#dirty = false;
        this.#settledOnce = false;
        await this.#pass().catch(async (error: unknown) => {
          log.error("a step failed and is tried again", { error });
          await sleep(limits.retryMs);
          this.#dirty = true;
        });
      }
    } finally {
      this.#loop = undefined;
    }
    if (this.#dirty && !this.#stopping) this.wake();
  }

  /** One look: start what is missing, tell the ingress, let go of what nobody is sent to any more. */
  async #pass(): Promise<void> {
    const { services, fronts, owners, workerSockets } = this.#parts;
    const desired = this.#parts.readDesired();
    if (!desired) return;
    for (const host of desired.d1Hosts) await services.run(this.#parts.d1Host(host));
    if (desired.workers.length > 0) await services.run(this.#parts.egress);
    for (const { worker } of desired.workers) await workerSockets.ensure(worker.id);
    const previews = this.#previews();
    const all = [...versionsOf(desired), ...previews.map(({ version }) => version)];
    await this.#parts.onDemand.runFor(all.map(({ runnable }) => runnable));
    for (const { worker } of previews) await workerSockets.ensure(worker.id);
    fronts.setDesired(wantedOf(desired));
    fronts.addPreviews(previews.map((preview) => wantedVersion(preview.version, desired)));
    const table = buildTable({
      ...this.#parts,
      generation: ++this.#generation,
      desired: desired.workers,
      accountLabels: desired.accountLabels,
      zones: desired.zones,
      platform: this.#parts.platformRoutes(desired.bucketHosts, (name) => services.isReady(name)),
      previews,
      targetOf: (versionId) => fronts.targetOf(versionId),
      previous: this.#acknowledged?.table,
    });
    if (!(await this.#acknowledge(table))) return;
    // After the table, so that new code of a Worker calls its new objects; until then both serve what was before.
    owners.setDesired(ownersWanted(desired), desired.namespaces);
    const targets = Object.entries(table.targets);
    fronts.release(new Set(targets.map(([id]) => id)), new Set(targets.flatMap(([, { sockets }]) => sockets)));
    const workers = desired.workers.map(({ worker }) => worker.id);
    await workerSockets.removeExcept(
      new Set([...workers, ...fronts.workerIds(), ...owners.workerIds(), ...this.#onTrial]),
    );
    this.#settledOnce = desired.workers.every(
      ({ worker, versions }) =>
        owners.isSettled(worker.id) && versions.every(({ version }) => fronts.isSettled(version.id)),
    );
  }

  /** What the hosts in use preview now. One whose version has gone to sleep is forgotten until it is asked for again. */
  #previews(): Preview[] {
    return [...this.#previewHosts].flatMap((host) => {
      const preview = this.#parts.previewOf(host);
      if (preview && !this.#parts.fronts.isAsleep(preview.version.id)) return [preview];
      this.#previewHosts.delete(host);
      return [];
    });
  }

  /** Whether the ingress serves `table` now. An ingress that was started anew is told again. */
  async #acknowledge(table: RoutingTable): Promise<boolean> {
    const { ingresses } = this.#parts;
    const current = this.#acknowledged?.table;
    if (current && sameTable(current, table)) return await ingresses.putTable(this.#id, current);
    if (!(await ingresses.putTable(this.#id, table))) return false;
    this.#acknowledged = { table };
    for (const versionId of this.#liveSinceMs.keys())
      if (!table.targets[versionId]) this.#liveSinceMs.delete(versionId);
    for (const versionId of Object.keys(table.targets))
      if (!this.#liveSinceMs.has(versionId)) this.#liveSinceMs.set(versionId, Date.now());
    return true;
  }

  #allReady(): boolean {
    const { services, always } = this.#parts;
    return (
      always.every(({ name }) => services.isReady(name)) &&
      services.status().every(({ state }) => state === "ready") &&
      this.#settledOnce
    );
  }

  async #adoptFronts(found: readonly FoundChild[]): Promise<void> {
    const desired = found.length > 0 ? this.#parts.readDesired() : undefined;
    const wanted = new Map(desired ? wantedOf(desired).map((one) => [one.versionId, one]) : []);
    await Promise.all(
      found.map(async ({ mark, facts }) => {
        const child = adoptChild(mark, facts);
        const became = await this.#parts.fronts.adopt(mark, facts, child, (versionId) =>
          wanted.get(versionId)?.startable(),
        );
        if (became === "unknown") await stopChild(child, limits.evictMs);
      }),
    );
  }

  async #adoptOwners(found: readonly FoundChild[]): Promise<void> {
    const desired = found.length > 0 ? this.#parts.readDesired() : undefined;
    const wanted = new Map(desired ? ownersWanted(desired).map((one) => [one.workerId, one]) : []);
    for (const { mark, facts } of found) {
      const workerId = parseProcessName(mark.name)?.workerId ?? "";
      await this.#parts.owners.adopt(mark, facts, adoptChild(mark, facts), wanted.get(workerId));
    }
  }

  /** Ends processes of an earlier supervisor that nothing asks for: they may hold a lock or a socket. */
  async #endStrangers(found: readonly FoundChild[]): Promise<void> {
    const wanted = new Set([...this.#parts.services.names(), this.#parts.egress.name, ...this.#parts.onDemand.names]);
    for (let host = 0; host < this.#parts.d1HostCount; host++) wanted.add(this.#parts.d1Host(host).name);
    const strangers = found.filter(({ mark }) => roleOf(mark.name) === undefined && !wanted.has(mark.name));
    await Promise.all(strangers.map(({ mark, facts }) => stopChild(adoptChild(mark, facts), limits.evictMs)));
  }
}

function versionsOf({ workers }: Desired): Version[] {
  return workers.flatMap(({ versions }) => versions.map(({ version }) => version));
}

function wantedOf(desired: Desired): Wanted[] {
  return versionsOf(desired).map((version) => wantedVersion(version, desired));
}

/** The code that each Worker's objects run: that of its newest version that gets requests. */
function ownersWanted(desired: Desired): WantedOwner[] {
  return desired.workers.flatMap(({ worker, versions }) => {
    const served = versions.filter(({ percentage }) => percentage > 0).map(({ version }) => version);
    const newest = served.toSorted((a, b) => b.number - a.number)[0];
    if (!newest || !ownsObjects(newest.runnable)) return [];
    const places = ownPlacesOf(newest.runnable);
    return [{ workerId: worker.id, ...wantedVersion(newest, desired), places }];
  });
}

function roleOf(processName: string) {
  return parseProcessName(processName)?.role;
}

function wantedVersion(version: Version, { secretsOf }: Desired): Wanted {
  return {
    versionId: version.id,
    places: placesOf(version.runnable),
    startable: () => ({ version: version.runnable, secrets: secretsOf(version.id), cpuMs: cpuMsOf(version) }),
  };
}

/** `limits.cpu_ms` of the upload. */
function cpuMsOf({ extra }: Version): number | undefined {
  const { cpu_ms: cpuMs } = (extra.limits ?? {}) as { cpu_ms?: unknown };
  return typeof cpuMs === "number" && cpuMs > 0 ? cpuMs : undefined;
}
