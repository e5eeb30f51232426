import type { Database } from "#db/database.ts";

/**
 * Messages that are in somebody's hands just now: with a push consumer, or on their way to one who pulls. Only in memory: a claim
 * costs no write, and if this process ends the messages are ready again, with no attempt counted.
 */
export class Claims {
  readonly #ready;
  readonly #now: () => number;
  readonly #claimed = new Map<number, Set<number>>();

  constructor(db: Database, now: () => number) {
    this.#now = now;
    this.#ready = db.prepare(
      `SELECT id, visible_at FROM queue_messages
       WHERE queue = ? AND visible_at <= ? AND arrived_at > ? ORDER BY visible_at, id LIMIT ?`,
    );
    this.#ready.setReturnArrays(true);
  }

  /** Up to `max` messages whose time has come, that nobody has and that are not too old, the first to come first. */
  ready(num: number, max: number, retentionMs: number): { row: number; visibleAt: number }[] {
    const claimed = this.#claimed.get(num);
    const now = this.#now();
    const most = max + (claimed?.size ?? 0);
    const rows = this.#ready.all(num, now, now - retentionMs, most) as unknown as [row: number, visibleAt: number][];
    const found = [];
    for (const [row, visibleAt] of rows) {
      if (claimed?.has(row)) continue;
      found.push({ row, visibleAt });
      if (found.length === max) break;
    }
    return found;
  }

  claim(num: number, rows: readonly number[]): void {
    const claimed = this.#claimed.get(num) ?? new Set();
    this.#claimed.set(num, claimed);
    for (const row of rows) claimed.add(row);
  }

  release(num: number, rows: readonly number[]): void {
    const claimed = this.#claimed.get(num);
    if (!claimed) return;
    for (const row of rows) claimed.delete(row);
    if (claimed.size === 0) this.#claimed.delete(num);
  }
}
