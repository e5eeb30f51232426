import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { chmod, mkdir, rm } from "node:fs/promises";
import { once } from "node:events";
import { dirname } from "node:path";
import { createLogger } from "#core/log.ts";
import { systemCode } from "#core/errors.ts";

const log = createLogger("ingress.listeners");

export type OnConnection = (socket: Socket) => void;

/** A listening server. `stop`: it accepts no more from then on; connections that it accepted live on. */
export type Listener = { stop: () => void };

/** Attempts at finding a port that is free on both loopback addresses. */
const portAttempts = 20;

/** Where to listen. `shared`: other processes of ours listen there too, and the kernel spreads connections over them. */
export type PublicAddress = { host: string; port: number; shared: boolean };

/** Listens on TCP. `localhost` means 127.0.0.1 and, where the machine has it, ::1 on the same port. */
export async function listenPublic(
  { host, port, shared }: PublicAddress,
  onConnection: OnConnection,
): Promise<Listener & { port: number }> {
  if (host !== "localhost") {
    const server = await listenTcp({ host, port, shared }, onConnection);
    return { port: portOf(server), stop: () => server.close() };
  }
  for (let attempt = 1; ; attempt++) {
    const first = await listenTcp({ host: "127.0.0.1", port, shared }, onConnection);
    const chosen = portOf(first);
    try {
      const second = await listenTcp({ host: "::1", port: chosen, shared }, onConnection);
      return {
        port: chosen,
        stop: () => {
          first.close();
          second.close();
        },
      };
    } catch (error) {
      const code = systemCode(error);
      if (code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT") {
        log.info("this machine has no IPv6 loopback; listening on 127.0.0.1 only");
        return { port: chosen, stop: () => first.close() };
      }
      first.close();
      // A port that was free on one address may be taken on the other; with port 0 there are more to try.
      if (port !== 0 || code !== "EADDRINUSE" || attempt === portAttempts) throw error;
    }
  }
}

/** Listens on a unix socket that only this user can reach, in place of a file that a dead process left. */
export async function listenPrivate(path: string, onConnection: OnConnection): Promise<Listener> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await rm(path, { force: true });
  const server = makeServer(onConnection);
  server.listen(path);
  await once(server, "listening");
  await chmod(path, 0o600);
  return { stop: () => server.close() };
}

async function listenTcp({ host, port, shared }: PublicAddress, onConnection: OnConnection): Promise<Server> {
  const server = makeServer(onConnection);
  server.listen({ host, port, ipv6Only: host === "::1", reusePort: shared });
  await once(server, "listening");
  return server;
}

function makeServer(onConnection: OnConnection): Server {
  // Half-open: a client that has sent its last byte still gets its answer's end, and we decide when the rest is closed.
  const server = createServer({ noDelay: true, allowHalfOpen: true }, onConnection);
  server.on("error", (error) => {
    if (server.listening) log.warn("a connection could not be accepted", { error });
  });
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
