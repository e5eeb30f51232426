import type { SQLOutputValue } from "node:sqlite";
import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { compileQuery, jsonPath, type LogQuery } from "#products/ai-gateway/log-query.ts";
import { logWrites, type LogPlace } from "#products/ai-gateway/log-writes.ts";
import { limits, type Gateway, type LogChange, type LogRow } from "#products/ai-gateway/schema.ts";

/** What a log row says besides its bodies, and what was added to it later. */
export type StoredLog = Omit<LogRow, "request" | "response"> & {
  feedback: number | null;
  score: number | null;
  request: Uint8Array | null;
  response: Uint8Array | null;
};

/** One line of a bill: requests of one kind, their tokens and nano-dollars. */
export type CostLine = {
  key: string | null;
  requests: number;
  cached: number;
  failed: number;
  tokensIn: number;
  tokensOut: number;
  costNano: number;
  savedNano: number;
  /** Requests that used tokens of a model whose price is not known. */
  unpriced: number;
};

export interface LogStore extends AsyncDisposable {
  /** Takes a row; it is written soon. Past a bound rows are dropped and counted. */
  record(gateway: Gateway, row: LogRow): void;
  /** Something that will record a row at any moment: readers wait for it. */
  expect(soon: Promise<unknown>): void;
  get(place: LogPlace): Promise<StoredLog>;
  list(place: Omit<LogPlace, "id">, query: LogQuery): Promise<{ rows: StoredLog[]; total: number }>;
  change(place: LogPlace, change: LogChange): Promise<void>;
  /** The rows that match, at most `limit`; how many there were. */
  delete(place: Omit<LogPlace, "id">, query: LogQuery): Promise<number>;
  costs(accountId: string, query: CostQuery): Promise<CostLine[]>;
}

export type CostQuery = {
  gatewayId?: string | undefined;
  /** `gateway`, `provider`, `model`, `route`, `worker`, or `metadata.<key>`. */
  groupBy: string;
  /** Milliseconds since 1970. */
  from: number;
  to: number;
};

const log = createLogger("ai-gateway.logs");

/** The logs of one database file. Rows are written in batches, off the way of the requests they tell of. */
export function logStore(db: Database): LogStore {
  const queue = new RowQueue(db);
  return {
    record: (gateway, row) => queue.push(gateway, row),
    expect: (soon) => queue.expect(soon),
    async get({ accountId, gatewayId, id }) {
      await queue.settled();
      const row = db
        .prepare("SELECT * FROM logs WHERE account_id = ? AND gateway_id = ? AND id = ?")
        .get(accountId, gatewayId, id);
      if (!row) throw gatewayErrors.notFound("Log");
      return toLog(row);
    },
    async list(place, query) {
      await queue.settled();
      const { where, values, order } = compileQuery(place, query);
      const total = Number(db.prepare(`SELECT count(*) AS count FROM logs WHERE ${where}`).get(...values)?.["count"]);
      const rows = db
        .prepare(`SELECT * FROM logs WHERE ${where} ORDER BY ${order} LIMIT ? OFFSET ?`)
        .all(...values, query.perPage, (query.page - 1) * query.perPage);
      return { rows: rows.map(toLog), total };
    },
    async change(place, change) {
      await queue.settled();
      await db.write(logWrites.changeLog, { ...place, change });
    },
    async delete(place, query) {
      await queue.settled();
      const { where, values, order } = compileQuery(place, query);
      const rows = db
        .prepare(`SELECT id FROM logs WHERE ${where} ORDER BY ${order} LIMIT ?`)
        .all(...values, query.perPage);
      await db.write(logWrites.deleteLogs, { ...place, ids: rows.map(({ id }) => String(id)) });
      queue.countAnew(place.accountId, place.gatewayId);
      return rows.length;
    },
    async costs(accountId, query) {
      await queue.settled();
      return readCosts(db, accountId, query);
    },
    async [Symbol.asyncDispose]() {
      await queue.settled();
    },
  };
}

function bytesOf({ request, response }: LogRow): number {
  return (request?.length ?? 0) + (response?.length ?? 0);
}

/** Rows on their way to the disk. */
class RowQueue {
  readonly #db: Database;
  #waiting: { gateway: Gateway; row: LogRow }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #dropped = 0;
  /** Of bodies that wait or are being written. */
  #bytes = 0;
  readonly #expected = new Set<Promise<unknown>>();
  /** Rows of each gateway, counted once. */
  readonly #counts = new Map<string, number>();

  constructor(db: Database) {
    this.#db = db;
  }

