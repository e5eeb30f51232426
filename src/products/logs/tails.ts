import { createHash, randomBytes } from "node:crypto";
import { newHexId } from "#core/ids.ts";
import { logErrors } from "#products/logs/errors.ts";
import type { Accepts } from "#products/logs/filters.ts";
import { logLimits } from "#products/logs/schema.ts";
import type { LogStore } from "#products/logs/store.ts";

/** What somebody asked to listen to: one WebSocket at a time, at an address that only they know. */
export type Tail = {
  readonly id: string;
  /** Names the tail in its WebSocket's address; whoever has it may listen. */
  readonly key: string;
  readonly workerId: string;
  readonly scriptName: string;
  readonly accepts: Accepts;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
};

/** Ends a listener; `why` decides whether `wrangler tail` stops or comes back. */
export type EndTail = (why: "over" | "taken over" | "restart") => void;

/** The tails of all Workers. In memory only: they end with the process, and clients make new ones. */
export interface Tails {
  /** Refused when as many clients are listening as may. */
  create(worker: { id: string; scriptName: string }, accepts: Accepts): Tail;
  /** The newest tail of a Worker. */
  latest(workerId: string): Tail | undefined;
  /** Ends it; false when there is none of this Worker with that id. */
  remove(workerId: string, id: string): boolean;
  find(key: string): Tail | undefined;
  /** A listener of a tail came; the one before it ends. Call what is returned when it has left. */
  attach(tail: Tail, end: EndTail): () => void;
  /** Ends all tails of a Worker that was deleted. */
  removeAll(workerId: string): void;
  /** Ends all listeners because this process stops. */
  close(): void;
}

type Entry = {
  tail: Tail;
  end: EndTail | undefined;
  /** It had a listener, which is gone: its client deletes it next, or comes back. */
  left: boolean;
  timer: NodeJS.Timeout;
};

export function createTails(
  logs: Pick<LogStore, "listeners">,
  times: { expireMs: number; unusedMs: number } = { expireMs: logLimits.tailMs, unusedMs: logLimits.tailUnusedMs },
): Tails {
  /** By the hash of their key: how long a look-up takes says nothing about the keys. */
  const byKey = new Map<string, Entry>();
  const ofWorker = (workerId: string) => [...byKey.values()].filter(({ tail }) => tail.workerId === workerId);

  const drop = (entry: Entry) => {
    clearTimeout(entry.timer);
    byKey.delete(hashOf(entry.tail.key));
    entry.end?.("over");
  };
  /** A tail goes when it expires, or sooner when nobody listens to it. */
  const schedule = (entry: Entry) => {
    clearTimeout(entry.timer);
    const left = Math.max(0, entry.tail.expiresAt - Date.now());
    entry.timer = setTimeout(() => drop(entry), entry.end ? left : Math.min(left, times.unusedMs)).unref();
  };
  const find = (key: string) => byKey.get(hashOf(key));

  return {
    create(worker, accepts) {
      const unused = ofWorker(worker.id).filter(({ end }) => !end);
      const coming = unused.filter(({ left }) => !left).length;
      if (logs.listeners(worker.id) + coming >= logLimits.listenersPerWorker)
        throw logErrors.tooManyListeners(logLimits.listenersPerWorker);
      for (const entry of unused.filter(({ left }) => left).slice(logLimits.listenersPerWorker)) drop(entry);
      const tail: Tail = {
        id: newHexId(),
        key: randomBytes(32).toString("base64url"),
        workerId: worker.id,
        scriptName: worker.scriptName,
        accepts,
        expiresAt: Date.now() + times.expireMs,
      };
      const entry: Entry = { tail, end: undefined, left: false, timer: setTimeout(() => {}, 0) };
      byKey.set(hashOf(tail.key), entry);
      schedule(entry);
      return tail;
    },
    latest: (workerId) => ofWorker(workerId).at(-1)?.tail,
    remove(workerId, id) {
      const entry = ofWorker(workerId).find(({ tail }) => tail.id === id);
      if (entry) drop(entry);
      return entry !== undefined;
    },
    find: (key) => find(key)?.tail,
    attach(tail, end) {
      const entry = find(tail.key);
      if (!entry) {
        end("over");
        return () => {};
      }
      entry.end?.("taken over");
      entry.end = end;
      schedule(entry);
      return () => {
        if (entry.end !== end) return;
        entry.end = undefined;
        entry.left = true;
        if (byKey.get(hashOf(tail.key)) === entry) schedule(entry);
      };
    },
    removeAll(workerId) {
      for (const entry of ofWorker(workerId)) drop(entry);
    },
    close() {
      for (const entry of byKey.values()) {
        clearTimeout(entry.timer);
        entry.end?.("restart");
      }
      byKey.clear();
    },
  };
}

function hashOf(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}
