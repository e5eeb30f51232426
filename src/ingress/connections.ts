import type { Socket } from "node:net";
import { createLogger } from "#core/log.ts";
import type { Works } from "#ingress/client.ts";
import { Connection } from "#ingress/connection.ts";
import type { Door } from "#ingress/door.ts";

const log = createLogger("ingress.connections");

/** All client connections: how many there may be, and which of them exceeded a time limit. */
export class Connections {
  readonly #works: Works;
  readonly #newRay: () => string;
  readonly #open = new Set<Connection>();
  readonly #byAddress = new Map<string, number>();
  #refusals = 0;

  constructor(works: Works, newRay: () => string) {
    this.#works = works;
    this.#newRay = newRay;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Takes a new connection that came by `door`. */
  accept(socket: Socket, door: Door): void {
    const { limits } = this.#works;
    const address = limitedAddress(socket.remoteAddress);
    const fromThere = address === undefined ? 0 : (this.#byAddress.get(address) ?? 0);
    if (this.#open.size >= limits.connections || fromThere >= limits.connectionsPerAddress) {
      this.#refusals++;
      socket.destroy();
      return;
    }
    if (address !== undefined) this.#byAddress.set(address, fromThere + 1);
    socket.setKeepAlive(true, limits.probeMs);
    const connection = new Connection(socket, door, this.#works, this.#newRay);
    this.#open.add(connection);
    socket.once("close", () => {
      this.#open.delete(connection);
      if (address !== undefined) this.#forget(address);
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

  #forget(address: string): void {
    const left = (this.#byAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#byAddress.set(address, left);
    else this.#byAddress.delete(address);
  }
}

/** The address to count by. Not loopback, where a proxy that ends TLS brings everybody; nor a unix socket. */
function limitedAddress(address: string | undefined): string | undefined {
  if (address === undefined || address === "::1" || address.startsWith("127.") || address.startsWith("::ffff:127."))
    return undefined;
  return address;
}