  push(gateway: Gateway, row: LogRow): void {
    if (this.#waiting.length >= limits.logRowsWaiting) {
      if (this.#dropped++ % 1000 === 0)
        log.warn("log rows are dropped: they come faster than they can be written", { dropped: this.#dropped });
      return;
    }
    const bytes = bytesOf(row);
    const fits = this.#bytes + bytes <= limits.logBytesWaiting;
    this.#bytes += fits ? bytes : 0;
    this.#waiting.push({ gateway, row: fits ? row : { ...row, request: null, response: null } });
    this.#timer ??= setTimeout(() => void this.settled(), limits.logFlushMs);
  }

  expect(soon: Promise<unknown>): void {
    this.#expected.add(soon);
    void Promise.allSettled([soon]).then(() => this.#expected.delete(soon));
  }

  /** Writes what waits: a reader sees every row that was recorded before it asked. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#expected);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      // A batch that fails is lost, not those after it.
      this.#writing = this.#writing
        .then(() => this.#write(batch))
        .finally(() => (this.#bytes -= batch.reduce((sum, { row }) => sum + bytesOf(row), 0)))
        .catch((error: unknown) => log.error("log rows were lost", { error, rows: batch.length }));
    }
    await this.#writing;
  }

  /** Rows of a gateway were deleted. */
  countAnew(accountId: string, gatewayId: string): void {
    this.#counts.delete(`${accountId}/${gatewayId}`);
  }

  async #write(batch: { gateway: Gateway; row: LogRow }[]): Promise<void> {
    for (const [key, group] of Map.groupBy(batch, ({ gateway }) => `${gateway.accountId}/${gateway.id}`)) {
      const gateway = group[0]?.gateway;
      if (!gateway) continue;
      const { log_management: max, log_management_strategy: strategy } = gateway.settings;
      const room = Math.max(0, (max ?? limits.logRows) - this.#countOf(key, gateway));
      const all = group.map(({ row }) => row);
      const rows = strategy === "STOP_INSERTING" ? all.slice(0, room) : all;
      const remove = Math.max(0, rows.length - room);
      await this.#db.write(logWrites.recordLogs, { accountId: gateway.accountId, gatewayId: gateway.id, rows, remove });
      this.#counts.set(key, this.#countOf(key, gateway) + rows.length - remove);
    }
  }

  #countOf(key: string, { accountId, id }: Gateway): number {
    const known = this.#counts.get(key);
    if (known !== undefined) return known;
    const sql = "SELECT count(*) AS count FROM logs WHERE account_id = ? AND gateway_id = ?";
    const count = Number(this.#db.prepare(sql).get(accountId, id)?.["count"]);
    this.#counts.set(key, count);
    return count;
  }
}

function readCosts(db: Database, accountId: string, { gatewayId, groupBy, from, to }: CostQuery): CostLine[] {
  const [expression, ...parameters] = groupExpression(groupBy);
  const rows = db
    .prepare(
      `SELECT ${expression} AS key, count(*) AS requests, sum(cached) AS cached, sum(1 - success) AS failed,
             sum(coalesce(tokens_in, 0)) AS tokens_in, sum(coalesce(tokens_out, 0)) AS tokens_out,
             sum(coalesce(cost_nano, 0)) AS cost, sum(coalesce(saved_nano, 0)) AS saved,
             sum(cost_nano IS NULL AND coalesce(tokens_in, 0) + coalesce(tokens_out, 0) > 0) AS unpriced
           FROM logs WHERE account_id = ? AND (? IS NULL OR gateway_id = ?) AND created_at >= ? AND created_at < ?
           GROUP BY 1 ORDER BY cost DESC, 1`,
    )
    .all(...parameters, accountId, gatewayId ?? null, gatewayId ?? null, from, to);
  return rows.map(toCostLine);
}

const groupColumns: Record<string, string> = {
  gateway: "gateway_id",
  provider: "provider",
  model: "model",
  route: "route",
  worker: "worker_id",
};

function groupExpression(groupBy: string): [string, ...string[]] {
  const column = groupColumns[groupBy];
  if (column !== undefined) return [column];
  if (!groupBy.startsWith("metadata."))
    throw gatewayErrors.invalid("group_by is gateway, provider, model, route, worker or metadata.<key>");
  return ["json_extract(metadata, ?)", jsonPath(groupBy.slice("metadata.".length))];
}

/** Of a column that holds text or a number. */
function asText(value: SQLOutputValue | undefined): string {
  return typeof value === "string" ? value : String(Number(value));
}

function toCostLine(row: Record<string, SQLOutputValue>): CostLine {
  return {
    key: row["key"] === null ? null : asText(row["key"]),
    requests: Number(row["requests"]),
    cached: Number(row["cached"]),
    failed: Number(row["failed"]),
    tokensIn: Number(row["tokens_in"]),
    tokensOut: Number(row["tokens_out"]),
    costNano: Number(row["cost"]),
    savedNano: Number(row["saved"]),
    unpriced: Number(row["unpriced"]),
  };
}

function toLog(row: Record<string, SQLOutputValue>): StoredLog {
  const text = (name: string) => asText(row[name]);
  const optional = (name: string) => (row[name] === null ? null : asText(row[name]));
  const number = (name: string) => Number(row[name]);
  const maybe = (name: string) => (row[name] === null ? null : Number(row[name]));
  const bytes = (name: string) => (row[name] instanceof Uint8Array ? row[name] : null);
  return {
    id: text("id"),
    accountId: text("account_id"),
    gatewayId: text("gateway_id"),
    createdAt: number("created_at"),
    provider: text("provider"),
    model: text("model"),
    path: text("path"),
    durationMs: number("duration_ms"),
    latencyMs: number("latency_ms"),
    requestType: text("request_type"),
    requestContentType: text("request_content_type"),
    responseContentType: text("response_content_type"),
    status: number("status"),
    success: row["success"] === 1,
    cached: row["cached"] === 1,
    tokensIn: maybe("tokens_in"),
    tokensOut: maybe("tokens_out"),
    costNano: maybe("cost_nano"),
    savedNano: maybe("saved_nano"),
    customCost: row["custom_cost"] === 1,
    metadata: JSON.parse(text("metadata")) as StoredLog["metadata"],
    step: number("step"),
    eventId: optional("event_id"),
    userAgent: text("user_agent"),
    authentication: row["authentication"] === 1,
    byok: row["byok"] === 1,
    route: optional("route"),
    workerId: optional("worker_id"),
    usage: row["usage"] === null ? null : (JSON.parse(text("usage")) as StoredLog["usage"]),
    attempts: JSON.parse(text("attempts")) as StoredLog["attempts"],
    feedback: maybe("feedback"),
    score: maybe("score"),
    requestSize: number("request_size"),
    responseSize: number("response_size"),
    request: bytes("request"),
    requestComplete: row["request_complete"] === 1,
    response: bytes("response"),
    responseComplete: row["response_complete"] === 1,
  };
}
