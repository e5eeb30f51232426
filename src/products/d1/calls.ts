import type { Engine, OpenResult, Run } from "#products/d1/engine.ts";
import type { Bookmarks } from "#products/d1/bookmarks.ts";
import { limits } from "#products/d1/limits.ts";

/** A call that waits for its database, and then its outcome. */
export type Call = {
  run: Run;
  queuedAt: number;
  outcome?: { results: OpenResult[]; bookmark: string } | { error: string };
};

/**
 * Calls on their way to the objects. The front Worker and the objects share one isolate, so what is asked and answered lies
 * here, and the request to the object only wakes it: that is a quarter cheaper than sending the JSON along, and an object
 * finds all calls that wait for it and commits them together, with one fsync (measured: 1.7 times the inserts at c=16).
 */
export class Calls {
  readonly #waiting = new Map<string, Call[]>();

  /** Throws when too many wait already. */
  add(database: string, run: Run, now: number): Call {
    const call = { run, queuedAt: now };
    const queue = this.#waiting.get(database);
    if (!queue) this.#waiting.set(database, [call]);
    else if (queue.length < limits.waitingCalls) queue.push(call);
    else throw new Error("D1 DB is overloaded. Too many requests queued.");
    return call;
  }

  /** Takes a call back that its object never answered. */
  drop(database: string, call: Call): void {
    const left = (this.#waiting.get(database) ?? []).filter((other) => other !== call);
    if (left.length > 0) this.#waiting.set(database, left);
    else this.#waiting.delete(database);
  }

  /**
   * Runs what waits for `database`, each call a transaction of its own; they become durable together. Leaves the rest to the
   * next request when it gets much: each call sends one, and each request runs at least one call.
   */
  runWaiting(database: string, engine: Engine, bookmarks: Bookmarks, now: number): void {
    const queue = this.#waiting.get(database) ?? [];
    let size = 0;
    for (let count = 0; count < limits.callsPerCommit && size < limits.resultCharacters / 4; count++) {
      const call = queue.shift();
      if (!call) break;
      call.outcome = runOne(call, engine, bookmarks, now);
      if ("results" in call.outcome) for (const { json } of call.outcome.results) size += json.length;
    }
    if (queue.length === 0) this.#waiting.delete(database);
  }
}

function runOne(call: Call, engine: Engine, bookmarks: Bookmarks, now: number): NonNullable<Call["outcome"]> {
  if (now - call.queuedAt > limits.waitingMs) return { error: "D1 DB is overloaded. Requests queued for too long." };
  try {
    const results = engine.run(call.run);
    if (results.some(({ changed }) => changed)) bookmarks.advance(now);
    return { results, bookmark: bookmarks.current };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
