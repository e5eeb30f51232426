import type { Meta, Query, Sizes } from "#products/d1/host-protocol.ts";
import { limits } from "#products/d1/limits.ts";
import { splitStatements } from "#products/d1/sql-text.ts";

/** What a SQLite-backed object of workerd gives, as far as D1 needs it. */
export interface SqlObject {
  readonly sql: {
    readonly exec: (query: string, ...bindings: Binding[]) => SqlCursor;
    readonly databaseSize: number;
  };
  transactionSync<T>(work: () => T): T;
}

interface SqlCursor {
  readonly columnNames: string[];
  readonly rowsRead: number;
  readonly rowsWritten: number;
  raw(): Iterable<unknown[]>;
}

type Binding = ArrayBuffer | string | number | null;

/** `columns`: column names and rows of values. `objects`: rows with names. `none`: nobody looks at them. */
export type ResultFormat = "columns" | "objects" | "none";

export type Run = {
  queries: readonly Query[];
  format: ResultFormat;
  /** `last`: for each query its last statement's rows, as in miniflare. `each`: a result for each statement, as REST gives. */
  results: "last" | "each";
};

/** A result as D1's JSON without its end, since only the caller of the object can measure how long it took: see `withTime`. */
export type OpenResult = { json: string; changed: boolean; done: Done };

/** What a result stands for in the numbers of its database. */
type Done = { query: string; writes: boolean; rowsRead: number; rowsWritten: number; rowsReturned: number };

/** The JSON of `result`, which took `ms`. */
export function withTime(result: OpenResult, ms: number): string {
  return `${result.json},"duration":${ms},"timings":{"sql_duration_ms":${ms}}}}`;
}

type Counters = { changes: number; lastRowId: number; size: number };
type Outcome = Counters & {
  sql: string;
  rows: string;
  returned: number;
  read: number;
  written: number;
  changed: boolean;
};

/** Runs D1's queries on the database of one object. Texts of errors are workerd's own, which are D1's. */
export class Engine {
  readonly #storage: SqlObject;
  readonly #bytesMax: number;
  /** The members of `meta` that are the same in every result, as JSON. */
  readonly #served: string;
  /** As they were after the last statement; undefined when one failed since. */
  #counters: Counters | undefined;

  /** `bytesMax`: of the database; 0 for none. */
  constructor(
    storage: SqlObject,
    served: Pick<Meta, "served_by" | "served_by_region" | "served_by_colo">,
    bytesMax = 0,
  ) {
    this.#storage = storage;
    this.#bytesMax = bytesMax;
    this.#served = JSON.stringify({ ...served, served_by_primary: true, total_attempts: 1 }).slice(1, -1);
  }

  /** Runs all of `run` in one transaction. Throws the first error, and then nothing was changed. */
  run({ queries, format, results }: Run): OpenResult[] {
    const work = queries
      .map(({ sql, params }) => ({ sql, statements: splitStatements(sql), values: new Values(params ?? []) }))
      .filter(({ statements }) => statements.length > 0);
    const [first] = work;
    if (!first) throw new Error("No SQL statements detected.");
    // A read of no table would run without SQLite's lock, by which the outside sees whose query holds up a host.
    const unseen = work.some(({ statements }) => statements.some((sql) => mayReadNoTable.test(sql)));
    const runAll = () => {
      if (unseen) this.#storage.sql.exec("SELECT 1 FROM sqlite_schema LIMIT 1");
      return work.flatMap(({ sql: text, statements, values }) => {
        const outcomes = statements.map((sql, index) =>
          this.#statement(sql, index === statements.length - 1 ? values : noValues, format),
        );
        return results === "each" ? outcomes : [summary(text, outcomes)];
      });
    };
    // One statement is atomic by itself, and a savepoint would make a write of every read.
    const simple =
      work.length === 1 && first.statements.length === 1 && !first.values.mayOverfillRow && !unseen && !this.#bytesMax;
    try {
      const outcomes = simple ? runAll() : this.#storage.transactionSync(runAll);
      return outcomes.map((outcome) => this.#openResult(outcome));
    } catch (error) {
      this.forgetCounters();
      throw error;
    }
  }

  sizes(): Sizes {
    const [row] = this.#storage.sql
      .exec(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*'",
      )
      .raw();
    return { fileSize: this.#storage.sql.databaseSize, tables: Number(row?.[0] ?? 0) };
  }

  /** What SQLite counts over the life of a connection. */
  count(): Counters {
    const [row] = this.#storage.sql.exec("SELECT total_changes(), last_insert_rowid()").raw();
    return (this.#counters = {
      changes: Number(row?.[0]),
      lastRowId: Number(row?.[1]),
      size: this.#storage.sql.databaseSize,
    });
  }

  /** Refuses, within a transaction, what made the database too large. Text of https://developers.cloudflare.com/d1/observability/debug-d1/. */
  checkSize(): void {
    if (this.#bytesMax > 0 && this.#storage.sql.databaseSize > this.#bytesMax)
      throw new Error("Exceeded maximum DB size.");
  }

  /** To be called when something else has failed to write to the database. */
  forgetCounters(): void {
    this.#counters = undefined;
  }

  /** What was done since `before`, as members of `meta`. */
  since(before: Counters) {
    const after = this.count();
    return {
      served_by_primary: true,
      total_attempts: 1,
      changes: after.changes - before.changes,
      last_row_id: after.lastRowId,
      changed_db: true,
      size_after: after.size,
    };
  }

  #statement(sql: string, values: Values, format: ResultFormat): Outcome {
    const before = (this.#counters ??= this.count());
    const cursor = this.#storage.sql.exec(sql, ...values.bindings);
    const { rows, returned } = rowsJson(cursor, format);
    // Counting takes as long as a point select, and a SELECT changes nothing that is counted.
    const after = /^\s*select\b/i.test(sql) ? before : this.count();
    const changes = after.changes - before.changes;
    if (after.size > before.size) this.checkSize();
    if (values.mayOverfillRow) values.checkRow(sql, changes);
    return {
      sql,
      rows,
      returned,
      changes,
      lastRowId: after.lastRowId,
      size: after.size,
      read: cursor.rowsRead,
      written: cursor.rowsWritten,
      changed: changes !== 0 || after.lastRowId !== before.lastRowId || after.size !== before.size,
    };
  }

  #openResult({ sql, rows, returned, changes, lastRowId, size, read, written, changed }: Outcome): OpenResult {
    const counts = `"changes":${changes},"last_row_id":${lastRowId},"changed_db":${changed},"size_after":${size}`;
    const json = `{"success":true,"results":${rows},"meta":{${this.#served},${counts},"rows_read":${read},"rows_written":${written}`;
    const writes = changed || written > 0;
    const done = { query: sql, writes, rowsRead: read, rowsWritten: written, rowsReturned: returned };
    return { json, changed, done };
  }
}

/** What can keep SQLite busy without a table. */
const mayReadNoTable = /^\s*(select|with|values)\b[^]*\b(recursive|union|values|json_each|json_tree|pragma_\w+)\b/i;

/** One result for several statements: the last one's rows, and what all of them did. */
function summary(sql: string, outcomes: Outcome[]): Outcome {
  return outcomes.reduce((sum, next) => ({
    ...next,
    sql,
    changes: sum.changes + next.changes,
    read: sum.read + next.read,
    written: sum.written + next.written,
    changed: sum.changed || next.changed,
  }));
}

/** Parameters of a statement. */
class Values {
  readonly bindings: Binding[];
  /** Bytes of the large ones. */
  readonly #bytes: number = 0;

