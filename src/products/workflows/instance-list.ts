import {
  isFinished,
  type InstanceRecord,
  type InstanceReport,
  type InstanceStatus,
  type ListQuery,
} from "#products/workflows/instance-record.ts";

type Row = Record<string, unknown>;
/** An object's SQL, as far as it is used. */
type Sql = {
  exec: (query: string, ...values: (string | number | null)[]) => Iterable<Row> & { one(): Row };
};

/** A Workflow's instances, in an object of their own beside them: the engine cannot list them. */
export class InstanceList {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
    sql.exec(
      `CREATE TABLE IF NOT EXISTS instances (
         id TEXT PRIMARY KEY, status TEXT NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL,
         started INTEGER, ended INTEGER, expires INTEGER, until INTEGER, source TEXT NOT NULL, version TEXT NOT NULL
       ) WITHOUT ROWID, STRICT;
       CREATE INDEX IF NOT EXISTS instances_by_time ON instances (created, id);
       CREATE INDEX IF NOT EXISTS instances_by_status ON instances (status, created, id);`,
    );
  }

  put({ id, status, created, modified, expires, until, origin }: InstanceReport): void {
    const started = status === "queued" ? null : modified;
    const ended = isFinished(status) ? modified : null;
    this.#sql.exec(
      `INSERT INTO instances (id, status, created, modified, started, ended, expires, until, source, version)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET status = excluded.status, created = excluded.created, modified = excluded.modified,
         started = coalesce(started, excluded.started), ended = excluded.ended, expires = excluded.expires, until = excluded.until,
         source = excluded.source, version = excluded.version`,
      id,
      status,
      created,
      modified,
      started,
      ended,
      expires ?? null,
      until ?? null,
      origin.source,
      origin.version,
    );
  }

  remove(id: string): void {
    this.#sql.exec("DELETE FROM instances WHERE id = ?", id);
  }

  get(id: string): InstanceRecord | undefined {
    const [row] = this.#sql.exec("SELECT * FROM instances WHERE id = ?", id);
    return row && toRecord(row);
  }

  page(query: ListQuery): InstanceRecord[] {
    const { direction, after, offset, max } = query;
    const { where, values } = conditions(query);
    const beyond = after ? [`(created, id) ${direction === "asc" ? ">" : "<"} (?, ?)`] : [];
    const order = `created ${direction}, id ${direction}`;
    const rows = this.#sql.exec(
      `SELECT * FROM instances${clause([...where, ...beyond])} ORDER BY ${order} LIMIT ? OFFSET ?`,
      ...values,
      ...(after ? [after.created, after.id] : []),
      max,
      offset,
    );
    return [...rows].map(toRecord);
  }

  count(query: ListQuery): number {
    const { where, values } = conditions(query);
    return Number(this.#sql.exec(`SELECT count(*) AS count FROM instances${clause(where)}`, ...values).one()["count"]);
  }

  /** How many there are of each status. */
  counts(): Record<string, number> {
    const rows = this.#sql.exec("SELECT status, count(*) AS count FROM instances GROUP BY status");
    return Object.fromEntries([...rows].map((row) => [String(row["status"]), Number(row["count"])]));
  }

  /** Those of which something may have come since they were last heard of: they did not rest, or no longer. */
  restless(now: number): string[] {
    const rows = this.#sql.exec(
      "SELECT id FROM instances WHERE ended IS NULL AND status <> 'paused' AND (until IS NULL OR until <= ?)",
      now,
    );
    return [...rows].map((row) => String(row["id"]));
  }

  unfinished(max: number): string[] {
    const rows = this.#sql.exec("SELECT id FROM instances WHERE ended IS NULL ORDER BY created, id LIMIT ?", max);
    return [...rows].map((row) => String(row["id"]));
  }

  /** Those whose retention is over: the engine has removed them, or will. */
  expire(now: number): void {
    this.#sql.exec("DELETE FROM instances WHERE expires <= ?", now);
  }
}

function conditions({ status, from, to }: ListQuery): { where: string[]; values: (string | number)[] } {
  const where: string[] = [];
  const values: (string | number)[] = [];
  const need = (text: string, value: string | number | undefined) => {
    if (value === undefined) return;
    where.push(text);
    values.push(value);
  };
  need("status = ?", status);
  need("created >= ?", from);
  need("created <= ?", to);
  return { where, values };
}

function clause(where: readonly string[]): string {
  return where.length === 0 ? "" : ` WHERE ${where.join(" AND ")}`;
}

function toRecord(row: Row): InstanceRecord {
  const numberOr = (name: string) => (row[name] === null ? undefined : Number(row[name]));
  return {
    id: String(row["id"]),
    status: row["status"] as InstanceStatus,
    created: Number(row["created"]),
    modified: Number(row["modified"]),
    started: numberOr("started"),
    ended: numberOr("ended"),
    expires: numberOr("expires"),
    source: row["source"] as InstanceRecord["source"],
    version: String(row["version"]),
  };
}
