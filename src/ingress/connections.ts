import type { Socket } from "node:net";
import { createLogger } from "#core/log.ts";
import type { Works } from "#ingress/client.ts";
import { Connection, type Served } from "#ingress/connection.ts";
import type { Channel, Door } from "#ingress/door.ts";

const log = createLogger("ingress.connections");

/** The connections of one kind of peer: how many there may be, in all and from one source, and which exceeded a time limit. */
export class Connections {
  readonly #works: Works;
  readonly #newRay: () => string;
  readonly #perSource: number;
  readonly #sockets = new Set<Socket>();
  readonly #served = new Set<Served>();
  readonly #bySource = new Map<string, number>();
  #refusals = 0;

  constructor(works: Works, newRay: () => string, perSource: number) {
    this.#works = works;
    this.#newRay = newRay;
    this.#perSource = perSource;
  }

  get size(): number {
    return this.#sockets.size;
  }

  /** Takes a new connection that came by `door`. `source`: whom to count it to; undefined where that says nothing. */
  accept(socket: Socket, door: Door, source: string | undefined): void {
    if (!this.admit(socket, source)) return;
    const { remoteAddress } = socket;
    const reset = remoteAddress === undefined ? undefined : () => socket.resetAndDestroy();
    this.serve(socket, { address: plainAddress(remoteAddress), reset, tls: undefined }, door);
  }

  /** Counts a new connection, or closes it when there are too many. */
  admit(socket: Socket, source: string | undefined): boolean {
    const { limits } = this.#works;
    const fromThere = source === undefined ? 0 : (this.#bySource.get(source) ?? 0);
    if (this.#sockets.size >= limits.connections || fromThere >= this.#perSource) {
      this.#refusals++;
      socket.destroy();
      return false;
    }
    if (source !== undefined) this.#bySource.set(source, fromThere + 1);
    socket.setKeepAlive(true, limits.probeMs);
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      if (source !== undefined) this.#forget(source);
    });
    return true;
  }

  /** Answers what comes on `socket`, or on the protected connection that was made of one that was let in. */
  serve(socket: Socket, channel: Channel, door: Door): void {
    this.keep(new Connection(socket, channel, door, this.#works, this.#newRay), socket);
  }

  /** Watches over what serves a connection until `socket` closes. */
  keep(served: Served, socket: Socket): void {
    this.#served.add(served);
    socket.once("close", () => this.#served.delete(served));
  }

  sweep(now: number): void {
    for (const served of this.#served) served.sweep(now);
    if (this.#refusals === 0) return;
    log.warn("connections were refused: too many are open", { refused: this.#refusals, open: this.#sockets.size });
    this.#refusals = 0;
  }

  /** Closes those without a request; the others close after their answer. */
  stop(): void {
    for (const served of this.#served) served.stop();
  }

  destroy(): void {
    for (const served of this.#served) served.destroy();
    for (const socket of this.#sockets) socket.destroy();
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

/** An IPv4 address as it is, also when it comes in the form of IPv6. */
export function plainAddress(address: string | undefined): string | undefined {
  return address?.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
}
