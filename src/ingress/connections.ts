import type { Socket } from "node:net";
import { createLogger } from "#core/log.ts";
import type { Works } from "#ingress/client.ts";
import { Connection } from "#ingress/connection.ts";
import type { Door } from "#ingress/door.ts";

const log = createLogger("ingress.connections");

/** The connections of one kind of peer: how many there may be, in all and from one source, and which exceeded a time limit. */
export class Connections {
  readonly #works: Works;
  readonly #newRay: () => string;
  readonly #perSource: number;
  readonly #open = new Set<Connection>();
  readonly #bySource = new Map<string, number>();
  #refusals = 0;

  constructor(works: Works, newRay: () => string, perSource: number) {
    this.#works = works;
    this.#newRay = newRay;
    this.#perSource = perSource;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Takes a new connection that came by `door`. `source`: whom to count it to; undefined where that says nothing. */
  accept(socket: Socket, door: Door, source: string | undefined): void {
    const { limits } = this.#works;
    const fromThere = source === undefined ? 0 : (this.#bySource.get(source) ?? 0);
    if (this.#open.size >= limits.connections || fromThere >= this.#perSource) {
      this.#refusals++;
      socket.destroy();
      return;
    }
    if (source !== undefined) this.#bySource.set(source, fromThere + 1);
    socket.setKeepAlive(true, limits.probeMs);
    const connection = new Connection(socket, door, this.#works, this.#newRay);
    this.#open.add(connection);
    socket.once("close", () => {
      this.#open.delete(connection);
      if (source !== undefined) this.#forget(source);
    });
  }

  sweep(now: number): void {
    for (const connection of this.#open) connection.sweep(now);
    if (this.#refusals === 0) return;
    log.warn("connections were refused: too many are open", { refused: this.#refusals, open: this.#open.size });
    this.#refusals = 0;
  }

  /** Closes those without a request; the others close after their answer. */
  stop(): void {
    for (const connection of this.#open) connection.stop();
  }

  destroy(): void {
    for (const connection of this.#open) connection.destroy();
  }

  #forget(source: string): void {
    const left = (this.#bySource.get(source) ?? 1) - 1;
    if (left > 0) this.#bySource.set(source, left);
    else this.#bySource.delete(source);
  }
}

/** The address to count a public connection to. Not loopback: there a proxy that ends TLS brings everybody. */
export function countedAddress(address: string | undefined): string | undefined {
  if (address === undefined || address === "::1" || address.startsWith("127.") || address.startsWith("::ffff:127."))
    return undefined;
  return address;
}
