import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { performServerHandshake } from "node:http2";
import type { Certificates } from "#ingress/certificates.ts";
import { cfCipherName } from "#ingress/cf.ts";
import type { Works } from "#ingress/client.ts";
import { countedAddress, plainAddress, type Connections } from "#ingress/connections.ts";
import type { Channel, Door } from "#ingress/door.ts";
import { H2Session, h2Options } from "#ingress/h2-session.ts";

type Options = {
  certificates: Certificates;
  connections: Connections;
  door: Door;
  works: Works;
  newRay: () => string;
};

/** The protected way in: a handshake, then HTTP/2 or the same HTTP/1.1 as on the plain port. */
export class TlsDoor {
  readonly #options: Options;
  readonly #server: Server;
  /** Connections whose handshake is under way, to find the one below a protected one: only that can be reset. */
  readonly #shaking = new Map<string, Socket>();

  constructor(options: Options) {
    this.#options = options;
    const { certificates, works } = options;
    const { cert, key } = certificates.first;
    // It never listens: connections are given to it, counted already.
    this.#server = createServer({
      cert,
      key,
      minVersion: "TLSv1.2",
      ALPNProtocols: ["h2", "http/1.1", "http/1.0"],
      handshakeTimeout: works.limits.handshakeMs,
      SNICallback: (host, done) => done(null, certificates.for(host.toLowerCase()).context),
    });
    this.#server.on("secureConnection", (socket) => this.#secured(socket));
    // A handshake that failed: whoever it was knows no more than that it did.
    this.#server.on("tlsClientError", (_error, socket) => socket.destroy());
  }

  accept(socket: Socket): void {
    if (!this.#options.connections.admit(socket, countedAddress(socket.remoteAddress))) return;
    const key = pairOf(socket);
    this.#shaking.set(key, socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#shaking.delete(key));
    this.#server.emit("connection", socket);
  }

  /** Ends handshakes that are under way: nobody has asked for anything yet. */
  stop(): void {
    for (const socket of this.#shaking.values()) socket.destroy();
  }

  /** Shows the certificates that are there now to clients that name no host. */
  refresh(): void {
    const { cert, key } = this.#options.certificates.first;
    this.#server.setSecureContext({ cert, key });
  }

  #secured(socket: TLSSocket): void {
    const { connections, door, works, newRay } = this.#options;
    const isH2 = socket.alpnProtocol === "h2";
    const channel = this.#channelOf(socket, isH2);
    if (!isH2) return connections.serve(socket, channel, door);
    const session = performServerHandshake(socket, h2Options(works.limits));
    connections.keep(new H2Session(session, channel, door, works, newRay), socket);
  }

  #channelOf(socket: TLSSocket, isH2: boolean): Channel {
    const key = pairOf(socket);
    const below = this.#shaking.get(key);
    this.#shaking.delete(key);
    const { servername } = socket as { servername?: string | false };
    const named = servername === undefined || servername === false ? undefined : servername.toLowerCase();
    const certificate = this.#options.certificates.for(named);
    return {
      address: plainAddress(socket.remoteAddress),
      reset: () => below?.resetAndDestroy(),
      tls: {
        transport: {
          httpProtocol: isH2 ? "HTTP/2" : undefined,
          tlsVersion: socket.getProtocol() ?? "",
          tlsCipher: cfCipherName(socket.getCipher().name),
        },
        covers: (host) => host === named || certificate.covers(host),
      },
    };
  }
}

/** Tells connections to one port apart. */
function pairOf({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}
