import { pollUntil } from "#core/deadline.ts";
import type { RunnableVersion } from "#products/workers/runnable.ts";
import type { ServiceDefinition, Services } from "#runtime/services.ts";

/** A process of the platform that is started when it is first used: by a Worker that binds it, by a request, or because it was used before. */
export type OnDemandService = {
  definition: ServiceDefinition;
  /** Whether it holds anything from before. */
  wasUsed: () => boolean;
  /** Type of the bindings that it answers, at a socket of this name in a Worker's folder. */
  binding: RunnableVersion["bindings"][number]["type"];
  workerSocket: string;
};

/** How long one may take until it answers. */
const startMs = 10_000;

/** Starts such processes, each once. */
export class OnDemand {
  readonly #services: Services;
  readonly #all: readonly OnDemandService[];

  constructor(services: Services, all: readonly OnDemandService[]) {
    this.#services = services;
    this.#all = all;
  }

  get names(): string[] {
    return this.#all.map(({ definition }) => definition.name);
  }

  isReady(name: string): boolean {
    return this.#services.isReady(name);
  }

  /** Resolves once the process `name` answers. False when there is none of that name. */
  async start(name: string): Promise<boolean> {
    const found = this.#all.find(({ definition }) => definition.name === name);
    if (!found) return false;
    await this.#services.run(found.definition);
    const wait = { ms: startMs, everyMs: 5, what: `Starting ${name}` };
    await pollUntil(wait, () => this.isReady(name) || undefined);
    return true;
  }

  /** Runs those that `versions` bind, or that hold something from before. */
  async runFor(versions: readonly RunnableVersion[]): Promise<void> {
    for (const service of this.#all)
      if (service.wasUsed() || versions.some((version) => binds(version, service)))
        await this.#services.run(service.definition);
  }

  /** Runs those that `version` binds; answers the sockets that its Worker has for them. */
  async runBound(version: RunnableVersion): Promise<string[]> {
    const bound = this.#all.filter((service) => binds(version, service));
    for (const { definition } of bound) await this.#services.run(definition);
    return bound.map(({ workerSocket }) => workerSocket);
  }
}

function binds({ bindings }: RunnableVersion, { binding }: OnDemandService): boolean {
  return bindings.some(({ type }) => type === binding);
}
