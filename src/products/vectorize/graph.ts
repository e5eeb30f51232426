import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { Index, MetricKind, ScalarKind } from "usearch";
import { syncFile, syncFolder } from "#core/durable-file.ts";
import type { Metric } from "#products/vectorize/schema.ts";

/** Of a hierarchical navigable small world graph: links of a node, and how far it looks when it adds and when it searches. */
const shape = { connectivity: 16, expansion_add: 128, expansion_search: 128 };
/** What is near by its dot product need not be near each other: such a graph has more links, and is searched more widely. */
const wideShape = { connectivity: 32, expansion_add: 256, expansion_search: 384 };

/**
 * How a graph keeps vectors. One byte a number is enough where only directions count, since what it finds is scored again with the
 * vectors themselves; lengths need more.
 */
const kinds: Record<Metric, { metric: MetricKind; quantization: ScalarKind; bytes: number; shape: typeof shape }> = {
  cosine: { metric: MetricKind.Cos, quantization: ScalarKind.I8, bytes: 1, shape },
  euclidean: { metric: MetricKind.L2sq, quantization: ScalarKind.F16, bytes: 2, shape },
  "dot-product": { metric: MetricKind.IP, quantization: ScalarKind.F16, bytes: 2, shape: wideShape },
};

/** What a node takes besides its vector, about: its links, two for each of `connectivity`, its key and what the allocator adds. */
const linkBytes = 5;
const nodeBytes = 90;

type Snapshot = { lastRow: number; sha256: string };

/** Finds rows near a vector. Derived from the database, and made anew from it whenever it is in doubt. */
export class Graph {
  readonly #index: Index;
  readonly #bytesEach: number;
  /** It has every row up to this one. */
  lastRow = 0;

  constructor(dimensions: number, metric: Metric) {
    const { metric: kind, quantization, bytes, shape: links } = kinds[metric];
    this.#index = new Index({ ...links, multi: false, dimensions, metric: kind, quantization });
    this.#bytesEach = dimensions * bytes + nodeBytes + 2 * links.connectivity * linkBytes;
  }

  get size(): number {
    return this.#index.size();
  }

  get memoryBytes(): number {
    return this.size * this.#bytesEach;
  }

  /** Rows in rising order, all of them greater than `lastRow`. */
  add(rows: readonly { row: number; values: Float32Array }[]): void {
    const keys = BigUint64Array.from(rows, ({ row }) => BigInt(row));
    if (rows.length > 0)
      this.#index.add(
        [...keys],
        rows.map(({ values }) => values),
      );
    this.lastRow = Math.max(this.lastRow, rows.at(-1)?.row ?? 0);
  }

  remove(row: number): void {
    if (this.#index.contains(BigInt(row))) this.#index.remove(BigInt(row));
  }

  /** The nearest rows, about. */
  search(vector: Float32Array, count: number): number[] {
    if (this.size === 0) return [];
    const { keys } = this.#index.search(vector, Math.min(count, this.size), 1);
    return Array.from(keys, Number);
  }

  /** Writes it to `file`, wholly or not at all. */
  async save(file: string): Promise<void> {
    const next = `${file}.next`;
    this.#index.save(next);
    await syncFile(next);
    const snapshot: Snapshot = { lastRow: this.lastRow, sha256: await digest(next) };
    // Without what says what it holds, a graph is not read: between these two steps there is none.
    await rm(noteOf(file), { force: true });
    await rename(next, file);
    await writeFile(`${noteOf(file)}.next`, JSON.stringify(snapshot), { mode: 0o600, flush: true });
    await rename(`${noteOf(file)}.next`, noteOf(file));
    await syncFolder(dirname(file));
  }

  /** Reads what `save` wrote: false, and nothing is read, when that is missing or damaged. */
  async load(file: string): Promise<boolean> {
    if (!existsSync(file) || !existsSync(noteOf(file))) return false;
    const { lastRow, sha256 } = JSON.parse(await readFile(noteOf(file), "utf8")) as Snapshot;
    if ((await digest(file)) !== sha256) return false;
    this.#index.load(file);
    this.lastRow = lastRow;
    return true;
  }
}

/** What a graph in `folder` is called. */
export function graphFile(folder: string, indexId: string): string {
  return join(folder, `${indexId}.usearch`);
}

export async function removeGraph(file: string): Promise<void> {
  for (const path of [noteOf(file), file, `${file}.next`, `${noteOf(file)}.next`]) await rm(path, { force: true });
}

function noteOf(file: string): string {
  return `${file}.json`;
}

async function digest(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
