import type { Reader } from "#db/schema.ts";
import { filterConditions, type Condition } from "#products/vectorize/filter.ts";
import type { Graph } from "#products/vectorize/graph.ts";
import { floats } from "#products/vectorize/graphs.ts";
import type { Filter, VectorIndex } from "#products/vectorize/schema.ts";
import { Best, scorings } from "#products/vectorize/score.ts";

const limits = {
  /** Vectors that are all scored rather than searched by the graph: about 10 ms. */
  exactRows: 5000,
  /** What the graph finds is scored again: so many times what is asked for, and at least so many. */
  candidates: 4,
  candidatesMin: 64,
} as const;

export type Wanted = { vector: Float32Array; topK: number; namespace: string | undefined; filter: Filter | undefined };
export type Found = { row: number; score: number };

/**
 * The rows nearest to a vector among those that a filter lets through, the best first. What a filter leaves few of is scored whole;
 * otherwise the graph is asked for more and more until enough of it passes. Rows that the graph has not got yet are scored all.
 */
export function search(db: Reader, { index, graph }: { index: VectorIndex; graph: Graph }, wanted: Wanted): Found[] {
  const { score, order } = scorings[index.metric];
  const best = new Best(wanted.topK, order);
  const offer = (rows: Iterable<Record<string, unknown>>) => {
    for (const { row, vals } of rows) best.offer(Number(row), score(wanted.vector, floats(vals as Uint8Array)));
  };
  const conditions: Condition[] = [
    { sql: "index_num = ?", values: [index.num] },
    ...(wanted.namespace === undefined ? [] : [{ sql: "namespace = ?", values: [wanted.namespace] }]),
    ...(wanted.filter ? filterConditions(index.num, wanted.filter) : []),
  ];
  const select = (...more: Condition[]) => {
    const all = [...conditions, ...more];
    const where = all.map(({ sql }) => sql).join(" AND ");
    return { where, values: all.flatMap(({ values }) => values) };
  };
  const rowsWhere = (...more: Condition[]) => {
    const { where, values } = select(...more);
    return db.prepare(`SELECT row, vals FROM vectors WHERE ${where}`).iterate(...values);
  };
  const isFew = () => {
    const { where, values } = select();
    const count = db.prepare(`SELECT count(*) AS count FROM (SELECT 1 FROM vectors WHERE ${where} LIMIT ?)`);
    return Number(count.get(...values, limits.exactRows + 1)?.["count"]) <= limits.exactRows;
  };
  if (index.count <= limits.candidatesMin || (conditions.length > 1 && isFew())) {
    offer(rowsWhere());
    return best.sorted();
  }
  offer(rowsWhere({ sql: "row > ?", values: [graph.lastRow] }));
  let count = Math.max(limits.candidatesMin, limits.candidates * wanted.topK);
  for (;;) {
    const near = JSON.stringify(graph.search(wanted.vector, count));
    const rows = [...rowsWhere({ sql: "row IN (SELECT value FROM json_each(?))", values: [near] })];
    const isEnough = conditions.length === 1 || rows.length >= limits.candidates * wanted.topK;
    if (isEnough || count >= graph.size) {
      offer(rows);
      return best.sorted();
    }
    count *= limits.candidates;
  }
}
