import { createLogger } from "#core/log.ts";
import { adoptChild, stopChild, type ChildSpec } from "#runtime/child.ts";
import { Keeper } from "#runtime/keeper.ts";
import { askSocket } from "#runtime/probe.ts";
import type { findChildren } from "#runtime/proc.ts";

/** One of the platform's own processes, of which there is exactly one. */
export type ServiceDefinition = {
  name: string;
  /** Where it answers `GET /ready`. */
  socket: string;
  /** From SIGTERM to SIGKILL. */
  stopMs: number;
  spec: ChildSpec;
  /** Writes what it starts from and clears away what an earlier process left; never while one runs. */
  prepare: () => Promise<void>;
};

export type ServiceStatus = {
  name: string;
  state: string;
  pid: number | undefined;
  restarts: number;
  lastEnd: string | undefined;
};
export type FoundChild = ReturnType<typeof findChildren>[number];

const log = createLogger("supervisor.services");

/** From SIGTERM to SIGKILL for a process that is in the way of its successor. */
const evictMs = 2000;

/** The platform's own processes: which of them should run, and keeping them so. */
export class Services {
  readonly #instance: string;
  readonly #changed: () => void;
  readonly #kept = new Map<string, { definition: ServiceDefinition; keeper: Keeper }>();
  /** Processes that an earlier supervisor left. */
  #found = new Map<string, FoundChild>();

  constructor(options: { instance: string; changed: () => void }) {
    this.#instance = options.instance;
    this.#changed = options.changed;
  }

  /** What still runs from before: taken over by `run` when it is what should run, else ended first. */
  setFound(found: readonly FoundChild[]): void {
    this.#found = new Map(found.map((child) => [child.mark.name, child]));
  }

  /** Runs `definition` from now on. */
  async run(definition: ServiceDefinition): Promise<void> {
    if (this.#kept.has(definition.name)) return;
    const { spec, socket } = definition;
    const launch = async () => {
      await definition.prepare();
      return { spec, socket };
    };
    const keeper = new Keeper({ name: definition.name, instance: this.#instance, launch, changed: this.#changed });
    this.#kept.set(definition.name, { definition, keeper });
    keeper.start(await this.#takeOver(definition));
  }

  isReady(name: string): boolean {
    return this.#kept.get(name)?.keeper.state === "ready";
  }

  /** Changes whenever the service is another process. */
  pidOf(name: string): number | undefined {
    return this.#kept.get(name)?.keeper.pid;
  }

  async stop(name: string): Promise<void> {
    const kept = this.#kept.get(name);
    if (!kept) return;
    this.#kept.delete(name);
    await kept.keeper.stop(kept.definition.stopMs);
  }

  names(): string[] {
    return [...this.#kept.keys()];
  }

  status(): ServiceStatus[] {
    return [...this.#kept.values()].map(({ keeper }) => ({
      name: keeper.name,
      state: keeper.state,
      pid: keeper.pid,
      restarts: keeper.restarts,
      lastEnd: keeper.lastEnd,
    }));
  }

  async #takeOver(definition: ServiceDefinition) {
    const found = this.#found.get(definition.name);
    if (!found) return undefined;
    this.#found.delete(definition.name);
    const child = adoptChild(found.mark, found.facts);
    const { spec } = definition;
    if (found.mark.hash === spec.hash && (await answers(definition.socket))) {
      log.info("took over a process", { process: definition.name, pid: child.pid });
      return { child, launch: { spec, socket: definition.socket } };
    }
    log.info("replacing a process of another configuration", { process: definition.name, pid: child.pid });
    await stopChild(child, evictMs);
    return undefined;
  }
}

async function answers(socket: string): Promise<boolean> {
  return askSocket(socket, { ms: 1000 }).then(
    () => true,
    () => false,
  );
}
