import { transaction, type DatabaseSchema } from "#db/schema.ts";
import { d1Errors } from "#products/d1/errors.ts";
import { limits } from "#products/d1/limits.ts";
import type { D1Database } from "#products/d1/schema.ts";
import type { QueryUsage } from "#products/d1/usage.ts";

export const createDatabase = transaction("d1.create", (db, database: D1Database): void => {
  const { accountId, name } = database;
  if (db.prepare("SELECT 1 FROM d1_databases WHERE account_id = ? AND name = ?").get(accountId, name))
    throw d1Errors.nameTaken(name);
  const count = db.prepare("SELECT count(*) AS n FROM d1_databases WHERE account_id = ?").get(accountId)?.["n"];
  if (Number(count) >= limits.databases) throw d1Errors.tooMany(limits.databases);
  db.prepare(
    `INSERT INTO d1_databases (id, account_id, name, created_on, host, owner, epoch, driver, location_hint, jurisdiction)
     VALUES (?, ?, ?, ?, ?, 'local', 1, 'workerd', ?, ?)`,
  ).run(database.id, accountId, name, database.createdOn, database.host, database.locationHint, database.jurisdiction);
  db.prepare("DELETE FROM d1_removals WHERE id = ?").run(database.id);
});

/** The row goes at once and the files after it: what is left behind by a crash is found in `d1_removals`. */
export const deleteDatabase = transaction(
  "d1.delete",
  (db, { accountId, id, now }: { accountId: string; id: string; now: number }): void => {
    const row = db
      .prepare("DELETE FROM d1_databases WHERE account_id = ? AND id = ? RETURNING host")
      .get(accountId, id);
    if (!row) throw d1Errors.notFound(id);
    db.prepare("DELETE FROM d1_usage WHERE database_id = ?").run(id);
    noteRemoval.run(db, { id, host: Number(row["host"]), now });
  },
);

/** Says that a database may have files though it has no row: before it is made, and after it was deleted. */
export const noteRemoval = transaction(
  "d1.note-removal",
  (db, { id, host, now }: { id: string; host: number; now: number }): void => {
    db.prepare("INSERT OR REPLACE INTO d1_removals (id, host, noted_at) VALUES (?, ?, ?)").run(id, host, now);
  },
);

export const forgetRemoval = transaction("d1.forget-removal", (db, { id }: { id: string }): void => {
  db.prepare("DELETE FROM d1_removals WHERE id = ?").run(id);
});

/** Written before a move touches anything, so that a crash leaves no database between two hosts. */
export const beginMove = transaction(
  "d1.begin-move",
  (db, { id, from, to }: { id: string; from: number; to: number }): void => {
    db.prepare("INSERT OR REPLACE INTO d1_moves (id, from_host, to_host) VALUES (?, ?, ?)").run(id, from, to);
  },
);

/** The database is at `to` now; one that was deleted meanwhile has left its files there. */
export const endMove = transaction(
  "d1.end-move",
  (db, { id, to, now }: { id: string; to: number; now: number }): void => {
    const { changes } = db.prepare("UPDATE d1_databases SET host = ? WHERE id = ?").run(to, id);
    if (changes === 0) noteRemoval.run(db, { id, host: to, now });
    db.prepare("DELETE FROM d1_moves WHERE id = ?").run(id);
  },
);

const usageHours = 31 * 24;
/** Texts of one database that are told apart within an hour. Ours. */
const usageQueries = 1000;

/** Adds to the numbers of `hour`, and forgets those that nobody can ask for any more. */
export const addUsage = transaction(
  "d1.add-usage",
  (db, { hour, entries }: { hour: string; entries: readonly QueryUsage[] }): void => {
    const add = db.prepare(
      `INSERT INTO d1_usage (database_id, hour, query, writes, count, duration_ms, rows_read, rows_written, rows_returned)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (database_id, hour, query) DO UPDATE SET
         writes = max(writes, excluded.writes), count = count + excluded.count,
         duration_ms = duration_ms + excluded.duration_ms, rows_read = rows_read + excluded.rows_read,
         rows_written = rows_written + excluded.rows_written, rows_returned = rows_returned + excluded.rows_returned`,
    );
    const count = db.prepare("SELECT count(*) AS n FROM d1_usage WHERE database_id = ? AND hour = ?");
    const known = db.prepare("SELECT 1 FROM d1_usage WHERE database_id = ? AND hour = ? AND query = ?");
    for (const { database, query, writes, ...sum } of entries) {
      const full = Number(count.get(database, hour)?.["n"]) >= usageQueries && !known.get(database, hour, query);
      const { count: n, durationMs, rowsRead, rowsWritten, rowsReturned } = sum;
      const text = full ? "" : query;
      add.run(database, hour, text, writes ? 1 : 0, n, durationMs, rowsRead, rowsWritten, rowsReturned);
    }
    const oldest = new Date(Date.parse(hour) - usageHours * 3_600_000).toISOString();
    db.prepare("DELETE FROM d1_usage WHERE hour < ?").run(oldest);
  },
);

export const d1Schema: DatabaseSchema = {
  product: "d1",
  migrations: [
    // No foreign key to the accounts: a row must not go without the files that it stands for.
    `CREATE TABLE d1_databases (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       name TEXT NOT NULL,
       created_on TEXT NOT NULL,
       host INTEGER NOT NULL,
       owner TEXT NOT NULL,
       epoch INTEGER NOT NULL,
       driver TEXT NOT NULL,
       location_hint TEXT,
       jurisdiction TEXT,
       UNIQUE (account_id, name)
     ) STRICT;
     CREATE INDEX d1_databases_host ON d1_databases (host);
     CREATE TABLE d1_removals (
       id TEXT PRIMARY KEY,
       host INTEGER NOT NULL,
       noted_at INTEGER NOT NULL
     ) STRICT;`,
    "CREATE TABLE d1_moves (id TEXT PRIMARY KEY, from_host INTEGER NOT NULL, to_host INTEGER NOT NULL) STRICT",
    `CREATE TABLE d1_usage (
       database_id TEXT NOT NULL,
       hour TEXT NOT NULL,
       query TEXT NOT NULL,
       writes INTEGER NOT NULL,
       count INTEGER NOT NULL,
       duration_ms REAL NOT NULL,
       rows_read INTEGER NOT NULL,
       rows_written INTEGER NOT NULL,
       rows_returned INTEGER NOT NULL,
       PRIMARY KEY (database_id, hour, query)
     ) WITHOUT ROWID, STRICT;
     CREATE INDEX d1_usage_hour ON d1_usage (hour);`,
  ],
  transactions: [createDatabase, deleteDatabase, noteRemoval, forgetRemoval, beginMove, endMove, addUsage],
};
