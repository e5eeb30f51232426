/** What the ingress serves from: made by the supervisor, held in memory by the ingress, kept on disk as the last that was good. */
export type RoutingTable = {
  /** Grows with every table of one supervisor. */
  generation: number;
  /** Host name in lower case, without a port → who answers. */
  hosts: Record<string, Route>;
  /** `<account id>/<script name>` → who answers a service binding. */
  services: Record<string, Route>;
  targets: Record<string, Target>;
};

export type Route =
  /** The console and the API: the control process. */
  | { kind: "console" }
  /** One or two versions of a Worker; weights add up to 100. */
  | { kind: "worker"; script: string; versions: { target: string; weight: number }[] };

/** A version that runs, or should. */
export type Target = {
  workerId: string;
  script: string;
  versionId: string;
  /** Unix sockets of its processes. Empty while none is ready. */
  sockets: string[];
  /** Why there is none, for the error page. */
  down?: string;
};

/** Names of private headers between the ingress and a Worker's process; a client's own of these names are dropped. */
export const privateHeaders = {
  /** JSON of `request.cf` (workerd's `cfBlobHeader`). */
  cf: "x-solum-cf",
  /** `http` or `https` of the client's request (workerd's `forwardedProtoHeader`). */
  proto: "x-solum-proto",
} as const;

/** Capability kinds of requests to a Worker's platform socket. */
export const platformCapabilities = {
  /** A service binding; its resource is `<account id>/<script name>`. */
  service: "service",
  /** The router that a Worker's `fetch()` goes through, with a request for a public host name; no resource. */
  router: "platform",
} as const;
