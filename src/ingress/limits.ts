/** Every maximum and every wait of the ingress. Tests pass smaller ones. */
export const limits = {
  /** Bytes of a request or response head, https://developers.cloudflare.com/workers/platform/limits/#request-and-response-limits */
  headBytes: 128 * 1024,
  /** Bytes of a request target, same page. */
  urlBytes: 16 * 1024,
  headerFields: 200,
  methodBytes: 32,
  /** Bytes of a request body to the console: one whole object can be uploaded through the API, R2's largest single put. */
  consoleBodyBytes: 5 * 1024 ** 3,
  /** Bytes of a body that are remembered until the first byte of the answer, so that the request can be sent once more. */
  replayBytes: 64 * 1024,
  /** What a piece counts besides its bytes wherever pieces are kept: one of a single byte costs as much memory as this. */
  pieceBytes: 256,
  /** Bytes of further requests that a client may send before the current one is answered. */
  pipelinedBytes: 64 * 1024,

  /** From the first byte of a head (or from the connection's start) to its blank line. workerd's own is 15 s too. */
  headMs: 15_000,
  /** Between two pieces of a request body. */
  bodyIdleMs: 30_000,
  /** A client that sends more requests ahead than we keep, before the current one is answered. */
  heldBackMs: 30_000,
  /** A connection without a request. Longer than the 2 min for which Caddy keeps connections, so that it never meets our end. */
  keepAliveMs: 130_000,
  /** A client that takes none of its answer. */
  stalledReaderMs: 30_000,
  /** Between a whole request and the first byte of its answer. Workers may think for long; a setting. */
  firstByteMs: 3_600_000,
  /** After our last byte to a client that may still be sending: closing at once would make its kernel drop our answer. */
  lingerMs: 2_000,
  /** TCP keep-alive probes begin; a peer that vanished from a silent stream is noticed by them. */
  probeMs: 60_000,

  /** How long a request waits for a process that is (re)starting. */
  holdMs: 5_000,
  /** How often it looks for one. */
  holdEveryMs: 25,
  /** Requests that wait so at once, those below among them. Each holds one piece of its body at most. */
  heldRequests: 2_000,
  /** How long a request waits for a sleeping Worker: a start takes less than a second, but in a storm they queue. */
  wakeMs: 30_000,
  /** How often the supervisor is asked again while requests wait. */
  wakeEveryMs: 500,
  /** What it may be asked at a time, and how long it may take to answer. It answers before it starts anything. */
  wakeQuestions: 64,
  wakeAnswerMs: 2_000,
  /** Requests that wait at once to learn whether their host is a preview: anybody can make up hosts. */
  heldUnknownHosts: 256,
  /** How long a host stays unknown, and how many are remembered. */
  unknownHostMs: 2_000,
  rememberedHosts: 10_000,

  /** From a connection to the end of its TLS handshake. */
  handshakeMs: 10_000,
  /** How often the files of the certificates are looked at. */
  certificateMs: 5_000,
  /** Requests at once on one connection of HTTP/2. RFC 9113 §6.5.2 asks for at least 100. */
  h2Streams: 128,
  /** Bytes of a body on HTTP/2 that its client may send before we have taken them. */
  h2WindowBytes: 256 * 1024,
  /** Megabytes that one connection of HTTP/2 may make us keep. */
  h2SessionMegabytes: 10,
  /** Frames that make no sense, and streams past the limit, before the connection is closed. */
  h2InvalidFrames: 50,
  h2RejectedStreams: 50,
  /** Streams that a client may take back: at first, and then in a second. More is the attack of CVE-2023-44487. */
  h2ResetBurst: 200,
  h2ResetsPerSecond: 33,
  /** PING and SETTINGS frames of one connection between two sweeps. */
  h2ControlFrames: 100,

  /** Client connections in all, and from one address that is not loopback. */
  connections: 20_000,
  connectionsPerAddress: 1_000,
  /** Connections of one Worker's processes to its platform socket: more than it may have requests, since some are idle. */
  connectionsPerWorker: 2_048,
  /** Kept connections to one process. */
  idleUpstreams: 256,
  /** workerd ends an idle connection after 15 s (measured); ours must end first. */
  idleUpstreamMs: 10_000,

  /** Passes of one request through Workers, https://developers.cloudflare.com/workers/observability/errors/#loop-limit */
  loops: 16,
  /** Requests under way from one Worker to others. A loop that hides from `CDN-Loop` ends here. */
  platformRequests: 1_024,

  /** Bytes of one message of a call between Workers: 32 MiB of arguments, and what is around them. */
  rpcMessageBytes: 40 * 1024 * 1024,
  /** Bytes of one session's calls that wait for a process; past it nothing more is read of the session until they are on their way. */
  rpcHeldBytes: 16 * 1024 * 1024,
  /** Questions of one session of calls that are open at once. */
  rpcQuestions: 100_000,

  /** Bytes of a routing table as JSON. */
  tableBytes: 64 * 1024 * 1024,
  /** How often deadlines are looked at, and so how late they may be noticed. */
  sweepMs: 500,
};

export type IngressLimits = typeof limits;
