import type { Database } from "#db/database.ts";
import { newUuid } from "#core/ids.ts";
import { vectorErrors } from "#products/vectorize/errors.ts";
import { floats, type Graphs } from "#products/vectorize/graphs.ts";
import { atPath } from "#products/vectorize/indexed-value.ts";
import {
  limits,
  type Match,
  type MetadataIndex,
  type Metric,
  type NewVector,
  type Query,
  type VectorIndex,
} from "#products/vectorize/schema.ts";
import { search } from "#products/vectorize/search.ts";
import * as writes from "#products/vectorize/writes.ts";

type StoredVector = { id: string; namespace?: string; values: number[]; metadata?: unknown };

/** Vectorize indexes. What a mutation was answered is on disk, and every query after that sees it. */
export interface VectorStore {
  create(index: {
    accountId: string;
    name: string;
    description: string;
    dimensions: number;
    metric: Metric;
  }): Promise<VectorIndex>;
  list(accountId: string): Promise<VectorIndex[]>;
  /** The index, or error 3000. */
  get(accountId: string, name: string): Promise<VectorIndex>;
  findById(id: string): Promise<VectorIndex | undefined>;
  delete(index: VectorIndex): Promise<void>;
  /** `replaces`: an upsert; otherwise ids that are there stay as they are. Answers the mutation's id; they are in order. */
  put(index: VectorIndex, vectors: NewVector[], options: { replaces: boolean }): Promise<string>;
  deleteByIds(index: VectorIndex, ids: string[]): Promise<string>;
  getByIds(index: VectorIndex, ids: readonly string[]): Promise<StoredVector[]>;
  query(index: VectorIndex, query: Query): Promise<Match[]>;
  /** Ids in their order, after `cursor`. */
  listIds(index: VectorIndex, page: { count: number; cursor: string }): Promise<string[]>;
  metadataIndexes(index: VectorIndex): Promise<MetadataIndex[]>;
  addMetadataIndex(index: VectorIndex, added: MetadataIndex): Promise<string>;
  removeMetadataIndex(index: VectorIndex, propertyName: string): Promise<string>;
}

export function vectorStore(db: Database, graphs: Graphs): VectorStore {
  const mutation = (index: VectorIndex) => {
    const nowMs = Date.now();
    return { num: index.num, nowMs, mutationId: nextMutationId(nowMs) };
  };
  const store: VectorStore = {
    async create(index) {
      await db.write(writes.createIndex, { ...index, id: newUuid(), now: new Date().toISOString() });
      return store.get(index.accountId, index.name);
    },
    async list(accountId) {
      return db.prepare("SELECT * FROM vector_indexes WHERE account_id = ? ORDER BY name").all(accountId).map(toIndex);
    },
    async get(accountId, name) {
      const row = db.prepare("SELECT * FROM vector_indexes WHERE account_id = ? AND name = ?").get(accountId, name);
      if (!row) throw vectorErrors.indexNotFound(name);
      return toIndex(row);
    },
    async findById(id) {
      const row = db.prepare("SELECT * FROM vector_indexes WHERE id = ?").get(id);
      return row && toIndex(row);
    },
    async delete(index) {
      if (!(await db.write(writes.deleteIndex, { id: index.id }))) throw vectorErrors.indexNotFound(index.name);
      await graphs.forget(index);
    },
    async put(index, vectors, { replaces }) {
      const change = mutation(index);
      graphs.changed(index, await db.write(writes.putVectors, { ...change, vectors, replaces }));
      return change.mutationId;
    },
    async deleteByIds(index, ids) {
      if (ids.length > limits.idsToDelete) throw vectorErrors.tooManyIds(limits.idsToDelete, ids.length);
      const change = mutation(index);
      graphs.changed(index, await db.write(writes.deleteVectors, { ...change, ids }));
      return change.mutationId;
    },
    async getByIds(index, ids) {
      if (ids.length > limits.idsToGet) throw vectorErrors.tooManyIds(limits.idsToGet, ids.length);
      const find = db.prepare("SELECT * FROM vectors WHERE index_num = ? AND id = ?");
      return ids.flatMap((id) => {
        const row = find.get(index.num, id);
        return row ? [toVector(row)] : [];
      });
    },
    async query(index, query) {
      const vector = Float32Array.from(query.vector ?? valuesOf(db, index, query.vectorId));
      checkQuery(index, query, vector);
      const { topK, namespace, returnMetadata } = query;
      const wanted = { vector, topK, namespace, filter: query.filter ?? undefined };
      const graph = await graphs.get(index);
      const found = search(db, { index, graph }, wanted);
      const shown = db.prepare("SELECT * FROM vectors WHERE row = ?");
      const indexed = returnMetadata === "indexed" ? await store.metadataIndexes(index) : [];
      return found.flatMap(({ row, score }): Match[] => {
        const values = shown.get(row);
        return values ? [toMatch(toVector(values), score, { query, indexed })] : [];
      });
    },
    async listIds(index, { count, cursor }) {
      const rows = db
        .prepare("SELECT id FROM vectors WHERE index_num = ? AND id > ? ORDER BY id LIMIT ?")
        .all(index.num, cursor, count);
      return rows.map(({ id }) => String(id));
    },
    async metadataIndexes({ num }) {
      const rows = db.prepare("SELECT * FROM vector_metadata_indexes WHERE index_num = ? ORDER BY property").all(num);
      return rows.map(({ property, type }) => ({
        propertyName: String(property),
        indexType: type as MetadataIndex["indexType"],
      }));
    },
    async addMetadataIndex(index, added) {
      const change = mutation(index);
      await db.write(writes.addMetadataIndex, { ...change, ...added });
      return change.mutationId;
    },
    async removeMetadataIndex(index, propertyName) {
      const change = mutation(index);
      await db.write(writes.removeMetadataIndex, { ...change, propertyName });
      return change.mutationId;
    },
  };
  return store;
}

