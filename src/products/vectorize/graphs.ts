import { mkdir } from "node:fs/promises";
import type { Database } from "#db/database.ts";
import { createLogger } from "#core/log.ts";
import { Graph, graphFile, removeGraph } from "#products/vectorize/graph.ts";
import type { VectorIndex } from "#products/vectorize/schema.ts";
import { forgetGone } from "#products/vectorize/writes.ts";

const limits = {
  /** Rows that are added before others have a turn: about 5 ms. */
  rowsAtOnce: 8,
  /** A graph is written to disk after so many rows more. */
  rowsBetweenSaves: 20_000,
} as const;

const log = createLogger("vectorize.graphs");

type Kept = { graph: Graph; savedRow: number; changed: boolean; usedAt: number; building: Promise<void> | undefined };

/**
 * The graphs of all indexes, each opened when it is first asked, and brought up to date in the background: what it lacks yet is
 * searched without it. The least used make room when all of them together are too large.
 */
export class Graphs {
  readonly #db: Database;
  readonly #folder: string;
  readonly #memoryBytes: number;
  readonly #kept = new Map<string, Kept>();
  readonly #opening = new Map<string, Promise<Kept>>();
  #stopping = false;

  constructor(db: Database, options: { folder: string; memoryBytes: number }) {
    this.#db = db;
    this.#folder = options.folder;
    this.#memoryBytes = options.memoryBytes;
  }

  /** The index's graph as far as it is: rows after its `lastRow` are still to come. */
  async get(index: VectorIndex): Promise<Graph> {
    const kept = await this.#open(index);
    kept.usedAt = performance.now();
    return kept.graph;
  }

  /** Rows came or went. */
  changed(index: VectorIndex, gone: readonly number[]): void {
    const kept = this.#kept.get(index.id);
    // One that is not open finds out what changed when it is opened.
    if (!kept) return;
    kept.changed = true;
    for (const row of gone) kept.graph.remove(row);
    this.#build(index, kept);
  }

  async forget(index: VectorIndex): Promise<void> {
    const kept = this.#kept.get(index.id);
    this.#kept.delete(index.id);
    await kept?.building;
    await removeGraph(this.#file(index.id));
  }

  /** Resolves when the graph has every row: for tests and benchmarks. */
  async upToDate(index: VectorIndex): Promise<void> {
    await (
      await this.#open(index)
    ).building;
  }

  /** Writes what has changed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const [id, kept] of this.#kept) {
      await kept.building;
      if (kept.changed) await this.#save(id, kept);
    }
  }

  async #open(index: VectorIndex): Promise<Kept> {
    const known = this.#kept.get(index.id);
    if (known) return known;
    const opening = this.#opening.get(index.id) ?? this.#read(index).finally(() => this.#opening.delete(index.id));
    this.#opening.set(index.id, opening);
    return opening;
  }

  async #read(index: VectorIndex): Promise<Kept> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const file = this.#file(index.id);
    let graph = new Graph(index.dimensions, index.metric);
    try {
      if (!(await graph.load(file))) log.info("a graph is made anew", { index: index.id, vectors: index.count });
    } catch (error) {
      log.warn("a graph cannot be read and is made anew", { index: index.id, error });
      graph = new Graph(index.dimensions, index.metric);
    }
    const rows = this.#db.prepare("SELECT row FROM vectors_gone WHERE index_num = ?").all(index.num);
    for (const { row } of rows) graph.remove(Number(row));
    const kept: Kept = {
      graph,
      savedRow: graph.lastRow,
      changed: rows.length > 0,
      usedAt: performance.now(),
      building: undefined,
    };
    this.#kept.set(index.id, kept);
    this.#build(index, kept);
    this.#makeRoom(index.id);
    return kept;
  }

  #build(index: VectorIndex, kept: Kept): void {
    kept.building ??= this.#addMissing(index, kept)
      .catch((error: unknown) => log.error("a graph cannot be kept up to date", { index: index.id, error }))
      .finally(() => (kept.building = undefined));
  }

  async #addMissing({ id, num }: VectorIndex, kept: Kept): Promise<void> {
    const { graph } = kept;
    const next = this.#db.prepare("SELECT row, vals FROM vectors WHERE index_num = ? AND row > ? ORDER BY row LIMIT ?");
    while (!this.#stopping) {
      const rows = next.all(num, graph.lastRow, limits.rowsAtOnce);
      if (rows.length === 0) break;
      graph.add(rows.map(({ row, vals }) => ({ row: Number(row), values: floats(vals as Uint8Array) })));
      kept.changed = true;
      if (graph.size - kept.savedRow > limits.rowsBetweenSaves) await this.#save(id, kept);
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#makeRoom(id);
  }

  async #save(id: string, kept: Kept): Promise<void> {
    const row = this.#db.prepare("SELECT num FROM vector_indexes WHERE id = ?").get(id);
    if (!row) return;
    await kept.graph.save(this.#file(id));
    kept.savedRow = kept.graph.size;
    kept.changed = false;
    await this.#db.write(forgetGone, { num: Number(row["num"]) });
  }

  /** Lets go of the least used graphs but that of `id`. */
  #makeRoom(id: string): void {
    let bytes = [...this.#kept.values()].reduce((sum, { graph }) => sum + graph.memoryBytes, 0);
    const others = [...this.#kept].filter(([other, { building }]) => other !== id && !building);
    for (const [other, kept] of others.toSorted(([, a], [, b]) => a.usedAt - b.usedAt)) {
      if (bytes <= this.#memoryBytes) return;
      bytes -= kept.graph.memoryBytes;
      this.#kept.delete(other);
      if (kept.changed)
        void this.#save(other, kept).catch((error: unknown) =>
          log.error("a graph cannot be written", { index: other, error }),
        );
    }
    if (bytes > this.#memoryBytes) log.warn("a graph alone is larger than vectorMemoryBytes", { index: id, bytes });
  }

  #file(id: string): string {
    return graphFile(this.#folder, id);
  }
}

/** Floats as SQLite holds them: bytes at an offset that need not be a multiple of four. */
export function floats(bytes: Uint8Array): Float32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}
