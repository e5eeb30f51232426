import { existsSync } from "node:fs";
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
  /** Undefined where another process listens for all Workers. */
  pathOf: ((workerId: string) => string) | undefined;
};

/** One socket for each Worker, by which its processes reach other Workers. */
export class PlatformSockets {
  readonly #options: Options;
  readonly #listeners = new Map<string, Promise<Listener>>();

  constructor(options: Options) {
    this.#options = options;
  }

  /**
   * Listens for the processes of one Worker, unless that is done already. The socket lasts until a table comes that does not
   * name the Worker.
   */
  async listenForWorker(workerId: string): Promise<void> {
    const path = this.#options.pathOf?.(workerId);
    if (path === undefined) return;
    const known = this.#listeners.get(workerId);
    if (known) {
      const listener = await known;
      // Somebody may have cleared the folder of sockets while we lived on.
      if (existsSync(path) || this.#listeners.get(workerId) !== known) return;
      listener.stop();
    }
    const { desk, connections, capabilityKey } = this.#options;
    const door = new PlatformDoor(desk, workerId, capabilityKey);
    const opening = listenPrivate(path, (socket) => connections.accept(socket, door, workerId));
    this.#listeners.set(workerId, opening);
    try {
      await opening;
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
          await this.listenForWorker(workerId);
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
