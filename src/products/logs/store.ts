import type { Accepts } from "#products/logs/filters.ts";
import { logLimits, type LogBatch, type LogDetail, type LogEvent, type LogMessage } from "#products/logs/schema.ts";

/**
 * Live logs: the last events of each Worker in memory, and whoever is listening. Lossy by contract: nothing is written to
 * disk, old events make room for new ones, and a listener that is too slow is told how many it missed.
 */
export interface LogStore {
  /** Takes a batch from a process of a version; what the process shall send from now on. */
  accept(workerId: string, versionId: string, batch: LogBatch): LogDetail;
  /**
   * The recent events of a Worker (unless they are not wanted), then those that come, until the signal aborts: as soon as this
   * resolves, all of them. `scriptName` is what they say they are of. Undefined when too many are listening already.
   */
  listen(
    workerId: string,
    scriptName: string,
    signal: AbortSignal,
    wish?: { recent?: boolean; accepts?: Accepts },
  ): Promise<AsyncIterable<LogMessage> | undefined>;
  /** How many are listening to a Worker. */
  listeners(workerId: string): number;
  /** Drops what is kept of a Worker that was deleted; its listeners end. */
  forget(workerId: string): void;
}

/** An event and the bytes that it takes as JSON. */
type Entry = { event: LogEvent; versionId: string; bytes: number };

/** `tell` lets the processes of a Worker know that somebody listens now; it ends when they do, or soon. */
export function createLogStore(tell: (workerId: string) => Promise<void> = async () => {}): LogStore {
  /** In the order of their last event: the first was silent longest. */
  const workers = new Map<string, WorkerLogs>();
  let bytesInAll = 0;
  const touch = (workerId: string): WorkerLogs => {
    const logs = workers.get(workerId) ?? new WorkerLogs();
    workers.delete(workerId);
    workers.set(workerId, logs);
    return logs;
  };
  const makeRoom = () => {
    for (const [workerId, logs] of workers) {
      if (bytesInAll <= logLimits.recentBytesInAll) return;
      bytesInAll -= logs.clear();
      if (logs.listeners.size === 0) workers.delete(workerId);
    }
  };
  return {
    accept(workerId, versionId, batch) {
      const logs = touch(workerId);
      for (const event of batch.events) bytesInAll += logs.add({ event, versionId, bytes: sizeOf(event) });
      if (batch.dropped > 0) bytesInAll += logs.add(dropNotice(versionId, batch.dropped));
      makeRoom();
      return logs.listeners.size > 0 ? "full" : "quiet";
    },
    async listen(workerId, scriptName, signal, { recent = true, accepts = () => true } = {}) {
      const logs = touch(workerId);
      if (logs.listeners.size >= logLimits.listenersPerWorker) return undefined;
      const listener = new Listener(accepts, recent ? logs.recent : []);
      logs.listeners.add(listener);
      const stop = () => {
        logs.listeners.delete(listener);
        if (logs.listeners.size === 0) logs.told = undefined;
        listener.end();
      };
      signal.addEventListener("abort", stop, { once: true });
      if (signal.aborted) stop();
      else await (logs.told ??= tell(workerId));
      return messages(listener, scriptName, () => {
        signal.removeEventListener("abort", stop);
        stop();
      });
    },
    listeners: (workerId) => workers.get(workerId)?.listeners.size ?? 0,
    forget(workerId) {
      const logs = workers.get(workerId);
      if (!logs) return;
      workers.delete(workerId);
      bytesInAll -= logs.clear();
      for (const listener of logs.listeners) listener.end();
    },
  };
}

class WorkerLogs {
  readonly recent: Entry[] = [];
  readonly listeners = new Set<Listener>();
  /** Resolves when the processes know that somebody listens. */
  told: Promise<void> | undefined;
  #bytes = 0;

