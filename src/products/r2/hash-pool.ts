import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { entryUrl } from "#core/entry.ts";
import { createLogger } from "#core/log.ts";
import type { HashAnswer, HashMessage } from "#products/r2/hash-thread.ts";
import type { Checksums, DigestAlgorithm } from "#products/r2/schema.ts";

/** Hashing is two thirds of the work of a large put (storage.md §3); on the event loop it would hold up everybody's reads. */
const threadsMax = 4;
/** Bodies' buffers that are kept for the next ones. */
const memoriesKept = 8;

/** Bytes of one slot, and how many a body has: one fills while one is written and hashed and one more is between the two. */
export const slotBytes = 256 * 1024;
export const slots = 3;

/** The checksums of one body, made in another thread from bytes in `memory`, which must stay until `update` resolves. */
export interface Hasher {
  readonly memory: SharedArrayBuffer;
  update(at: number, length: number): Promise<void>;
  finish(): Promise<{ checksums: Checksums; table: Uint8Array }>;
  /** Lets go of it, whether finished or not; no `update` may be under way. */
  release(): void;
}

export interface HashPool {
  hasher(digests: readonly DigestAlgorithm[]): Hasher;
  close(): Promise<void>;
}

const log = createLogger("r2.hashes");

type Waiter = { resolve: (answer: HashAnswer) => void; reject: (error: Error) => void };

/** Threads are started when first used. */
export function createHashPool(): HashPool {
  const wanted = Math.min(threadsMax, Math.max(1, availableParallelism() - 1));
  const threads: HashThread[] = [];
  const memories: SharedArrayBuffer[] = [];
  let lastId = 0;

  const leastBusy = () => {
    for (const [at, thread] of threads.entries()) if (thread.ended) threads.splice(at, 1);
    const idle = threads.find(({ bodies }) => bodies === 0);
    if (idle) return idle;
    if (threads.length < wanted) {
      const thread = new HashThread();
      threads.push(thread);
      return thread;
    }
    return threads.reduce((a, b) => (b.bodies < a.bodies ? b : a));
  };

  return {
    hasher(digests) {
      const thread = leastBusy();
      const memory = memories.pop() ?? new SharedArrayBuffer(slots * slotBytes);
      const id = ++lastId;
      let released = false;
      thread.bodies++;
      thread.tell({ kind: "open", id, memory, digests });
      return {
        memory,
        async update(at, length) {
          await thread.ask({ kind: "update", id, at, length });
        },
        async finish() {
          const { finished } = await thread.ask({ kind: "finish", id });
          if (!finished) throw new Error("a hash thread answered out of order");
          return finished;
        },
        release() {
          if (released) return;
          released = true;
          thread.bodies--;
          thread.tell({ kind: "drop", id });
          if (memories.length < memoriesKept) memories.push(memory);
        },
      };
    },
    async close() {
      await Promise.all(threads.map((thread) => thread.close()));
    },
  };
}

class HashThread {
  bodies = 0;
  ended = false;
  // All that it makes is short-lived and small: a large nursery would only be memory that is touched.
  readonly #worker = new Worker(entryUrl("hasher"), { resourceLimits: { maxYoungGenerationSizeMb: 2 } });
  readonly #waiters = new Map<number, Waiter[]>();

  constructor() {
    this.#worker.on("message", (answer: HashAnswer) => {
      const waiting = this.#waiters.get(answer.id);
      const waiter = waiting?.shift();
      if (waiting?.length === 0) this.#forget(answer.id);
      waiter?.resolve(answer);
    });
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", () => this.#end(new Error("a hash thread ended")));
    this.#worker.unref();
  }

  tell(message: HashMessage): void {
    if (!this.ended) this.#worker.postMessage(message);
  }

  async ask(message: HashMessage): Promise<HashAnswer> {
    if (this.ended) throw new Error("a hash thread ended");
    return new Promise((resolve, reject) => {
      const waiting = this.#waiters.get(message.id) ?? [];
      waiting.push({ resolve, reject });
      this.#waiters.set(message.id, waiting);
      // A process with nothing else to do must not end before its put is answered.
      this.#worker.ref();
      this.tell(message);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #forget(id: number): void {
    this.#waiters.delete(id);
    if (this.#waiters.size === 0) this.#worker.unref();
  }

  #end(error: unknown): void {
    if (this.ended) return;
    this.ended = true;
    const waiting = [...this.#waiters.values()].flat();
    this.#waiters.clear();
    if (waiting.length > 0) log.error("a hash thread ended, its puts fail", { error, puts: waiting.length });
    for (const { reject } of waiting) reject(new Error("a hash thread ended", { cause: error }));
  }
}
