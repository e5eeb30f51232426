import { logLimits, type LogBatch, type LogDetail, type LogEvent, type LogMessage } from "#products/logs/schema.ts";

/**
 * Live logs: the last events of each Worker in memory, and whoever is listening. Lossy by contract: nothing is written to
 * disk, old events make room for new ones, and a listener that is too slow is told how many it missed.
 */
export interface LogStore {
  /** Takes a batch from a process of a version; what the process shall send from now on. */
  accept(workerId: string, versionId: string, batch: LogBatch): LogDetail;
  /**
   * The recent events of a Worker, then those that come, until the signal aborts. `scriptName` is what they say they are of.
   * Undefined when too many are listening already.
   */
  listen(workerId: string, scriptName: string, signal: AbortSignal): AsyncIterable<LogMessage> | undefined;
  /** Drops what is kept of a Worker that was deleted; its listeners end. */
  forget(workerId: string): void;
}

/** An event and the bytes that it takes as JSON. */
type Entry = { event: LogEvent; versionId: string; bytes: number };

export function createLogStore(): LogStore {
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
    listen(workerId, scriptName, signal) {
      const logs = touch(workerId);
      if (logs.listeners.size >= logLimits.listenersPerWorker) return undefined;
      const listener = new Listener(logs.recent);
      logs.listeners.add(listener);
      const stop = () => {
        logs.listeners.delete(listener);
        listener.end();
      };
      signal.addEventListener("abort", stop, { once: true });
      if (signal.aborted) stop();
      return messages(listener, scriptName, () => {
        signal.removeEventListener("abort", stop);
        stop();
      });
    },
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
  #queue: Entry[];
  #bytes = 0;
  #missed = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(recent: readonly Entry[]) {
    this.#queue = [...recent];
    for (const { bytes } of recent) this.#bytes += bytes;
  }

  push(entry: Entry): void {
    if (this.#queue.length >= logLimits.listenerEvents || this.#bytes + entry.bytes > logLimits.listenerBytes) {
      this.#missed++;
      return;
    }
    if (this.#missed > 0) {
      this.#queue.push(dropNotice(entry.versionId, this.#missed));
      this.#missed = 0;
    }
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

/** wrangler prints an event of type `overload` as a warning of its own (`isTailInfo` in its `tail/printing.ts`). */
function dropNotice(versionId: string, count: number): Entry {
  const event: LogEvent = {
    id: null,
    outcome: "unknown",
    eventTimestamp: Date.now(),
    event: {
      type: "overload",
      message: `${count} log events were dropped: they came faster than they could be taken.`,
    },
    logs: [],
    exceptions: [],
  };
  return { event, versionId, bytes: sizeOf(event) };
}

function sizeOf(event: LogEvent): number {
  return JSON.stringify(event).length;
}
