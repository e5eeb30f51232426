import type { Reader } from "#db/schema.ts";
import type { ObjectNamespace } from "#products/durable-objects/schema.ts";

/** A namespace with the name of the Worker that has it. */
export type NamedNamespace = ObjectNamespace & { scriptName: string };

/** Whose a namespace's data is, or that nobody's it is any more. */
export type NamespacePlace = { id: string; workerId: string; isDeleted: boolean };

export interface ObjectStore {
  /** In the order in which they were made. */
  list(accountId: string): Promise<NamedNamespace[]>;
}

export function objectStore(db: Reader): ObjectStore {
  return {
    async list(accountId) {
      const rows = db
        .prepare(
          `SELECT object_namespaces.*, workers.name FROM object_namespaces JOIN workers ON workers.id = worker_id
           WHERE object_namespaces.account_id = ? AND deleted_on IS NULL ORDER BY object_namespaces.rowid`,
        )
        .all(accountId);
      return rows.map((row) => ({ ...toNamespace(row), scriptName: String(row["name"]) }));
    },
  };
}

/** Every namespace there is or was. */
export function readPlaces(db: Reader): NamespacePlace[] {
  const rows = db.prepare("SELECT id, worker_id, deleted_on FROM object_namespaces ORDER BY id").all();
  return rows.map((row) => ({
    id: String(row["id"]),
    workerId: String(row["worker_id"]),
    isDeleted: row["deleted_on"] !== null,
  }));
}

/** The Worker that has a namespace now; undefined when it is deleted. */
export function ownerOf(db: Reader, namespaceId: string): string | undefined {
  const row = db
    .prepare("SELECT worker_id FROM object_namespaces WHERE id = ? AND deleted_on IS NULL")
    .get(namespaceId);
  return row && String(row["worker_id"]);
}

function toNamespace(row: Record<string, unknown>): ObjectNamespace {
  return {
    id: String(row["id"]),
    accountId: String(row["account_id"]),
    workerId: String(row["worker_id"]),
    className: String(row["class_name"]),
    sqlite: row["sqlite"] === 1,
    createdOn: String(row["created_on"]),
  };
}
