import { transaction, type DatabaseSchema, type WriteConnection } from "#db/schema.ts";
import { vectorErrors } from "#products/vectorize/errors.ts";
import { indexedValue } from "#products/vectorize/indexed-value.ts";
import { limits, type MetadataIndex, type Metric, type NewVector } from "#products/vectorize/schema.ts";

export type NewIndex = {
  id: string;
  accountId: string;
  name: string;
  description: string;
  dimensions: number;
  metric: Metric;
  now: string;
};

export const createIndex = transaction("vectorize.create", (db, index: NewIndex): void => {
  const { id, accountId, name, description, dimensions, metric, now } = index;
  if (db.prepare("SELECT 1 FROM vector_indexes WHERE account_id = ? AND name = ?").get(accountId, name))
    throw vectorErrors.duplicateName(name);
  const row = db.prepare("SELECT count(*) AS count FROM vector_indexes WHERE account_id = ?").get(accountId);
  if (Number(row?.["count"]) >= limits.indexes) throw vectorErrors.tooManyIndexes();
  db.prepare(
    `INSERT INTO vector_indexes (id, account_id, name, description, dimensions, metric, created_on, modified_on)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  ).run(id, accountId, name, description, dimensions, metric, now, now);
});

export const deleteIndex = transaction("vectorize.delete", (db, { id }: { id: string }): boolean => {
  return db.prepare("DELETE FROM vector_indexes WHERE id = ?").run(id).changes > 0;
});

type Mutation = { num: number; mutationId: string; nowMs: number };
export type PutVectors = Mutation & { vectors: NewVector[]; replaces: boolean };

/** Rows that took the place of others, which are gone with it. Answers them. */
export const putVectors = transaction("vectorize.put", (db, change: PutVectors): number[] => {
  const { num, vectors, replaces } = change;
  const indexes = metadataIndexesOf(db, num);
  const find = db.prepare("SELECT row FROM vectors WHERE index_num = ? AND id = ?");
  const insert = db.prepare("INSERT INTO vectors (index_num, id, namespace, metadata, vals) VALUES (?, ?, ?, ?, ?)");
  const gone: number[] = [];
  let added = 0;
  for (const { id, namespace, metadata, values } of vectors) {
    const before = find.get(num, id)?.["row"];
    if (before !== undefined) {
      if (!replaces) continue;
      gone.push(Number(before));
      removeRow(db, num, Number(before));
    } else added++;
    const { lastInsertRowid } = insert.run(num, id, namespace, metadata, values);
    if (metadata !== null) indexMetadata(db, { num, row: Number(lastInsertRowid), metadata }, indexes);
  }
  note(db, change, added);
  return gone;
});

export const deleteVectors = transaction(
  "vectorize.deleteVectors",
  (db, change: Mutation & { ids: string[] }): number[] => {
    const find = db.prepare("SELECT row FROM vectors WHERE index_num = ? AND id = ?");
    const gone: number[] = [];
    for (const id of change.ids) {
      const row = find.get(change.num, id)?.["row"];
      if (row === undefined) continue;
      gone.push(Number(row));
      removeRow(db, change.num, Number(row));
    }
    note(db, change, -gone.length);
    return gone;
  },
);

/** The graph on disk does without these from now on. */
export const forgetGone = transaction("vectorize.forgetGone", (db, { num }: { num: number }): void => {
  db.prepare("DELETE FROM vectors_gone WHERE index_num = ?").run(num);
});

export const addMetadataIndex = transaction("vectorize.addMetadataIndex", (db, add: Mutation & MetadataIndex): void => {
  const { num, propertyName, indexType } = add;
  const indexes = metadataIndexesOf(db, num);
  if (indexes.some((index) => index.propertyName === propertyName))
    throw vectorErrors.badMetadataIndex(`there is one for "${propertyName}"`);
  if (indexes.length >= limits.metadataIndexes)
    throw vectorErrors.badMetadataIndex(`an index has at most ${limits.metadataIndexes}`);
  db.prepare("INSERT INTO vector_metadata_indexes (index_num, property, type) VALUES (?, ?, ?)").run(
    num,
    propertyName,
    indexType,
  );
  note(db, add, 0);
});

export const removeMetadataIndex = transaction(
  "vectorize.removeMetadataIndex",
  (db, remove: Mutation & { propertyName: string }): void => {
    const { num, propertyName } = remove;
    const { changes } = db
      .prepare("DELETE FROM vector_metadata_indexes WHERE index_num = ? AND property = ?")
      .run(num, propertyName);
    if (changes === 0) throw vectorErrors.badMetadataIndex(`there is none for "${propertyName}"`);
    db.prepare("DELETE FROM vectors_indexed WHERE index_num = ? AND property = ?").run(num, propertyName);
    note(db, remove, 0);
  },
);

function metadataIndexesOf(db: WriteConnection, num: number): MetadataIndex[] {
  const rows = db.prepare("SELECT property, type FROM vector_metadata_indexes WHERE index_num = ?").all(num);
  return rows.map((row) => ({
    propertyName: String(row["property"]),
    indexType: row["type"] as MetadataIndex["indexType"],
  }));
}

function indexMetadata(
  db: WriteConnection,
  { num, row, metadata }: { num: number; row: number; metadata: string },
  indexes: readonly MetadataIndex[],
): void {
  if (indexes.length === 0) return;
  const parsed = JSON.parse(metadata) as Record<string, unknown>;
  const put = db.prepare("INSERT INTO vectors_indexed (index_num, property, value, row) VALUES (?, ?, ?, ?)");
  for (const index of indexes) {
    const value = indexedValue(parsed, index);
    if (value !== undefined) put.run(num, index.propertyName, value, row);
  }
}

function removeRow(db: WriteConnection, num: number, row: number): void {
  db.prepare("DELETE FROM vectors WHERE row = ?").run(row);
  db.prepare("INSERT INTO vectors_gone (index_num, row) VALUES (?, ?)").run(num, row);
}

function note(db: WriteConnection, { num, mutationId, nowMs }: Mutation, added: number): void {
  db.prepare(
    "UPDATE vector_indexes SET count = count + ?, last_mutation = ?, last_mutation_ms = ?, modified_on = ? WHERE num = ?",
  ).run(added, mutationId, nowMs, new Date(nowMs).toISOString(), num);
}

export const vectorizeSchema: DatabaseSchema = {
  product: "vectorize",
  migrations: [
    `CREATE TABLE vector_indexes (
       num INTEGER PRIMARY KEY AUTOINCREMENT,
       id TEXT NOT NULL UNIQUE,
       account_id TEXT NOT NULL,
       name TEXT NOT NULL,
       description TEXT NOT NULL,
       dimensions INTEGER NOT NULL,
       metric TEXT NOT NULL,
       created_on TEXT NOT NULL,
       modified_on TEXT NOT NULL,
       count INTEGER NOT NULL DEFAULT 0,
       last_mutation TEXT NOT NULL DEFAULT '',
       last_mutation_ms INTEGER NOT NULL DEFAULT 0,
       UNIQUE (account_id, name)
     ) STRICT;
     -- A row is never used again: what a graph knows by it is that vector, or nothing.
     CREATE TABLE vectors (
       row INTEGER PRIMARY KEY AUTOINCREMENT,
       index_num INTEGER NOT NULL REFERENCES vector_indexes (num) ON DELETE CASCADE,
       id TEXT NOT NULL,
       namespace TEXT NOT NULL,
       metadata TEXT,
       vals BLOB NOT NULL,
       UNIQUE (index_num, id)
     ) STRICT;
     CREATE INDEX vectors_of_index ON vectors (index_num);
     CREATE INDEX vectors_of_namespace ON vectors (index_num, namespace);
     -- Rows that the graph on disk may still have.
     CREATE TABLE vectors_gone (
       index_num INTEGER NOT NULL REFERENCES vector_indexes (num) ON DELETE CASCADE,
       row INTEGER NOT NULL,
       PRIMARY KEY (index_num, row)
     ) WITHOUT ROWID, STRICT;
     CREATE TABLE vector_metadata_indexes (
       index_num INTEGER NOT NULL REFERENCES vector_indexes (num) ON DELETE CASCADE,
       property TEXT NOT NULL,
       type TEXT NOT NULL,
       PRIMARY KEY (index_num, property)
     ) WITHOUT ROWID, STRICT;
     CREATE TABLE vectors_indexed (
       index_num INTEGER NOT NULL,
       property TEXT NOT NULL,
       value ANY NOT NULL,
       row INTEGER NOT NULL REFERENCES vectors (row) ON DELETE CASCADE,
       PRIMARY KEY (index_num, property, value, row)
     ) WITHOUT ROWID, STRICT;
     CREATE INDEX vectors_indexed_of_row ON vectors_indexed (row);`,
  ],
  transactions: [
    createIndex,
    deleteIndex,
    putVectors,
    deleteVectors,
    forgetGone,
    addMetadataIndex,
    removeMetadataIndex,
  ],
};
