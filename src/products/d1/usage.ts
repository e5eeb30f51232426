/** What statements did, added up per text: the numbers behind `d1 info` and `d1 insights`. Pure: the host collects them. */
export type QueryUsage = {
  database: string;
  query: string;
  writes: boolean;
  count: number;
  durationMs: number;
  rowsRead: number;
  rowsWritten: number;
  rowsReturned: number;
};

const usageLimits = {
  /** Characters of a text that are kept. Cloudflare's dimension is cut as well. */
  queryCharacters: 4096,
  /** Different texts between two collections; what comes after them is counted without its text. */
  queries: 5000,
};

/** Adds up what is done until somebody takes it. */
export class UsageMeter {
  #byQuery = new Map<string, QueryUsage>();

  add(entry: Omit<QueryUsage, "count">): void {
    const query = entry.query.slice(0, usageLimits.queryCharacters);
    const key = `${entry.database}${query}`;
    const known = this.#byQuery.get(key);
    if (known) return addTo(known, { ...entry, count: 1 });
    if (query !== "" && this.#byQuery.size >= usageLimits.queries) return this.add({ ...entry, query: "" });
    this.#byQuery.set(key, { ...entry, query, count: 1 });
  }

  take(): QueryUsage[] {
    const taken = [...this.#byQuery.values()];
    this.#byQuery = new Map();
    return taken;
  }
}

function addTo(sum: QueryUsage, entry: QueryUsage): void {
  sum.writes ||= entry.writes;
  sum.count += entry.count;
  sum.durationMs += entry.durationMs;
  sum.rowsRead += entry.rowsRead;
  sum.rowsWritten += entry.rowsWritten;
  sum.rowsReturned += entry.rowsReturned;
}
