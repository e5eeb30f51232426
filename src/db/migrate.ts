import type { DatabaseSync } from "node:sqlite";
import type { DatabaseSchema } from "#db/schema.ts";

/** Brings every product's tables up to date, each step in a transaction of its own. Refuses a file from a newer Solum. */
export function migrate(db: DatabaseSync, schemas: readonly DatabaseSchema[]): void {
  db.exec(
    "CREATE TABLE IF NOT EXISTS migrations (product TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID, STRICT",
  );
  const current = db.prepare("SELECT version FROM migrations WHERE product = ?");
  const reached = db.prepare(
    "INSERT INTO migrations (product, version) VALUES (?, ?) ON CONFLICT (product) DO UPDATE SET version = excluded.version",
  );
  for (const { product, migrations } of schemas) {
    const version = Number(current.get(product)?.["version"] ?? 0);
    if (version > migrations.length) {
      throw new Error(
        `The tables of ${product} have version ${version}, this Solum knows ${migrations.length}: it is older than the data`,
      );
    }
    for (let next = version; next < migrations.length; next++) {
      db.exec("BEGIN IMMEDIATE");
      try {
        db.exec(migrations[next] ?? "");
        reached.run(product, next + 1);
        db.exec("COMMIT");
      } catch (error) {
        db.exec("ROLLBACK");
        throw new Error(`Migration ${next + 1} of ${product} failed`, { cause: error });
      }
    }
  }
}
