import { pollUntil, DeadlineError } from "#core/deadline.ts";
import { createLogger } from "#core/log.ts";
import type { RoutingTable } from "#runtime/routes.ts";
import { createAdmin } from "#ingress/admin.ts";
import { dateSource } from "#ingress/cf.ts";
import { CoarseClock } from "#ingress/clock.ts";
import { Connections } from "#ingress/connections.ts";
import { limits as defaultLimits, type IngressLimits } from "#ingress/limits.ts";
import { listenPublic } from "#ingress/listeners.ts";
import { PlatformSockets } from "#ingress/platform-sockets.ts";
import type { Works } from "#ingress/proxy.ts";
import { HostDesk, PublicDoor } from "#ingress/public-door.ts";
import { reportOpen, type DrainReport, type OpenReport } from "#ingress/reports.ts";
import { Routing } from "#ingress/routing.ts";
import { TableKeeper } from "#ingress/table.ts";
import { WaitingRoom } from "#ingress/waiting-room.ts";

const log = createLogger("ingress");

export type IngressOptions = {
  /** Address to listen on; `localhost` means both loopback addresses. */
  host: string;
  /** 0 takes a free one. */
  port: number;
  consoleHost: string;
  /** Workers answer at `<worker>.<appDomain>`. */
  appDomain: string;
  /** `https` behind a proxy that ends TLS. */
  publicScheme: "http" | "https";
  colo: string;
  requestBodyBytes: number;
  /** How long requests may go on once the ingress is told to stop. */
  drainMs: number;
  /** How long a Worker may think before its first byte; the default is `limits.firstByteMs`. */
  firstByteMs?: number;
  /** Key of the capabilities that service bindings carry. */
  capabilityKey: Buffer;
  paths: {
    /** File of the last good routing table. */
    routes: string;
    /** Unix sockets: the supervisor's, the console's, and each Worker's. */
    admin: string;
    console: string;
    platform: (workerId: string) => string;
  };
  limits?: Partial<IngressLimits>;
};

/** A running front door. */
export interface Ingress extends AsyncDisposable {
  readonly port: number;
  /** Puts a table in force and on disk; false when `supervisor` has sent a newer one before. */
  putTable(supervisor: string, table: RoutingTable): Promise<boolean>;
  /** Opens a Worker's way to other Workers, when it must exist before the table names the Worker. */
  listenForWorker(workerId: string, path: string): Promise<void>;
  /** What is under way, in all or on one process's socket. */
  open(socket?: string): OpenReport;
  /** Accepts nothing more, lets what is open end, cuts off what has not ended after `drainMs`, and closes. */
  drain(): Promise<DrainReport>;
  /** Closes at once. */
  close(): Promise<void>;
}

/** Starts the front door. Resolves when it serves: from the last good table, until the supervisor sends one. */
export async function startIngress(options: IngressOptions): Promise<Ingress> {
  const limits: IngressLimits = { ...defaultLimits, ...options.limits };
  const clock = new CoarseClock();
  const routing = new Routing({
    consoleHost: options.consoleHost,
    consoleSocket: options.paths.console,
    limits,
    clock,
  });
  const waiting = new WaitingRoom(limits, routing);
  const works: Works = {
    routing,
    waiting,
    limits,
    clock,
    firstByteMs: options.firstByteMs ?? limits.firstByteMs,
    date: dateSource(),
    stopping: false,
  };
  const desk = new HostDesk({
    edge: { colo: options.colo, scheme: options.publicScheme },
    consoleHost: options.consoleHost,
    appDomain: options.appDomain,
    requestBodyBytes: options.requestBodyBytes,
    limits,
    routing,
  });
  const clients = new Connections(works, () => desk.nextRay());
  const workers = new Connections(works, () => desk.nextRay());
  const platform = new PlatformSockets({
    desk,
    connections: workers,
    capabilityKey: options.capabilityKey,
    pathOf: options.paths.platform,
  });
  const tables = new TableKeeper(routing, options.paths.routes, () => platform.listenFor(routing.workers.keys()));
  await tables.load();

  const publicDoor = new PublicDoor(desk);
  const listener = await listenPublic(options.host, options.port, (socket) => clients.accept(socket, publicDoor));
  const sweeper = setInterval(() => {
    const now = clock.tick();
    clients.sweep(now);
    workers.sweep(now);
    routing.sweep(now);
  }, limits.sweepMs);

  const open = (socket?: string) =>
    reportOpen(
      routing.backends().filter(({ path }) => socket === undefined || path === socket),
      { connections: clients.size, waiting: waiting.size },
    );

  const admin = createAdmin({
    offerTable: (signed) => tables.offer(signed),
    generation: () => routing.generation,
    open,
    port: () => listener.port,
    listenForWorker: (workerId) => platform.listenForWorker(workerId, options.paths.platform(workerId)),
    drain: () => drain(),
    tableBytes: limits.tableBytes,
  });
  await admin.listen(options.paths.admin);
  log.info("serving", { port: listener.port, generation: routing.generation });

  let draining: Promise<DrainReport> | undefined;
  const drain = () => (draining ??= drainOnce());
  const drainOnce = async (): Promise<DrainReport> => {
    works.stopping = true;
    const stopped = listener.stop();
    // Workers' own connections stay: a request that is finishing may still need to call another Worker.
    clients.stop();
    try {
      await pollUntil({ ms: options.drainMs, everyMs: 20, what: "what is open" }, () => clients.size === 0 || undefined);
    } catch (error) {
      if (!(error instanceof DeadlineError)) throw error;
    }
    const left = open();
    clients.destroy();
    await stopped;
    return { cutRequests: left.requests + left.waiting, cutWebSockets: left.webSockets };
  };

  const close = async () => {
    clearInterval(sweeper);
    waiting.close();
    const stopped = Promise.all([listener.stop(), platform.close(), admin.close()]);
    clients.destroy();
    workers.destroy();
    for (const backend of routing.backends()) backend.closeIdle();
    await stopped;
  };

  return {
    port: listener.port,
    putTable: async (supervisor, table) => (await tables.offer({ supervisor, table })) === "accepted",
    listenForWorker: (workerId, path) => platform.listenForWorker(workerId, path),
    open,
    drain,
    close,
    [Symbol.asyncDispose]: close,
  };
}
