import { once } from "node:events";
import type { StatementSync } from "node:sqlite";
import { Worker } from "node:worker_threads";
import { entryUrl } from "#core/entry.ts";
import { ApiError, fromErrorRecord } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { openForReading, statementCache } from "#db/connection.ts";
import type { Transaction } from "#db/schema.ts";
import type { WriteReply, WriteRequest, WriterData, WriterMessage } from "#db/writer-thread.ts";

/** A SQLite file: reads happen here, at once; writes go to a thread of their own, which commits them in groups. */
export interface Database extends AsyncDisposable {
  /** A prepared statement of the reading connection; it sees every write that was answered. */
  prepare(sql: string): StatementSync;
  /** Runs `tx` on the writer thread and resolves when it is durable. Rejects with its ApiError when it threw one. */
  write<Args, Result>(tx: Transaction<Args, Result>, args: Args): Promise<Result>;
  /** Waits for the writes under way, then closes both connections. */
  close(): Promise<void>;
}

/** Writes that may wait for the thread; past it, callers are refused rather than memory filled. */
const pendingMax = 20_000;

/** Writes of one commit that are answered in a row. Then others' requests have a turn: a read does not wait for the whole group. */
const settledAtOnce = 8;

const log = createLogger("db");

/**
 * Opens `file`, creating or migrating it. `products` name the schemas it holds (registered in `roles/writer.ts`). A disk
 * that fails a write ends the process: what was answered is safe, and only a restart can tell what else is.
 */
export async function openDatabase(file: string, products: string[]): Promise<Database> {
  const thread = new Worker(entryUrl("writer"), {
    workerData: { file, products } satisfies WriterData,
  });
  const pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let queue: WriteRequest[] = [];
  let lastId = 0;
  let closing = false;

  const flush = () => {
    const requests = queue;
    queue = [];
    thread.postMessage(requests);
  };
  const settle = (reply: WriteReply) => {
    const waiter = pending.get(reply.id);
    pending.delete(reply.id);
    if (pending.size === 0) thread.unref();
    if (reply.ok) waiter?.resolve(reply.value);
    else waiter?.reject("api" in reply ? fromErrorRecord(reply.api) : new Error(reply.message));
  };
  const replies: WriteReply[] = [];
  const settleSome = () => {
    for (const reply of replies.splice(0, settledAtOnce)) settle(reply);
    if (replies.length > 0) setImmediate(settleSome);
  };

  await untilReady(thread);
  thread.on("message", (message: WriterMessage) => {
    if (message.kind === "replies") {
      const settling = replies.length > 0;
      replies.push(...message.replies);
      if (!settling) settleSome();
    } else if (message.kind === "fatal") stopProcess(file, message.message);
  });
  thread.on("error", (error) => stopProcess(file, error));
  thread.on("exit", () => closing || stopProcess(file, "the writer thread ended"));
  thread.unref();

  const reader = openForReading(file);
  const prepare = statementCache(reader);
  const close = async () => {
    if (closing) return;
    closing = true;
    if (queue.length > 0) flush();
    thread.ref();
    const ended = once(thread, "exit");
    // The last connection that closes takes the log into the file, which a reading one cannot.
    reader.close();
    thread.postMessage("close");
    await ended;
  };
  return {
    prepare,
    async write<Args, Result>(tx: Transaction<Args, Result>, args: Args): Promise<Result> {
      if (closing) throw new Error(`${file} is closed`);
      if (pending.size >= pendingMax) throw tooManyWrites();
      const id = ++lastId;
      if (queue.length === 0) queueMicrotask(flush);
      queue.push({ id, name: tx.name, args });
      // A process with nothing else to do must not end before its write is answered.
      if (pending.size === 0) thread.ref();
      return new Promise<Result>((resolve, reject) => {
        pending.set(id, { resolve: (value) => resolve(value as Result), reject });
      });
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** `bytes` in a buffer of their own: a view into a larger one would be copied to the thread with all that surrounds it. */
export function exactBytes(bytes: Uint8Array): Uint8Array {
  const whole = bytes.byteLength === bytes.buffer.byteLength;
  return whole ? bytes : Uint8Array.prototype.slice.call(bytes);
}

async function untilReady(thread: Worker): Promise<void> {
  const [message] = (await Promise.race([
    once(thread, "message"),
    once(thread, "error").then(([error]) => Promise.reject(error)),
  ])) as [WriterMessage];
  if (message.kind !== "ready") throw new Error("the writer thread did not start");
}

function stopProcess(file: string, error: unknown): void {
  log.error("the database cannot be written any more, stopping", { file, error });
  process.exit(1);
}

/** Ours: Cloudflare answers an overloaded store with 429 as well. */
function tooManyWrites(): ApiError {
  return new ApiError(429, 10501, "Too many writes are waiting for the disk. Try again.");
}
