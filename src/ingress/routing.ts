import type { CondemnOutcome, Route, RoutingTable, Target } from "#runtime/routes.ts";
import type { CoarseClock } from "#ingress/clock.ts";
import type { IngressLimits } from "#ingress/limits.ts";
import { chooseVersion } from "#ingress/route-match.ts";
import { RoutePatterns, type Asked } from "#ingress/route-patterns.ts";
import { Backend, type Usage } from "#ingress/upstream.ts";

/** Whom a request is for. Looked up anew for each attempt, so that one that waits finds a newer table. */
export type Destination = HostDestination | { kind: "service"; name: string };

export type HostDestination = Asked & {
  kind: "host";
  /** Id of the Worker whose `fetch()` this is. Its own routes on zones are not for it: behind them is the custom domain. */
  caller: string | undefined;
};

/** A target, or a service of the platform, without a process: to be had for the asking. */
export class Asleep {
  readonly target: string;

  constructor(target: string) {
    this.target = target;
  }
}

/** Who answers just now. `starting`: a process that is expected but not there yet. */
export type Picked = Backend | Asleep | "nobody" | "down" | "starting";

/** Whoever a version is chosen for: the number is the same each time, so that a request that waits is not drawn anew. */
export interface Drawing {
  /** From 0 to below 1. */
  draw(): number;
}

type PreparedTarget = { target: Target; backends: readonly Backend[]; missing: Asleep | "down" | "starting" };
type PreparedVersion = PreparedTarget & { versionId: string; weight: number };
type WorkerRoute = { kind: "worker"; script: string; versions: readonly PreparedVersion[] };
type PreparedRoute =
  | WorkerRoute
  | { kind: "console"; backend: Backend }
  | { kind: "platform"; backend: Backend | Asleep; bodyBytesMax: number | undefined };

/** The routing table in force, resolved to connections, and what is open on each of them. */
export class Routing {
  readonly console: Backend;
  readonly #consoleRoute: PreparedRoute;
  readonly #consoleHost: string;
  readonly #limits: IngressLimits;
  readonly #clock: CoarseClock;
  readonly #usages = new Map<string, Usage>();
  readonly #backends = new Map<string, Backend>();
  readonly #listeners = new Set<() => void>();
  #generation = 0;
  #hosts = new Map<string, PreparedRoute>();
  #patterns = new RoutePatterns<PreparedRoute>([], () => null);
  #services = new Map<string, PreparedRoute>();
  #workers = new Map<string, string>();

  constructor(options: { consoleHost: string; consoleSocket: string; limits: IngressLimits; clock: CoarseClock }) {
    this.#consoleHost = options.consoleHost;
    this.#limits = options.limits;
    this.#clock = options.clock;
    this.console = new Backend(options.consoleSocket, options.limits, options.clock);
    this.#consoleRoute = { kind: "console", backend: this.console };
    this.#hosts.set(options.consoleHost, this.#consoleRoute);
  }

  get generation(): number {
    return this.#generation;
  }

  /** Ids of the Workers that the table names, with their script names. */
  get workers(): ReadonlyMap<string, string> {
    return this.#workers;
  }

