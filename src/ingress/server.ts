import { pollUntil, DeadlineError } from "#core/deadline.ts";
import { createLogger } from "#core/log.ts";
import type { WireServer } from "#http/wire/server.ts";
import type { OpenReport, RoutingTable } from "#runtime/routes.ts";
import { Certificates, type CertificateFiles } from "#ingress/certificates.ts";
import { createAdmin } from "#ingress/admin.ts";
import { dateSource } from "#ingress/cf.ts";
import type { Works } from "#ingress/client.ts";
import { CoarseClock } from "#ingress/clock.ts";
import { Connections, countedAddress } from "#ingress/connections.ts";
import type { Door } from "#ingress/door.ts";
import { limits as defaultLimits, type IngressLimits } from "#ingress/limits.ts";
import { listenPrivate, listenPublic, type Listener } from "#ingress/listeners.ts";
import { PlatformSockets } from "#ingress/platform-sockets.ts";
import { EventDoor } from "#ingress/event-door.ts";
import { HostDesk, PublicDoor } from "#ingress/public-door.ts";
import { reportOpen, type DrainReport } from "#ingress/reports.ts";
import { RpcSessions } from "#ingress/rpc/sessions.ts";
import { Routing } from "#ingress/routing.ts";
import { SupervisorWire } from "#ingress/supervisor-wire.ts";
import { TableKeeper } from "#ingress/table.ts";
import { TlsDoor } from "#ingress/tls-door.ts";
import { WaitingRoom } from "#ingress/waiting-room.ts";
import { Waker } from "#ingress/waker.ts";

const log = createLogger("ingress");

export type IngressOptions = {
  /** Address to listen on; `localhost` means both loopback addresses. */
  host: string;
  /** 0 takes a free one. */
  port: number;
  /** The protected port beside it, and what is shown there. */
  tls?: { port: number; certificates: readonly CertificateFiles[] };
  /** Other processes of this installation listen on the same port. */
  sharesPort?: boolean;
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
    /** The same of the processes that share the port: the newest one counts. */
    siblingRoutes?: readonly string[];
    /** Unix sockets: ours for the supervisor, the console's, and each Worker's. */
    admin: string;
    console: string;
    /** The supervisor's socket: who starts Workers that sleep. Without it nothing is woken. */
    supervisor?: string;
    /** Undefined where another process listens for the Workers. */
    platform: ((workerId: string) => string) | undefined;
    /** Where our own processes hand in events for Workers; undefined where another process takes them. */
    events?: string | undefined;
  };
  limits?: Partial<IngressLimits>;
};

/** A running front door. */
export interface Ingress extends AsyncDisposable {
  readonly port: number;
  /** 0 without TLS. */
  readonly tlsPort: number;
  /** Puts a table in force and on disk; false when `supervisor` has sent a newer one before. */
  putTable(supervisor: string, table: RoutingTable): Promise<boolean>;
  /** Opens a Worker's way to other Workers, when it must exist before the table names the Worker. */
  listenForWorker(workerId: string): Promise<void>;
  /** What is under way, in all or on one process's socket. */
  open(socket?: string): OpenReport;
  /** Accepts nothing more, lets what is open end, cuts off what has not ended after `drainMs`, and closes. */
  drain(): Promise<DrainReport>;
  /** Closes at once. */
  close(): Promise<void>;
}

