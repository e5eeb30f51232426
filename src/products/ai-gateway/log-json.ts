import type { StoredLog } from "#products/ai-gateway/log-store.ts";

/** Nano-dollars as dollars, exactly as far as a JSON number goes. */
export function dollars(nano: number | null): number | null {
  return nano === null ? null : nano / 1e9;
}

/** A log row as a list shows it. */
export function logJson(row: StoredLog) {
  return {
    id: row.id,
    created_at: new Date(row.createdAt).toISOString(),
    provider: row.provider,
    model: row.model,
    model_type: row.requestType,
    path: row.path,
    duration: row.durationMs,
    request_type: row.requestType,
    request_content_type: row.requestContentType,
    response_content_type: row.responseContentType,
    status_code: row.status,
    success: row.success,
    cached: row.cached,
    tokens_in: row.tokensIn,
    tokens_out: row.tokensOut,
    cost: dollars(row.costNano),
    saved_cost: dollars(row.savedNano),
    custom_cost: row.customCost,
    metadata: row.metadata,
    step: row.step,
    event_id: row.eventId,
    feedback: row.feedback,
    score: row.score,
    user_agent: row.userAgent,
    authentication: row.authentication,
    wholesale: false,
    byok: row.byok,
    timings: { total: row.durationMs, latency: row.latencyMs },
    usage_metadata: row.usage,
    route: row.route,
    worker_id: row.workerId,
    attempts: row.attempts.map(({ costNano, durationMs, ...attempt }) => ({
      ...attempt,
      duration: durationMs,
      cost: dollars(costNano),
    })),
  };
}

/** A log row as it is shown alone, with the beginnings of its bodies. */
export function logDetailJson(row: StoredLog) {
  return {
    ...logJson(row),
    request_size: row.requestSize,
    response_size: row.responseSize,
    ...(row.request ? { request_head: textOf(row.request), request_head_complete: row.requestComplete } : {}),
    ...(row.response ? { response_head: textOf(row.response), response_head_complete: row.responseComplete } : {}),
  };
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