  /** Puts `table` in force: every request that is not yet on its way goes by it. */
  install(table: RoutingTable): void {
    const targets = new Map<string, PreparedTarget>();
    const used = new Set<Backend>();
    for (const [id, target] of Object.entries(table.targets)) {
      const backends = target.sockets.map((path) => this.#backendAt(path, id));
      for (const backend of backends) used.add(backend);
      targets.set(id, { target, backends, missing: missingOf(id, target) });
    }
    const prepare = (route: Route) => this.#prepare(route, targets, used);
    const prepareAll = (routes: Record<string, Route>) =>
      new Map(Object.entries(routes).map(([name, route]) => [name, prepare(route)]));
    this.#hosts = prepareAll(table.hosts);
    // Whatever a table says: without the console nobody could mend it.
    this.#hosts.set(this.#consoleHost, this.#consoleRoute);
    this.#patterns = new RoutePatterns(table.patterns, ({ route }) => route && prepare(route));
    this.#services = prepareAll(table.services);
    this.#workers = new Map(Object.values(table.targets).map(({ workerId, script }) => [workerId, script]));
    this.#generation = table.generation;
    this.#retireUnused(used);
    this.#forgetUnused(table);
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after each new table. */
  onInstall(listener: () => void): void {
    this.#listeners.add(listener);
  }

  routeOf(destination: Destination): PreparedRoute | undefined {
    if (destination.kind === "service") return this.#services.get(destination.name);
    const exact = this.#hosts.get(destination.host);
    // A zone cannot take the platform's own hosts away.
    if (exact && exact.kind !== "worker") return exact;
    const { caller } = destination;
    const isOwn = caller === undefined ? undefined : (route: PreparedRoute) => belongsTo(route, caller);
    // A pattern without a Worker leads to the origin, which is what a Worker on a custom domain is.
    return this.#patterns.find(destination, isOwn) ?? exact;
  }

  /** The process that is to answer. Among those of a version, the one with the least under way. */
  pick(destination: Destination, fields: readonly string[], drawing: Drawing): Picked {
    const route = this.routeOf(destination);
    if (route === undefined) return "nobody";
    if (route.kind !== "worker") return route.backend;
    const version = chooseVersion(route.versions, route.script, fields, drawing);
    if (!version) return "nobody";
    return leastBusy(version.backends) ?? version.missing;
  }

  /** Says why the process behind `path` is about to be killed. Nothing new is sent to it. */
  condemn(path: string, outcome: CondemnOutcome): void {
    const backend = this.#backends.get(path);
    if (backend) backend.condemned = outcome;
  }

  usages(): ReadonlyMap<string, Usage> {
    return this.#usages;
  }

  /** Everything that requests go to or still are on. */
  backends(): Backend[] {
    return [this.console, ...this.#backends.values()];
  }

  sweep(now: number): void {
    for (const backend of this.backends()) backend.sweep(now);
    for (const [path, backend] of this.#backends)
      if (backend.retired && backend.open === 0) this.#backends.delete(path);
  }

  #prepare(route: Route, targets: ReadonlyMap<string, PreparedTarget>, used: Set<Backend>): PreparedRoute {
    switch (route.kind) {
      case "console":
        return this.#consoleRoute;
      case "platform": {
        const { bodyBytesMax, asleep } = route;
        if (asleep !== undefined) return { kind: "platform", backend: new Asleep(asleep), bodyBytesMax };
        const backend = this.#backendAt(route.socket, "");
        used.add(backend);
        return { kind: "platform", backend, bodyBytesMax };
      }
      case "worker":
        return prepareWorker(route, targets);
    }
  }

  #backendAt(path: string, target: string): Backend {
    let backend = this.#backends.get(path);
    if (!backend) {
      backend = new Backend(path, this.#limits, this.#clock);
      this.#backends.set(path, backend);
    }
    backend.target = target;
    backend.usage = target === "" ? undefined : this.#usageOf(target);
    backend.retired = false;
    return backend;
  }

  #usageOf(target: string): Usage {
    let usage = this.#usages.get(target);
    if (!usage) {
      usage = { requestsStarted: 0, lastUsedMs: performance.now() };
      this.#usages.set(target, usage);
    }
    return usage;
  }

  #forgetUnused({ targets }: RoutingTable): void {
    const open = new Set([...this.#backends.values()].map(({ target }) => target));
    for (const target of this.#usages.keys())
      if (targets[target] === undefined && !open.has(target)) this.#usages.delete(target);
  }

  #retireUnused(used: ReadonlySet<Backend>): void {
    for (const [path, backend] of this.#backends) {
      if (used.has(backend)) continue;
      backend.retire();
      if (backend.open === 0) this.#backends.delete(path);
    }
  }
}

function prepareWorker(route: Route & { kind: "worker" }, targets: ReadonlyMap<string, PreparedTarget>): WorkerRoute {
  const versions = route.versions.flatMap(({ target: id, weight }) => {
    const prepared = targets.get(id);
    return prepared ? [{ versionId: prepared.target.versionId, weight, ...prepared }] : [];
  });
  return {
    kind: "worker",
    script: route.script,
    versions: versions.toSorted((a, b) => (a.versionId < b.versionId ? -1 : 1)),
  };
}

function belongsTo(route: PreparedRoute, workerId: string): boolean {
  return route.kind === "worker" && route.versions.some(({ target }) => target.workerId === workerId);
}

function missingOf(id: string, { asleep, down }: Target): Asleep | "down" | "starting" {
  if (asleep) return new Asleep(id);
  return down === undefined ? "starting" : "down";
}

function leastBusy(backends: readonly Backend[]): Backend | undefined {
  let best: Backend | undefined;
  for (const backend of backends) if (!backend.condemned && (!best || backend.open < best.open)) best = backend;
  return best;
}