/** Starts the front door. Resolves when it serves: from the last good table, until the supervisor sends one. */
export async function startIngress(options: IngressOptions): Promise<Ingress> {
  const server = new IngressServer(options);
  try {
    await server.start();
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}

class IngressServer implements Ingress {
  readonly #options: IngressOptions;
  readonly #works: Works;
  readonly #supervisor: SupervisorWire | undefined;
  readonly #routing: Routing;
  readonly #desk: HostDesk;
  readonly #clients: Connections;
  /** Connections of Workers' processes to their platform sockets. */
  readonly #workers: Connections;
  readonly #platform: PlatformSockets;
  readonly #tables: TableKeeper;
  readonly #admin: WireServer;
  #listener: (Listener & { port: number }) | undefined;
  #eventListener: Listener | undefined;
  #tlsListener: (Listener & { port: number }) | undefined;
  #certificates: Certificates | undefined;
  #tlsDoor: TlsDoor | undefined;
  #sweeper: NodeJS.Timeout | undefined;
  #draining: Promise<DrainReport> | undefined;

  constructor(options: IngressOptions) {
    this.#options = options;
    const { supervisor } = options.paths;
    const timing = { ...defaultLimits, ...options.limits };
    this.#supervisor = supervisor === undefined ? undefined : new SupervisorWire(supervisor, timing);
    this.#works = makeWorks(options, this.#supervisor);
    const { routing, limits } = this.#works;
    this.#routing = routing;
    const { consoleHost, appDomain, requestBodyBytes, capabilityKey, paths } = options;
    const edge = { colo: options.colo, scheme: options.publicScheme };
    this.#desk = new HostDesk({ edge, consoleHost, appDomain, requestBodyBytes, limits, routing });
    const newRay = () => this.#desk.nextRay();
    this.#clients = new Connections(this.#works, newRay, limits.connectionsPerAddress);
    this.#workers = new Connections(this.#works, newRay, limits.connectionsPerWorker);
    this.#platform = new PlatformSockets({
      desk: this.#desk,
      connections: this.#workers,
      capabilityKey,
      pathOf: paths.platform,
    });
    this.#tables = new TableKeeper(routing, [paths.routes, ...(paths.siblingRoutes ?? [])], () =>
      this.#platform.listenFor(routing.workers.keys()),
    );
    this.#admin = createAdmin({
      offerTable: (signed) => this.#tables.offer(signed),
      generation: () => routing.generation,
      open: (socket) => this.open(socket),
      condemn: (socket, outcome) => routing.condemn(socket, outcome),
      port: () => this.port,
      listenForWorker: (workerId) => this.#platform.listenForWorker(workerId),
      drain: () => this.drain(),
      tableBytes: limits.tableBytes,
    });
  }

  async start(): Promise<void> {
    const { host, port, paths } = this.#options;
    await this.#tables.load();
    const door = new PublicDoor(this.#desk);
    this.#sweeper = setInterval(() => this.#sweep(), this.#works.limits.sweepMs);
    const shared = this.#options.sharesPort ?? false;
    const secure = await this.#openTls(door);
    this.#listener = await listenPublic({ host, port, shared }, (socket) =>
      this.#clients.accept(socket, door, countedAddress(socket.remoteAddress)),
    );
    if (secure) {
      const address = { host, port: secure.port, shared };
      this.#tlsListener = await listenPublic(address, (socket) => secure.door.accept(socket));
    }
    if (paths.events !== undefined) {
      const events = new EventDoor(this.#desk);
      this.#eventListener = await listenPrivate(paths.events, (socket) =>
        this.#workers.accept(socket, events, undefined),
      );
    }
    await this.#admin.listen(paths.admin);
    log.info("serving", { port: this.port, tlsPort: this.tlsPort, generation: this.#routing.generation });
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  get tlsPort(): number {
    return this.#tlsListener?.port ?? 0;
  }

  async putTable(supervisor: string, table: RoutingTable): Promise<boolean> {
    return (await this.#tables.offer({ supervisor, table })) === "accepted";
  }

  async listenForWorker(workerId: string): Promise<void> {
    await this.#platform.listenForWorker(workerId);
  }

  open(socket?: string): OpenReport {
    const backends = this.#routing.backends().filter(({ path }) => socket === undefined || path === socket);
    return reportOpen(backends, this.#routing.usages(), {
      connections: this.#clients.size,
      waiting: this.#works.waiting.size,
    });
  }

  async drain(): Promise<DrainReport> {
    this.#draining ??= this.#drainOnce();
    return await this.#draining;
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#works.waiting.close();
    this.#supervisor?.close();
    this.#certificates?.close();
    this.#listener?.stop();
    this.#tlsListener?.stop();
    this.#eventListener?.stop();
    const stopped = Promise.all([this.#platform.close(), this.#admin.close()]);
    this.#clients.destroy();
    this.#workers.destroy();
    for (const backend of this.#routing.backends()) backend.closeIdle();
    await stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #openTls(door: Door): Promise<{ port: number; door: TlsDoor } | undefined> {
    const { tls } = this.#options;
    if (!tls) return undefined;
    const works = this.#works;
    const certificates = await Certificates.load(tls.certificates, () => tlsDoor.refresh());
    this.#certificates = certificates;
    const newRay = () => this.#desk.nextRay();
    const tlsDoor = new TlsDoor({ certificates, connections: this.#clients, door, works, newRay });
    this.#tlsDoor = tlsDoor;
    certificates.watch(works.limits.certificateMs);
    return { port: tls.port, door: tlsDoor };
  }

  #sweep(): void {
    const now = this.#works.clock.tick();
    this.#clients.sweep(now);
    this.#workers.sweep(now);
    this.#routing.sweep(now);
    this.#works.waker.sweep();
  }

  async #drainOnce(): Promise<DrainReport> {
    this.#works.stopping = true;
    this.#listener?.stop();
    this.#tlsListener?.stop();
    this.#tlsDoor?.stop();
    // Workers' own connections stay: a request that is finishing may still need to call another Worker.
    this.#clients.stop();
    const everyMs = 20;
    try {
      await pollUntil(
        { ms: this.#options.drainMs, everyMs, what: "what is open" },
        () => this.#clients.size === 0 || undefined,
      );
    } catch (error) {
      if (!(error instanceof DeadlineError)) throw error;
    }
    const left = this.open();
    this.#clients.destroy();
    return { cutRequests: left.requests + left.waiting, cutWebSockets: left.webSockets };
  }
}

function makeWorks(options: IngressOptions, supervisor: SupervisorWire | undefined): Works {
  const limits: IngressLimits = { ...defaultLimits, ...options.limits };
  const clock = new CoarseClock();
  const { consoleHost, paths } = options;
  const routing = new Routing({ consoleHost, consoleSocket: paths.console, limits, clock });
  const waiting = new WaitingRoom(limits, routing);
  const waker = new Waker(supervisor, limits);
  waker.onAnswer(() => waiting.news());
  return {
    routing,
    waiting,
    waker,
    rpc: new RpcSessions(routing),
    limits,
    clock,
    firstByteMs: options.firstByteMs ?? limits.firstByteMs,
    date: dateSource(),
    stopping: false,
  };
}