function valuesOf(db: Database, { num }: VectorIndex, id = ""): Float32Array {
  const row = db.prepare("SELECT vals FROM vectors WHERE index_num = ? AND id = ?").get(num, id);
  if (!row) throw vectorErrors.vectorNotFound(id);
  return floats(row["vals"] as Uint8Array);
}

function checkQuery(index: VectorIndex, query: Query, vector: Float32Array): void {
  if (vector.length !== index.dimensions) throw vectorErrors.queryDimensions(index.dimensions, vector.length);
  if (!vector.every(Number.isFinite)) throw vectorErrors.badQuery("a vector's values are finite numbers");
  const more = query.returnValues === true || query.returnMetadata === "all";
  if (query.topK > limits.topK) throw vectorErrors.badQuery(`topK must be at most ${limits.topK}, got ${query.topK}`);
  if (more && query.topK > limits.topKWithMore) throw vectorErrors.topKWithMore(query.topK);
}

function toMatch(
  { id, namespace, values, metadata }: StoredVector,
  score: number,
  { query, indexed }: { query: Query; indexed: readonly MetadataIndex[] },
): Match {
  const all = metadata as Record<string, unknown> | undefined;
  const some = indexed.flatMap(({ propertyName }) => {
    const value = all && atPath(all, propertyName);
    return value === undefined ? [] : [[propertyName, value] as const];
  });
  const shown = query.returnMetadata === "all" ? all : Object.fromEntries(some);
  return {
    id,
    score,
    ...(namespace === undefined ? {} : { namespace }),
    ...(query.returnValues ? { values } : {}),
    ...(query.returnMetadata === "none" || shown === undefined ? {} : { metadata: shown }),
  };
}

function toIndex(row: Record<string, unknown>): VectorIndex {
  return {
    num: Number(row["num"]),
    id: String(row["id"]),
    accountId: String(row["account_id"]),
    name: String(row["name"]),
    description: String(row["description"]),
    dimensions: Number(row["dimensions"]),
    metric: row["metric"] as Metric,
    createdOn: String(row["created_on"]),
    modifiedOn: String(row["modified_on"]),
    count: Number(row["count"]),
    lastMutation: String(row["last_mutation"]),
    lastMutationMs: Number(row["last_mutation_ms"]),
  };
}

function toVector(row: Record<string, unknown>): StoredVector {
  return {
    id: String(row["id"]),
    ...(row["namespace"] === "" ? {} : { namespace: String(row["namespace"]) }),
    values: Array.from(floats(row["vals"] as Uint8Array)),
    ...(row["metadata"] === null ? {} : { metadata: JSON.parse(row["metadata"] as string) as unknown }),
  };
}

let lastMs = 0;
let inMs = 0;

/** A UUID of version 7 (RFC 9562): of two, the later one is greater. */
function nextMutationId(nowMs: number): string {
  inMs = nowMs > lastMs ? 0 : inMs + 1;
  lastMs = Math.max(lastMs, nowMs) + (inMs > 0xfff ? 1 : 0);
  inMs &= 0xfff;
  const time = lastMs.toString(16).padStart(12, "0");
  const random = newUuid().slice(18);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${inMs.toString(16).padStart(3, "0")}${random}`;
}
