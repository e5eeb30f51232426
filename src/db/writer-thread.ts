import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import type { DatabaseSync } from "node:sqlite";
import { ApiError, messageOf, toErrorRecord, type ErrorRecord } from "#core/errors.ts";
import { openForWriting, statementCache } from "#db/connection.ts";
import { migrate } from "#db/migrate.ts";
import type { DatabaseSchema, Transaction, WriteConnection } from "#db/schema.ts";

export type WriterData = { file: string; products: string[] };
export type WriteRequest = { id: number; name: string; args: unknown };
export type WriteReply =
  | { id: number; ok: true; value: unknown }
  | { id: number; ok: false; api: ErrorRecord }
  | { id: number; ok: false; message: string };
export type WriterMessage =
  | { kind: "ready" }
  | { kind: "replies"; replies: WriteReply[] }
  | { kind: "fatal"; message: string };

/** One commit takes at most this many requests, so that the first of them does not wait for ever. */
const groupMax = 256;

const SQLITE_IOERR = 10;
const SQLITE_FULL = 13;

/** Runs in a worker thread, with the tables that its file holds: opens the file, migrates it, then commits what is asked for in groups until it is told to stop. */
export function runWriter(schemas: readonly DatabaseSchema[]): void {
  const port = parentPort;
  if (!port) throw new Error("the writer runs in a worker thread");
  const { file } = workerData as WriterData;
  const db = openForWriting(file);
  migrate(db, schemas);
  const transactions = new Map(schemas.flatMap((schema) => schema.transactions.map((tx) => [tx.name, tx] as const)));
  const connection = connectionOf(db);

  port.on("message", (first: WriteRequest[] | "close") => {
    let waiting = first;
    let closing = false;
    const requests: WriteRequest[] = [];
    for (;;) {
      if (waiting === "close") closing = true;
      else requests.push(...waiting);
      const more = receiveMessageOnPort(port);
      if (!more) break;
      waiting = more.message as WriteRequest[] | "close";
    }
    for (let start = 0; start < requests.length; start += groupMax) {
      const outcome = commitGroup(db, connection, transactions, requests.slice(start, start + groupMax));
      port.postMessage(outcome);
      if (outcome.kind === "fatal") return;
    }
    if (closing) {
      db.close();
      port.close();
    }
  });
  port.postMessage({ kind: "ready" } satisfies WriterMessage);
}

/** What transactions see of `db`. */
export function connectionOf(db: DatabaseSync): WriteConnection {
  return { prepare: statementCache(db) };
}

/** Runs `requests` in one transaction; each is undone alone when it throws, all when the commit fails. */
export function commitGroup(
  db: DatabaseSync,
  connection: WriteConnection,
  transactions: Map<string, Transaction<never, unknown>>,
  requests: WriteRequest[],
): WriterMessage {
  try {
    db.exec("BEGIN IMMEDIATE");
    const replies = requests.map((request) => runOne(connection, transactions.get(request.name), request));
    db.exec("COMMIT");
    return { kind: "replies", replies };
  } catch (error) {
    const code = sqliteCode(error);
    // After a failed fsync the kernel may have dropped the dirty pages: a second try could report a commit that never
    // reached the disk. Stop, and recover from the log at the next start.
    if (code !== undefined && (code & 0xff) === SQLITE_IOERR) return { kind: "fatal", message: messageOf(error) };
    if (db.isTransaction) db.exec("ROLLBACK");
    const record = code === SQLITE_FULL ? toErrorRecord(storageFull()) : undefined;
    const replies = requests.map(({ id }): WriteReply =>
      record ? { id, ok: false, api: record } : { id, ok: false, message: messageOf(error) },
    );
    return { kind: "replies", replies };
  }
}

function runOne(
  connection: WriteConnection,
  tx: Transaction<never, unknown> | undefined,
  request: WriteRequest,
): WriteReply {
  const { id, name, args } = request;
  if (!tx) return { id, ok: false, message: `unknown transaction ${name}` };
  connection.prepare("SAVEPOINT request").run();
  try {
    const value = tx.run(connection, args as never);
    connection.prepare("RELEASE request").run();
    return { id, ok: true, value };
  } catch (error) {
    const code = sqliteCode(error);
    // The group cannot be committed any more: let the group's handler decide.
    if (code !== undefined && ((code & 0xff) === SQLITE_IOERR || code === SQLITE_FULL)) throw error;
    connection.prepare("ROLLBACK TO request").run();
    connection.prepare("RELEASE request").run();
    if (error instanceof ApiError) return { id, ok: false, api: toErrorRecord(error) };
    return { id, ok: false, message: `${name}: ${messageOf(error)}` };
  }
}

function sqliteCode(error: unknown): number | undefined {
  return error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode : undefined;
}

/** Ours: Cloudflare has no such state. 507 Insufficient Storage, RFC 4918 §11.5. */
function storageFull(): ApiError {
  return new ApiError(507, 10500, "storage_full: the disk that holds the data is full. Nothing was written.");
}
