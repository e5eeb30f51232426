import { transaction } from "#db/schema.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import type { LogChange, LogRow } from "#products/ai-gateway/schema.ts";

const columns = `id, account_id, gateway_id, created_at, provider, model, path, duration_ms, latency_ms, request_type,
  request_content_type, response_content_type, status, success, cached, tokens_in, tokens_out, cost_nano, saved_nano,
  custom_cost, metadata, step, event_id, user_agent, authentication, byok, route, worker_id, usage, attempts, request_size,
  response_size, request, request_complete, response, response_complete`;
const marks = columns.split(",").map(() => "?");

/** Rows of one gateway, and how many of its oldest make room for them. */
export type LogBatch = { accountId: string; gatewayId: string; rows: LogRow[]; remove: number };

const recordLogs = transaction(
  "ai-gateway.recordLogs",
  (db, { accountId, gatewayId, rows, remove }: LogBatch): void => {
    const insert = db.prepare(`INSERT OR IGNORE INTO logs (${columns}) VALUES (${marks.join(", ")})`);
    for (const row of rows) insert.run(...valuesOf(row));
    if (remove === 0) return;
    db.prepare(
      `DELETE FROM logs WHERE rowid IN (
       SELECT rowid FROM logs WHERE account_id = ? AND gateway_id = ? ORDER BY created_at LIMIT ?)`,
    ).run(accountId, gatewayId, remove);
  },
);

function valuesOf(row: LogRow) {
  return [
    row.id,
    row.accountId,
    row.gatewayId,
    row.createdAt,
    row.provider,
    row.model,
    row.path,
    row.durationMs,
    row.latencyMs,
    row.requestType,
    row.requestContentType,
    row.responseContentType,
    row.status,
    Number(row.success),
    Number(row.cached),
    row.tokensIn,
    row.tokensOut,
    row.costNano,
    row.savedNano,
    Number(row.customCost),
    JSON.stringify(row.metadata),
    row.step,
    row.eventId,
    row.userAgent,
    Number(row.authentication),
    Number(row.byok),
    row.route,
    row.workerId,
    row.usage === null ? null : JSON.stringify(row.usage),
    JSON.stringify(row.attempts),
    row.requestSize,
    row.responseSize,
    row.request,
    Number(row.requestComplete),
    row.response,
    Number(row.responseComplete),
  ];
}

export type LogPlace = { accountId: string; gatewayId: string; id: string };

const changeLog = transaction(
  "ai-gateway.changeLog",
  (db, { change, ...place }: LogPlace & { change: LogChange }): void => {
    const where = "WHERE account_id = ? AND gateway_id = ? AND id = ?";
    const key = [place.accountId, place.gatewayId, place.id] as const;
    const row = db.prepare(`SELECT metadata FROM logs ${where}`).get(...key);
    if (!row) throw gatewayErrors.notFound("Log");
    if (change.feedback !== undefined) db.prepare(`UPDATE logs SET feedback = ? ${where}`).run(change.feedback, ...key);
    if (change.score !== undefined) db.prepare(`UPDATE logs SET score = ? ${where}`).run(change.score, ...key);
    if (change.metadata) {
      const before = JSON.parse(String(row["metadata"])) as Record<string, unknown>;
      db.prepare(`UPDATE logs SET metadata = ? ${where}`).run(
        JSON.stringify({ ...before, ...change.metadata }),
        ...key,
      );
    }
  },
);

const deleteLogs = transaction(
  "ai-gateway.deleteLogs",
  (db, { ids, ...place }: Omit<LogPlace, "id"> & { ids: string[] }) => {
    const remove = db.prepare("DELETE FROM logs WHERE account_id = ? AND gateway_id = ? AND id = ?");
    for (const id of ids) remove.run(place.accountId, place.gatewayId, id);
  },
);

export const logWrites = { recordLogs, changeLog, deleteLogs };
export const logTransactions = [recordLogs, changeLog, deleteLogs];
