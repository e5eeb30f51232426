import type { DatabaseSchema, WriteConnection } from "#db/schema.ts";
import { objectErrors } from "#products/durable-objects/errors.ts";
import type { MigrationPlan } from "#products/durable-objects/migrations.ts";

/** Part of a plan that is written. */
export type ObjectChanges = Pick<MigrationPlan, "changes" | "deleted">;

/** Carries out a plan within the transaction of the version that needs it; refused when what it was made from has changed. */
export function applyMigrations(db: WriteConnection, { changes, deleted }: ObjectChanges, now: string): void {
  // Deletions make room for new classes of the same name.
  for (const id of deleted) markDeleted(db, id, now);
  // Classes may swap their names: until all are out of the way, each has its id for a name.
  const park = db.prepare(
    "UPDATE object_namespaces SET class_name = id WHERE id = ? AND worker_id = ? AND class_name = ? AND deleted_on IS NULL",
  );
  for (const { from } of changes)
    if (from && park.run(from.id, from.workerId, from.className).changes === 0)
      throw objectErrors.changedMeanwhile(from.className);
  const put = db.prepare(
    `INSERT INTO object_namespaces (id, account_id, worker_id, class_name, sqlite, created_on) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET worker_id = excluded.worker_id, class_name = excluded.class_name`,
  );
  for (const { to } of changes)
    put.run(to.id, to.accountId, to.workerId, to.className, Number(to.sqlite), to.createdOn);
}

/** All objects of a Worker that goes. */
export function deleteObjectsOf(db: WriteConnection, workerId: string, now: string): void {
  db.prepare("UPDATE object_namespaces SET deleted_on = ? WHERE worker_id = ? AND deleted_on IS NULL").run(
    now,
    workerId,
  );
}

function markDeleted(db: WriteConnection, id: string, now: string): void {
  db.prepare("UPDATE object_namespaces SET deleted_on = ? WHERE id = ?").run(now, id);
}

/** One that is deleted keeps its row: what says that its data may go, and that its id is no other's. */
export const objectsSchema: DatabaseSchema = {
  product: "durable_objects",
  migrations: [
    `CREATE TABLE object_namespaces (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       worker_id TEXT NOT NULL,
       class_name TEXT NOT NULL,
       sqlite INTEGER NOT NULL,
       created_on TEXT NOT NULL,
       deleted_on TEXT
     ) STRICT;
     CREATE UNIQUE INDEX object_namespaces_of_worker ON object_namespaces (worker_id, class_name) WHERE deleted_on IS NULL;`,
  ],
  transactions: [],
};
