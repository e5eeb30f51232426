import { createLogger } from "#core/log.ts";
import type { Connections } from "#ingress/connections.ts";
import { listenPrivate, type Listener } from "#ingress/listeners.ts";
import { PlatformDoor } from "#ingress/platform-door.ts";
import type { HostDesk } from "#ingress/public-door.ts";

const log = createLogger("ingress.platform");

type Options = {
  desk: HostDesk;
  connections: Connections;
  capabilityKey: Buffer;
  pathOf: (workerId: string) => string;
};

/** One socket for each Worker, by which its processes reach other Workers. */
export class PlatformSockets {
  readonly #options: Options;
  readonly #listeners = new Map<string, Promise<Listener>>();

  constructor(options: Options) {
    this.#options = options;
  }

  /** Listens for the processes of one Worker, unless that is done already. */
  async listenForWorker(workerId: string, path: string): Promise<void> {
    let listener = this.#listeners.get(workerId);
    if (!listener) {
      const { desk, connections, capabilityKey } = this.#options;
      const door = new PlatformDoor(desk, workerId, capabilityKey);
      listener = listenPrivate(path, (socket) => connections.accept(socket, door));
      this.#listeners.set(workerId, listener);
    }
    try {
      await listener;
    } catch (error) {
      this.#listeners.delete(workerId);
      throw error;
    }
  }

  /** Listens for exactly these Workers. One socket that cannot be had does not keep the others from theirs. */
  async listenFor(workerIds: Iterable<string>): Promise<void> {
    const wanted = new Set(workerIds);
    const gone = [...this.#listeners].filter(([workerId]) => !wanted.has(workerId));
    await Promise.all([
      ...gone.map(async ([workerId, listener]) => {
        this.#listeners.delete(workerId);
        (await listener).stop();
      }),
      ...[...wanted].map(async (workerId) => {
        try {
          await this.listenForWorker(workerId, this.#options.pathOf(workerId));
        } catch (error) {
          log.error("a Worker's way to other Workers could not be opened", { workerId, error });
        }
      }),
    ]);
  }

  async close(): Promise<void> {
    await this.listenFor([]);
  }
}
