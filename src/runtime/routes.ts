/** What the ingress serves from: made by the supervisor, held in memory by the ingress, kept on disk as the last that was good. */
export type RoutingTable = {
  /** Grows with every table of one supervisor. */
  generation: number;
  /** Host name in lower case, without a port → who answers. */
  hosts: Record<string, Route>;
  /** Routes on zones. One that matches goes before `hosts`, as a route goes before a custom domain on Cloudflare. */
  patterns: RoutePattern[];
  /** `<account id>/<script name>` → who answers a service binding. */
  services: Record<string, Route>;
  targets: Record<string, Target>;
};

export type Route =
  /** The console and the API: the control process. */
  | { kind: "console" }
  /**
   * A process of the platform that answers HTTP itself on a unix socket: the S3 endpoint, public buckets, AI Gateway. `asleep`:
   * its name while it does not run; a request waits, and the supervisor is told.
   */
  | { kind: "platform"; socket: string; bodyBytesMax?: number; asleep?: string }
  /** Versions of a Worker; weights add up to 100. One of weight 0 answers only who asks for it by an override. */
  | { kind: "worker"; script: string; versions: { target: string; weight: number }[] };

/** A route on a zone (workers/configuration/routing/routes#matching-behavior). */
export type RoutePattern = {
  /** In lower case: `example.com`, `*.example.com` (its subhosts) or `*example.com` (it and its subhosts). */
  host: string;
  /** `/exact`, or a beginning that ends in `*`. Compared with path and query. */
  path: string;
  /** Only requests of this scheme; both when it is missing. */
  scheme?: "http" | "https";
  /** The zone. With it `*-x.example.com` also takes `a-x.example.com`; hosts outside the zone never match. */
  zone?: string;
  /** null: no Worker, and less specific patterns do not apply either. */
  route: Route | null;
};

/** A version that runs, or should. */
export type Target = {
  workerId: string;
  script: string;
  versionId: string;
  /** Unix sockets of its processes. Empty while none is ready. */
  sockets: string[];
  /** Why there is none, for the error page. */
  down?: string;
  /** No process runs, and none should until somebody asks: a request waits, and the supervisor is told. */
  asleep?: true;
};

/** What is under way somewhere. */
export type OpenCount = { requests: number; webSockets: number };

/** How much a target is used. */
export type TargetUse = OpenCount & {
  /** Since the last answer ended, or since a table first named it; 0 while something is under way. */
  lastUsedAgoMs: number;
  /** Requests that were sent to it since this ingress began to serve it. */
  requestsStarted: number;
};

/** What an ingress says is under way. */
export type OpenReport = OpenCount & {
  /** Client connections, idle ones among them. */
  connections: number;
  /** Requests that wait for a process. */
  waiting: number;
  /** By target of the routing table, those among them that no table names any more but that still have something open. */
  targets: Record<string, TargetUse>;
  sockets: Record<string, OpenCount & { target: string }>;
};

/** Why the supervisor kills a Worker's process, as Cloudflare names it in a Worker's logs. */
export type CondemnOutcome = "exceededCpu" | "exceededMemory";

/** Names of the sockets of a Worker's process that the ingress uses, all in one folder. */
export const socketNames = {
  /** HTTP for the default entrypoint; a routing table names this one. */
  http: "http.sock",
  /** HTTP for the entrypoint that a header of ours names. */
  named: "named.sock",
  /** Events that are no requests: batches of a queue. */
  events: "events.sock",
  /** workerd's debug port: calls. */
  debug: "debug.sock",
} as const;

/** By which of its sockets a process gets HTTP of the ingress. */
export type Via = Exclude<keyof typeof socketNames, "debug">;

/** Names of private headers between the ingress and a Worker's process; a client's own of these names are dropped. */
export const privateHeaders = {
  /** JSON of `request.cf` (workerd's `cfBlobHeader`). */
  cf: "x-solum-cf",
  /** `http` or `https` of the client's request (workerd's `forwardedProtoHeader`). */
  proto: "x-solum-proto",
  /** Which of its entrypoints a request is for, and with which props: read by the entry module. */
  entry: "x-solum-entry",
} as const;

/** Capability kinds of requests to a Worker's platform socket. */
export const platformCapabilities = {
  /** A service binding; its resource says where it leads (`serviceResource`). */
  service: "service",
  /** The router that a Worker's `fetch()` goes through, with a request for a public host name; no resource. */
  router: "platform",
} as const;

/** What a service binding leads to. */
export type ServiceEntrypoint = {
  /** `<account id>/<script name>` */
  service: string;
  /** Undefined for the default one. */
  entrypoint: string | undefined;
  /** What the callee finds as `ctx.props`. */
  props: unknown;
};

/** The resource of a service binding's capability: the service alone, or a list where there is more to say. */
export function serviceResource({ service, entrypoint, props }: ServiceEntrypoint): string {
  if (entrypoint === undefined && props === undefined) return service;
  return JSON.stringify([service, entrypoint ?? null, props ?? null]);
}

export function readServiceResource(resource: string): ServiceEntrypoint {
  if (!resource.startsWith("[")) return { service: resource, entrypoint: undefined, props: undefined };
  const [service, entrypoint, props] = JSON.parse(resource) as [string, string | null, unknown];
  return { service, entrypoint: entrypoint ?? undefined, props: props ?? undefined };
}

/** A capability as the name of a host: all that a session of calls says about itself (workerd's `capnpConnectHost`). */
export function sessionHost(capability: string): string {
  return Buffer.from(capability, "utf8").toString("hex");
}

export function readSessionHost(host: string): string {
  return Buffer.from(host, "hex").toString("utf8");
}