  constructor(params: readonly unknown[]) {
    this.bindings = params.map(toBinding);
    for (const binding of this.bindings) {
      const bytes = largeBytes(binding);
      if (bytes > limits.valueBytes) throw tooBig();
      this.#bytes += bytes;
    }
  }

  get mayOverfillRow(): boolean {
    return this.#bytes > limits.valueBytes;
  }

  /**
   * Refuses an insert whose values cannot all lie in rows of the size that D1 allows, which workerd would let pass. An
   * upsert often binds a value twice, so it is let alone.
   */
  checkRow(sql: string, changes: number): void {
    if (!/^\s*(insert|replace)\b/i.test(sql) || /\bconflict\b/i.test(sql)) return;
    if (changes > 0 && this.#bytes > limits.valueBytes * changes) throw tooBig();
  }
}

const noValues = new Values([]);

function toBinding(param: unknown): Binding {
  if (typeof param === "string" || typeof param === "number" || param === null) return param;
  if (typeof param === "boolean") return param ? 1 : 0;
  if (Array.isArray(param)) return new Uint8Array(param).buffer;
  throw new Error(`Type '${typeof param}' not supported for value '${JSON.stringify(param)}'`);
}

/** Bytes of a value that is large enough to matter for the limit of a row, else 0. */
function largeBytes(value: unknown): number {
  if (typeof value === "string") return value.length < limits.valueBytes / 1000 ? 0 : utf8.encode(value).length;
  return value instanceof ArrayBuffer ? value.byteLength : 0;
}

const utf8 = new TextEncoder();

function tooBig(): Error {
  return new Error("string or blob too big: SQLITE_TOOBIG");
}

/** Reads all rows of `cursor` into JSON. A blob becomes an array of its bytes; what JSON has no number for becomes null. */
function rowsJson(cursor: SqlCursor, format: ResultFormat): { rows: string; returned: number } {
  const columns = cursor.columnNames;
  const rows: string[] = [];
  let size = 0;
  let returned = 0;
  for (const row of cursor.raw()) {
    returned++;
    if (format === "none") continue;
    for (let index = 0; index < row.length; index++) {
      const value = row[index];
      if (largeBytes(value) > limits.valueBytes) throw tooBig();
      if (value instanceof ArrayBuffer) row[index] = Array.from(new Uint8Array(value));
    }
    const json = JSON.stringify(
      format === "columns" ? row : Object.fromEntries(columns.map((name, index) => [name, row[index]])),
    );
    size += json.length;
    // D1's own text for a result that takes more memory than its process has.
    if (size > limits.resultCharacters) throw new Error("D1 DB's isolate exceeded its memory limit and was reset.");
    rows.push(json);
  }
  const list = `[${rows.join(",")}]`;
  return { rows: format === "columns" ? `{"columns":${JSON.stringify(columns)},"rows":${list}}` : list, returned };
}
