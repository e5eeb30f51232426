import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import type { DatasetQuery, Datasets } from "#http/analytics.ts";
import type { D1Hosts } from "#products/d1/host-client.ts";
import * as writes from "#products/d1/writes.ts";

const log = createLogger("d1.analytics");

/** How many queries, and which: collected from the hosts, kept per hour and text. */
export interface D1Analytics {
  /** Takes what the hosts have counted. A host that is ended first takes its last minute along. */
  collect(): Promise<void>;
  datasets: Datasets;
}

export function d1Analytics(db: Database, hosts: Pick<D1Hosts, "usage">): D1Analytics {
  const collect = async () => {
    const rows = db.prepare("SELECT DISTINCT host FROM d1_databases").all();
    await Promise.all(
      rows.map(async (row) => {
        try {
          const entries = await hosts.usage(Number(row["host"]), AbortSignal.timeout(collectMs));
          if (entries.length > 0) await db.write(writes.addUsage, { hour: hourOf(Date.now()), entries });
        } catch (error) {
          log.debug("the usage of a host is taken later", { host: row["host"], error });
        }
      }),
    );
  };
  return {
    collect,
    datasets: {
      async d1AnalyticsAdaptiveGroups({ limit, ...query }) {
        await collect();
        const { where, values } = conditions(query);
        const rows = db
          .prepare(
            `SELECT ${sums}, sum(CASE WHEN writes THEN 0 ELSE count END) AS reads,
               sum(CASE WHEN writes THEN count ELSE 0 END) AS writes, d1_usage.database_id, hour
             ${from} ${where} GROUP BY d1_usage.database_id, hour ORDER BY hour LIMIT ?`,
          )
          .all(...values, limit);
        return rows.map((row) => ({
          ...groupOf(row),
          sum: { ...sumOf(row), readQueries: Number(row["reads"]), writeQueries: Number(row["writes"]) },
          dimensions: {
            databaseId: row["database_id"],
            datetimeHour: row["hour"],
            date: String(row["hour"]).slice(0, 10),
          },
        }));
      },
      async d1QueriesAdaptiveGroups({ limit, orderBy, ...query }) {
        await collect();
        const { where, values } = conditions(query);
        const rows = db
          .prepare(
            `SELECT ${sums}, d1_usage.database_id, query ${from} ${where} AND query <> ''
             GROUP BY d1_usage.database_id, query ORDER BY ${orders(orderBy)} LIMIT ?`,
          )
          .all(...values, limit);
        return rows.map((row) => ({
          ...groupOf(row),
          sum: sumOf(row),
          dimensions: { query: row["query"], databaseId: row["database_id"] },
        }));
      },
    },
  };
}

/** A host that is in a query does not answer: what it has counted is taken the next time. */
const collectMs = 500;

const sums = `sum(count) AS count, sum(duration_ms) AS duration, sum(rows_read) AS rows_read,
  sum(rows_written) AS rows_written, sum(rows_returned) AS rows_returned`;
const from = "FROM d1_usage JOIN d1_databases ON d1_databases.id = d1_usage.database_id";

/** Orders of `d1QueriesAdaptiveGroups` that wrangler asks for; nothing of the caller's gets into the SQL. */
const orderColumns: Record<string, string> = {
  count: "count",
  sum_queryDurationMs: "duration",
  sum_rowsRead: "rows_read",
  sum_rowsWritten: "rows_written",
  sum_rowsReturned: "rows_returned",
  avg_queryDurationMs: "duration / count",
  avg_rowsRead: "1.0 * rows_read / count",
  avg_rowsWritten: "1.0 * rows_written / count",
  avg_rowsReturned: "1.0 * rows_returned / count",
};

/** In an ORDER BY, names in expressions are columns of the table: the sums are spelled out. */
function orders(wanted: readonly string[]): string {
  const spelled = (column: string) =>
    column
      .replace("duration", "sum(duration_ms)")
      .replace(/rows_\w+/, "sum($&)")
      .replace("count", "sum(count)");
  const known = wanted.flatMap((order) => {
    const [, name = "", direction = ""] = /^(\w+)_(ASC|DESC)$/.exec(order) ?? [];
    const column = orderColumns[name];
    return column === undefined ? [] : [`${spelled(column)} ${direction}`];
  });
  return [...known, "query"].join(", ");
}

function conditions({ accountId, filter }: Pick<DatasetQuery, "accountId" | "filter">) {
  const where = ["account_id = ?"];
  const values: string[] = [accountId];
  const add = (condition: string, value: unknown) => {
    if (typeof value !== "string") return;
    where.push(condition);
    values.push(value);
  };
  add("d1_usage.database_id = ?", filter["databaseId"]);
  const first = filter["datetimeHour_geq"] ?? filter["datetime_geq"];
  const last = filter["datetimeHour_leq"] ?? filter["datetime_leq"];
  // An hour counts when any of it does.
  add("hour >= ?", typeof first === "string" ? hourOf(Date.parse(first)) : undefined);
  add("hour <= ?", typeof last === "string" ? hourOf(Date.parse(last)) : undefined);
  add("hour >= ?", typeof filter["date_geq"] === "string" ? `${filter["date_geq"]}T00:00:00Z` : undefined);
  add("hour <= ?", typeof filter["date_leq"] === "string" ? `${filter["date_leq"]}T23:59:59Z` : undefined);
  return { where: `WHERE ${where.join(" AND ")}`, values };
}

function hourOf(ms: number): string {
  return Number.isNaN(ms) ? "" : `${new Date(ms).toISOString().slice(0, 13)}:00:00Z`;
}

type Row = Record<string, unknown>;

function sumOf(row: Row) {
  return {
    queryDurationMs: Number(row["duration"]),
    rowsRead: Number(row["rows_read"]),
    rowsWritten: Number(row["rows_written"]),
    rowsReturned: Number(row["rows_returned"]),
  };
}

function groupOf(row: Row) {
  const count = Number(row["count"]);
  const avg = Object.fromEntries(Object.entries(sumOf(row)).map(([name, value]) => [name, value / count]));
  return { count, avg };
}
