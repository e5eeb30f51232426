import { newHexId } from "#core/ids.ts";
import type { Database } from "#db/database.ts";
import { kvErrors } from "#products/kv/errors.ts";
import { limits, type KvConsistency, type KvNamespace } from "#products/kv/schema.ts";
import type { KvSpace, KvStore } from "#products/kv/store.ts";
import * as writes from "#products/kv/writes.ts";

type NamespaceMethods = Pick<
  KvStore,
  | "createNamespace"
  | "getNamespace"
  | "listNamespaces"
  | "renameNamespace"
  | "deleteNamespace"
  | "consistency"
  | "setConsistency"
>;

type Place = { num: number; accountId: string; consistency: KvConsistency };

/** The namespaces of a database, and `locate`: the number under which the keys of one stand. */
export function namespacesOf(db: Database): { methods: NamespaceMethods; locate: (space: KvSpace) => number } {
  /** Only this process writes the database, so what is remembered is wrong only after a deletion here. */
  const known = new Map<string, Place>();
  const byId = db.prepare("SELECT num, account_id, consistency FROM kv_namespaces WHERE id = ?");
  const find = (id: string) => {
    const row = byId.get(id);
    if (!row) return undefined;
    if (known.size >= limits.namespacesKnown) known.clear();
    const place: Place = {
      num: Number(row["num"]),
      accountId: String(row["account_id"]),
      consistency: row["consistency"] === "edge" ? "edge" : "strong",
    };
    known.set(id, place);
    return place;
  };

  const placeOf = (space: KvSpace) => {
    const id = "boundNamespaceId" in space ? space.boundNamespaceId : space.namespaceId;
    const place = known.get(id) ?? find(id);
    if (!place || ("accountId" in space && space.accountId !== place.accountId)) throw kvErrors.namespaceNotFound();
    return place;
  };

  const methods: NamespaceMethods = {
    async createNamespace(accountId, title) {
      checkTitle(title);
      const namespace = { id: newHexId(), accountId, title };
      await db.write(writes.createNamespace, namespace);
      return namespace;
    },
    async getNamespace(accountId, id) {
      const row = db.prepare("SELECT title FROM kv_namespaces WHERE id = ? AND account_id = ?").get(id, accountId);
      if (!row) throw kvErrors.namespaceNotFound();
      return { id, accountId, title: String(row["title"]) };
    },
    async listNamespaces(accountId, { order, direction, page, perPage }) {
      const { total } = db
        .prepare("SELECT count(*) AS total FROM kv_namespaces WHERE account_id = ?")
        .get(accountId) ?? { total: 0 };
      const rows = db
        .prepare(
          `SELECT id, title FROM kv_namespaces WHERE account_id = ?
           ORDER BY ${order === "id" ? "id" : "title"} ${direction === "asc" ? "ASC" : "DESC"} LIMIT ? OFFSET ?`,
        )
        .all(accountId, perPage, (page - 1) * perPage);
      const namespaces = rows.map((row) => ({ id: String(row["id"]), accountId, title: String(row["title"]) }));
      return { namespaces, total: Number(total) };
    },
    async renameNamespace(accountId, id, title) {
      checkTitle(title);
      const namespace: KvNamespace = { id, accountId, title };
      await db.write(writes.renameNamespace, namespace);
      return namespace;
    },
    async deleteNamespace(accountId, id) {
      await db.write(writes.deleteNamespace, { accountId, id });
      known.delete(id);
    },
    consistency: async (space) => placeOf(space).consistency,
    async setConsistency(accountId, id, consistency) {
      await db.write(writes.setConsistency, { accountId, id, consistency });
      known.delete(id);
    },
  };

  return { methods, locate: (space) => placeOf(space).num };
}

function checkTitle(title: string): void {
  if (title === "") throw kvErrors.titleMissing();
  if (title.length > limits.titleLength || !title.isWellFormed()) throw kvErrors.titleTooLong();
}
