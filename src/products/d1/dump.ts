import { DatabaseSync } from "node:sqlite";

export type DumpOptions = { noSchema: boolean; noData: boolean; tables: readonly string[] };

/** The message of what a dump refuses, for the caller. */
export class DumpError extends Error {
  override readonly name = "DumpError";
}

/**
 * The database in `file` as SQL text, statement by statement, all as of one moment: a read transaction of a connection of its
 * own, which keeps nobody from writing. The form is that of D1's exports, as miniflare's `d1/dumpSql.ts` has it.
 */
export function* dumpSql(file: string, options: DumpOptions): Generator<string> {
  const db = new DatabaseSync(file, { readOnly: true, timeout: 5000 });
  try {
    db.exec("BEGIN");
    yield* dump(db, options);
  } finally {
    db.close();
  }
}

function* dump(db: DatabaseSync, { noSchema, noData, tables }: DumpOptions): Generator<string> {
  const wanted = new Set(tables);
  const isWanted = (name: string) => wanted.size === 0 || wanted.has(name);
  yield "PRAGMA defer_foreign_keys=TRUE;";
  const found = db
    .prepare(
      "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql NOT NULL ORDER BY tbl_name = 'sqlite_sequence', rowid",
    )
    .all();
  for (const row of found) {
    const [name, sql] = [String(row["name"]), String(row["sql"])];
    if (!isWanted(name) || name.startsWith("_cf_")) continue;
    if (/^CREATE VIRTUAL TABLE/i.test(sql))
      throw new DumpError("D1 Export error: cannot export databases with Virtual Tables (fts5)");
    if (name === "sqlite_sequence") {
      if (!noSchema) yield "DELETE FROM sqlite_sequence;";
    } else if (name.startsWith("sqlite_stat")) {
      if (!noSchema) yield "ANALYZE sqlite_schema;";
    } else if (name.startsWith("sqlite_")) continue;
    else if (!noSchema)
      yield /^CREATE TABLE ['"]/.test(sql) ? `CREATE TABLE IF NOT EXISTS ${sql.slice(13)};` : `${sql};`;
    if (!noData) yield* inserts(db, name);
  }
  if (noSchema) return;
  const others = db
    .prepare(
      `SELECT tbl_name, sql FROM sqlite_schema
       WHERE sql NOT NULL AND type IN ('index', 'trigger', 'view') ORDER BY type COLLATE NOCASE`,
    )
    .all();
  for (const row of others) if (isWanted(String(row["tbl_name"]))) yield `${String(row["sql"])};`;
}

function* inserts(db: DatabaseSync, table: string): Generator<string> {
  // Without generated columns, which nobody can insert into.
  const columns = db
    .prepare(`PRAGMA table_info=${identifier(table)}`)
    .all()
    .map((row) => identifier(String(row["name"])));
  const names = columns.join(",");
  const rows = db.prepare(`SELECT ${names} FROM ${identifier(table)}`);
  // Whole numbers above 2⁵³ must come out as they are.
  rows.setReadBigInts(true);
  rows.setReturnArrays(true);
  for (const row of rows.iterate())
    yield `INSERT INTO ${identifier(table)} (${names}) VALUES(${(row as unknown as Cell[]).map(literal).join(",")});`;
}

type Cell = null | bigint | number | string | Uint8Array;

function literal(cell: Cell): string {
  if (cell === null) return "NULL";
  if (typeof cell === "bigint") return String(cell);
  if (typeof cell === "number") return real(cell);
  if (typeof cell === "string") return text(cell);
  return `X'${Buffer.from(cell.buffer, cell.byteOffset, cell.length).toString("hex")}'`;
}

/** With a point or an exponent: without either it would come back as a whole number. */
function real(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? "9e999" : "-9e999";
  const digits = String(value);
  return /[.e]/.test(digits) ? digits : `${digits}.0`;
}

/** On one line, as sqlite3's `.dump`: a text with a NUL, at which SQL would end, by its bytes. */
function text(value: string): string {
  if (value.includes("\0")) return `CAST(X'${Buffer.from(value).toString("hex")}' AS TEXT)`;
  let quoted = `'${value.replaceAll("'", "''").replaceAll("\r", "\\r").replaceAll("\n", "\\n")}'`;
  if (value.includes("\r")) quoted = `replace(${quoted},'\\r',char(13))`;
  if (value.includes("\n")) quoted = `replace(${quoted},'\\n',char(10))`;
  return quoted;
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