  /** Keeps an event and hands it to the listeners; by how many bytes this grew. */
  add(entry: Entry): number {
    const before = this.#bytes;
    const whole = entry.event.part === "late" ? this.#merged(entry) : entry;
    this.recent.push(whole);
    this.#bytes += whole.bytes;
    while (this.recent.length > logLimits.recentEvents || this.#bytes > logLimits.recentBytes) {
      this.#bytes -= this.recent.shift()?.bytes ?? 0;
    }
    for (const listener of this.listeners) listener.push(whole);
    return this.#bytes - before;
  }

  clear(): number {
    const freed = this.#bytes;
    this.recent.length = 0;
    this.#bytes = 0;
    return freed;
  }

  /** Late lines with what is known of their invocation, which came before them. */
  #merged(entry: Entry): Entry {
    const first = this.recent.findLast(({ event }) => event.id === entry.event.id && event.event !== null);
    return first ? { ...entry, event: { ...entry.event, event: first.event.event } } : entry;
  }
}

/** One listener's queue. */
class Listener {
  readonly #accepts: Accepts;
  #queue: Entry[] = [];
  #bytes = 0;
  #missed = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(accepts: Accepts, recent: readonly Entry[]) {
    this.#accepts = accepts;
    for (const entry of recent) this.push(entry);
  }

  push(entry: Entry): void {
    if (!isNotice(entry) && !this.#accepts(entry.event, entry.versionId)) return;
    // A queue that was full has to be half empty before it takes anything again: notices must not take turns with events.
    const part = this.#missed > 0 ? 0.5 : 1;
    const full =
      this.#queue.length >= logLimits.listenerEvents * part ||
      this.#bytes + entry.bytes > logLimits.listenerBytes * part;
    if (full) {
      if (this.#missed++ === 0) this.#add(overloadNotice(entry.versionId));
      return;
    }
    if (this.#missed > 0) this.#add(overloadEndNotice(entry.versionId, this.#missed));
    this.#missed = 0;
    this.#add(entry);
  }

  #add(entry: Entry): void {
    this.#queue.push(entry);
    this.#bytes += entry.bytes;
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The next entry, or undefined when it is over. */
  async next(): Promise<Entry | undefined> {
    for (;;) {
      if (this.#ended) return undefined;
      const entry = this.#queue.shift();
      if (entry) {
        this.#bytes -= entry.bytes;
        return entry;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}

async function* messages(listener: Listener, scriptName: string, done: () => void): AsyncGenerator<LogMessage> {
  try {
    for (;;) {
      const entry = await listener.next();
      if (!entry) return;
      yield { scriptName, scriptVersion: { id: entry.versionId }, ...entry.event };
    }
  } finally {
    done();
  }
}

/**
 * wrangler prints events of these types as warnings of its own. The texts are Cloudflare's (wrangler's tests of `tail` have
 * them); the number is ours.
 */
function overloadNotice(versionId: string): Entry {
  return notice(versionId, {
    type: "overload",
    message:
      "Tail is currently in sampling mode due to the high volume of messages. To prevent messages from being dropped consider adding filters.",
  });
}

function overloadEndNotice(versionId: string, missed: number): Entry {
  return notice(versionId, {
    type: "overload-stop",
    message: `Tail has exited sampling mode and is no longer dropping messages. ${missed} were dropped.`,
  });
}

/** Events that a Worker's process could not send. */
function dropNotice(versionId: string, count: number): Entry {
  return notice(versionId, {
    type: "overload",
    message: `${count} log events were dropped: they came faster than they could be taken.`,
  });
}

function notice(versionId: string, about: { type: "overload" | "overload-stop"; message: string }): Entry {
  const event: LogEvent = {
    id: null,
    outcome: "unknown",
    eventTimestamp: Date.now(),
    event: about,
    logs: [],
    exceptions: [],
  };
  return { event, versionId, bytes: sizeOf(event) };
}

/** Filters are about invocations; what happened to the tail itself is told to everybody. */
function isNotice({ event: { id, event } }: Entry): boolean {
  return id === null && event !== null && "type" in event;
}

function sizeOf(event: LogEvent): number {
  return JSON.stringify(event).length;
}
