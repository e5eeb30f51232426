import type { StatementSync } from "node:sqlite";

/** What a transaction gets: prepared statements of the writing connection, kept by their text. */
export interface WriteConnection {
  prepare(sql: string): StatementSync;
}

/** A connection that reads: the process's own that writes, or another's. */
export type Reader = { prepare(sql: string): StatementSync };

/**
 * A change to a database that happens wholly or not at all. It runs on the writer thread, synchronously, inside a
 * savepoint of a group that is committed together; whoever asked is answered after that commit. Arguments and results
 * are copied between threads, so they are plain data. Throwing an ApiError undoes this change alone and reaches the caller.
 */
export type Transaction<Args, Result> = {
  name: string;
  run: (db: WriteConnection, args: Args) => Result;
};

export function transaction<Args, Result>(
  name: string,
  run: (db: WriteConnection, args: Args) => Result,
): Transaction<Args, Result> {
  return { name, run };
}

/**
 * One product's tables and changes. `migrations[i]` takes the schema from version i to i + 1; a landed one is never
 * edited. Several products can share a file.
 */
export type DatabaseSchema = {
  product: string;
  migrations: readonly string[];
  transactions: readonly Transaction<never, unknown>[];
};
