import { isUuid, newUuid } from "#core/ids.ts";
import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import { d1Errors } from "#products/d1/errors.ts";
import type { ColumnResult, D1Hosts, ObjectResult } from "#products/d1/host-client.ts";
import type { Imported, Query, Sizes } from "#products/d1/host-protocol.ts";
import { databaseName, type D1Database } from "#products/d1/schema.ts";
import * as writes from "#products/d1/writes.ts";

type NewDatabase = { name: string; locationHint?: string; jurisdiction?: string };
type DatabasePage = { items: D1Database[]; total: number };

/** The D1 databases of each account. `idOrName`: the API takes either. A database of another account does not exist. */
export interface D1Store {
  create(accountId: string, database: NewDatabase): Promise<D1Database>;
  get(accountId: string, idOrName: string): Promise<D1Database>;
  /** Newest first; `name` is a part of the names. */
  list(accountId: string, options: { name?: string; page: number; perPage: number }): Promise<DatabasePage>;
  delete(accountId: string, idOrName: string): Promise<void>;
  sizes(database: D1Database, signal?: AbortSignal): Promise<Sizes>;
  /** All statements are one transaction, with a result for each. */
  queryObjects(accountId: string, idOrName: string, queries: readonly Query[]): Promise<ObjectResult[]>;
  queryColumns(accountId: string, idOrName: string, queries: readonly Query[]): Promise<ColumnResult[]>;
  /** Runs a file of SQL as one transaction. */
  import(database: D1Database, file: { stream: AsyncIterable<Uint8Array>; bytes: number }): Promise<Imported>;
  /** Removes files of deleted databases that are left, because a host or this process was down. */
  sweep(): Promise<void>;
}

const sweepLimits = {
  /** A note this young may belong to a database that is being made. */
  leaveMs: 60_000,
  /** A removal is repeated until its note is this old: only then has the disk surely forgotten the file as well. */
  settleMs: 600_000,
};

const log = createLogger("d1.store");

/** `hostCount`: new databases are spread over the hosts 0 … hostCount - 1. */
export function d1Store(db: Database, hosts: D1Hosts, hostCount: number): D1Store {
  const columns = "SELECT id, account_id, name, created_on, host, location_hint, jurisdiction FROM d1_databases";
  const removeFiles = async (place: { id: string; host: number }) => {
    try {
      await hosts.remove(place);
      return true;
    } catch (error) {
      log.warn("files of a deleted database are left for the next sweep", { database: place.id, error });
      return false;
    }
  };
  const store: D1Store = {
    async create(accountId, { name, locationHint, jurisdiction }) {
      if (!databaseName.test(name)) throw d1Errors.invalidName();
      if (db.prepare("SELECT 1 FROM d1_databases WHERE account_id = ? AND name = ?").get(accountId, name))
        throw d1Errors.nameTaken(name);
      const database: D1Database = {
        id: newUuid(),
        accountId,
        name,
        createdOn: new Date().toISOString(),
        host: leastLoaded(db, hostCount),
        locationHint: locationHint ?? null,
        jurisdiction: jurisdiction ?? null,
      };
      // The file before the row: a row without its file would be a lost database. A crash in between leaves the note.
      await db.write(writes.noteRemoval, { id: database.id, host: database.host, now: Date.now() });
      await hosts.create(database);
      try {
        await db.write(writes.createDatabase, database);
      } catch (error) {
        await removeFiles(database);
        throw error;
      }
      return database;
    },
    async get(accountId, idOrName) {
      const column = isUuid(idOrName) ? "id" : "name";
      const row = db.prepare(`${columns} WHERE account_id = ? AND ${column} = ?`).get(accountId, idOrName);
      if (!row) throw d1Errors.notFound(idOrName);
      return toDatabase(row);
    },
    async list(accountId, { name = "", page, perPage }) {
      const where = "WHERE account_id = ? AND instr(lower(name), lower(?)) > 0";
      const rows = db
        .prepare(`${columns} ${where} ORDER BY created_on DESC, id LIMIT ? OFFSET ?`)
        .all(accountId, name, perPage, (page - 1) * perPage);
      const total = db.prepare(`SELECT count(*) AS n FROM d1_databases ${where}`).get(accountId, name)?.["n"];
      return { items: rows.map(toDatabase), total: Number(total) };
    },
    async delete(accountId, idOrName) {
      const { id, host } = await store.get(accountId, idOrName);
      await db.write(writes.deleteDatabase, { accountId, id, now: Date.now() });
      await removeFiles({ id, host });
    },
    sizes: (database, signal) => hosts.sizes(database, signal),
    async queryObjects(accountId, idOrName, queries) {
      return hosts.queryObjects(await store.get(accountId, idOrName), queries);
    },
    async queryColumns(accountId, idOrName, queries) {
      return hosts.queryColumns(await store.get(accountId, idOrName), queries);
    },
    import: (database, file) => hosts.import(database, file),
    async sweep() {
      const now = Date.now();
      const notes = db
        .prepare("SELECT id, host, noted_at FROM d1_removals WHERE noted_at <= ?")
        .all(now - sweepLimits.leaveMs);
      for (const note of notes) {
        const place = { id: String(note["id"]), host: Number(note["host"]) };
        const settled = Number(note["noted_at"]) <= now - sweepLimits.settleMs;
        if ((await removeFiles(place)) && settled) await db.write(writes.forgetRemoval, { id: place.id });
      }
    },
  };
  return store;
}

/** The host with the fewest databases. */
function leastLoaded(db: Database, hostCount: number): number {
  const counts = new Map(
    db
      .prepare("SELECT host, count(*) AS n FROM d1_databases GROUP BY host")
      .all()
      .map((row) => [Number(row["host"]), Number(row["n"])]),
  );
  let best = 0;
  for (let host = 1; host < hostCount; host++) if ((counts.get(host) ?? 0) < (counts.get(best) ?? 0)) best = host;
  return best;
}

function toDatabase(row: Record<string, unknown>): D1Database {
  return {
    id: String(row["id"]),
    accountId: String(row["account_id"]),
    name: String(row["name"]),
    createdOn: String(row["created_on"]),
    host: Number(row["host"]),
    locationHint: textOrNull(row["location_hint"]),
    jurisdiction: textOrNull(row["jurisdiction"]),
  };
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
