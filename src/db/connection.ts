import { DatabaseSync, type StatementSync } from "node:sqlite";

/** Remembers prepared statements by their text; a connection sees a fixed set of them. */
export function statementCache(db: DatabaseSync): (sql: string) => StatementSync {
  const known = new Map<string, StatementSync>();
  return (sql) => {
    let statement = known.get(sql);
    if (!statement) {
      statement = db.prepare(sql);
      known.set(sql, statement);
    }
    return statement;
  };
}

/** The one connection that writes: WAL, and an fsync for every commit, so that a commit survives power loss. */
export function openForWriting(file: string): DatabaseSync {
  const db = new DatabaseSync(file, { timeout: 5000 });
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY");
  return db;
}

/** A connection that only reads; the file must exist and be in WAL mode. */
export function openForReading(file: string): DatabaseSync {
  const db = new DatabaseSync(file, { readOnly: true, timeout: 5000 });
  db.exec("PRAGMA query_only = ON; PRAGMA mmap_size = 268435456");
  return db;
}
