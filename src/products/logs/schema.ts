/** Bounds of live logs. They are lossy by contract: what does not fit is counted, never waited for. */
export const logLimits = {
  /** Log text of one invocation, https://developers.cloudflare.com/workers/observability/logs/workers-logs/#limits */
  invocationBytes: 256 * 1024,
  /** A batch leaves a Worker's process this long after its first event... */
  batchMs: 100,
  /** ...or when it has this many bytes. */
  batchBytes: 64 * 1024,
  /** Events waiting in a Worker's process; what comes on top is dropped. */
  queueBytes: 1024 * 1024,
  /** Events of a batch that have nothing to tell but that they happened, while nobody listens; the rest is only counted. */
  quietPerBatch: 100,
  /** How long an event waits for its `waitUntil` work, so that it is told in one piece. */
  holdMs: 1000,
  /** How long a Worker's process waits for the log socket. */
  sendMs: 2000,
  /** Largest batch that is read: a full queue and one event of the largest kind on top. */
  readBytes: 4 * 1024 * 1024,
  /** Events of a batch that are read. */
  readEvents: 16_384,
  /** Recent events kept for each Worker, and their bytes. */
  recentEvents: 500,
  recentBytes: 512 * 1024,
  /** Recent events of all Workers; the Worker that was silent longest forgets first. */
  recentBytesInAll: 64 * 1024 * 1024,
  /** Events waiting for one listener, and their bytes. */
  listenerEvents: 1000,
  listenerBytes: 4 * 1024 * 1024,
  /** Clients of one Worker, https://developers.cloudflare.com/workers/observability/logs/real-time-logs/#limits */
  listenersPerWorker: 10,
  /** From the making of a tail to its end. Cloudflare publishes none; its tails are known to last hours. */
  tailMs: 6 * 60 * 60 * 1000,
  /** A tail that nobody listens to is forgotten after so long. */
  tailUnusedMs: 60_000,
  /** A message of a tail's client; wrangler's only one has 15 bytes. */
  tailMessageBytes: 4096,
  /** Bytes on their way to a tail's client, from which on its messages wait in its queue. */
  tailOutputBytes: 256 * 1024,
  /** Pings to a tail's client, and how long it may be silent. wrangler's own come every 10 s. */
  tailAliveEveryMs: 15_000,
  tailAliveMs: 45_000,
  /** How long a new listener waits until a Worker's processes know that somebody listens. */
  tellMs: 500,
} as const;

export type LogLevel = "debug" | "info" | "log" | "warn" | "error";

export const logLevels: readonly LogLevel[] = ["debug", "info", "log", "warn", "error"];

/** One call of `console`. `message` holds the arguments as Cloudflare's tail gives them. */
export type LogLine = {
  level: LogLevel;
  message: unknown[];
  /** Milliseconds since 1970. */
  timestamp: number;
  /** For every argument that was an Error what it said; null for the others. Absent when none was. */
  errorInfo?: (ErrorInfo | null)[];
};

export type ErrorInfo = { name: string; message: string; stack?: string };

export type LogException = ErrorInfo & { timestamp: number };

export type LogOutcome = "ok" | "exception" | "canceled" | "exceededCpu" | "exceededMemory" | "unknown";

/** What keeps state between invocations, as Cloudflare's tail calls it. */
export type ExecutionModel = "durableObject" | "workflow";

/** What set an invocation off, in the shapes of Cloudflare's tail (wrangler-api §8); null when it is not known. */
export type LogTrigger = { [member: string]: unknown } | null;

/** One invocation, or lines of one, as a Worker's process sends it. */
export type LogEvent = {
  /** Names the invocation within its version's processes; null for lines that belong to none. */
  id: string | null;
  /** `startup`: lines written while the modules were evaluated. `late`: lines of an invocation that was already sent. */
  part?: "startup" | "late";
  entrypoint?: string;
  outcome: LogOutcome;
  eventTimestamp: number;
  /** Milliseconds until the handler was done. */
  wallTime?: number;
  event: LogTrigger;
  logs: LogLine[];
  exceptions: LogException[];
  /** Absent for a stateless one. */
  executionModel?: ExecutionModel;
  /** Lines were left out because the invocation wrote more than `invocationBytes`. */
  truncated?: boolean;
};

/** Body of a POST to the log socket. */
export type LogBatch = {
  events: LogEvent[];
  /** Invocations that are not in `events`, since they had nothing to tell. */
  unlisted: number;
  /** Events lost since the last batch that arrived. */
  dropped: number;
};

/**
 * How much the log socket wants to know. `quiet`: nobody listens. `full`: every invocation, with the headers and the cf
 * object of its request.
 */
export type LogDetail = "quiet" | "full";

/** Answer to a batch. */
export type LogReply = { detail: LogDetail };

/** What a listener gets: a Cloudflare tail message and a little more. */
export type LogMessage = Omit<LogEvent, "part"> & {
  part?: LogEvent["part"];
  scriptName: string;
  scriptVersion: { id: string };
};

/** Path of the log socket that takes batches. */
export const logBatchPath = "/batch";

/** Path of a process's probe that tells it that somebody listens now, without waiting for its next batch. */
export const logListenPath = "/listen";
