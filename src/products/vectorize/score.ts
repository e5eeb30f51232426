import type { Metric } from "#products/vectorize/schema.ts";

/** Scores two vectors; `better` says which of two scores is nearer. */
export type Scoring = {
  score: (a: Float32Array, b: Float32Array) => number;
  /** Negative when the first is better: for sorting. */
  order: (a: number, b: number) => number;
};

/** https://developers.cloudflare.com/vectorize/best-practices/create-indexes/#distance-metrics. */
export const scorings: Record<Metric, Scoring> = {
  cosine: { score: cosine, order: (a, b) => b - a },
  euclidean: { score: (a, b) => Math.sqrt(squaredDistance(a, b)), order: (a, b) => a - b },
  "dot-product": { score: dot, order: (a, b) => b - a },
};

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  let ofA = 0;
  let ofB = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    sum += x * y;
    ofA += x * x;
    ofB += y * y;
  }
  return ofA === 0 || ofB === 0 ? 0 : sum / Math.sqrt(ofA * ofB);
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
  return sum;
}

/** The best `count` of what is offered. */
export class Best {
  readonly #count: number;
  readonly #order: Scoring["order"];
  #all: { row: number; score: number }[] = [];
  readonly #rows = new Set<number>();

  constructor(count: number, order: Scoring["order"]) {
    this.#count = count;
    this.#order = order;
  }

  offer(row: number, score: number): void {
    if (this.#rows.has(row)) return;
    this.#rows.add(row);
    this.#all.push({ row, score });
    // Sorted now and then rather than at each: the rest is let go of.
    if (this.#all.length >= 4 * this.#count + 64) this.#all = this.sorted();
  }

  /** The best first. */
  sorted(): { row: number; score: number }[] {
    return this.#all.toSorted((a, b) => this.#order(a.score, b.score) || a.row - b.row).slice(0, this.#count);
  }
}
