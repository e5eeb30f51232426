import { z } from "zod";
import { accountOf, ok, pageOf, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { gatewayOf } from "#products/ai-gateway/gateway-of.ts";
import { logFilter, type LogFilter, type LogQuery } from "#products/ai-gateway/log-query.ts";
import type { CostLine, LogStore } from "#products/ai-gateway/log-store.ts";
import { dollars, logDetailJson, logJson, textOf } from "#products/ai-gateway/log-json.ts";
import { parseData, parseJson } from "#products/ai-gateway/meter.ts";
import { limits, logChange } from "#products/ai-gateway/schema.ts";
import type { GatewayStore } from "#products/ai-gateway/store.ts";

export function logRoutes(app: Api, { gateways, logs }: { gateways: GatewayStore; logs: LogStore }): void {
  const placeOf = (c: ApiContext) => {
    const { accountId, id } = gatewayOf(c, gateways);
    return { accountId, gatewayId: id };
  };
  const logOf = (c: ApiContext) => logs.get({ ...placeOf(c), id: param(c, "log_id") });

  app.get("/gateways/:gateway_id/logs", async (c) => {
    const query = queryOf(c, pageOf(c, { perPage: 20, perPageMax: limits.logsPerPage }));
    const { rows, total } = await logs.list(placeOf(c), query);
    return ok(c, rows.map(logJson), {
      page: query.page,
      per_page: query.perPage,
      count: rows.length,
      total_count: total,
      total_pages: Math.ceil(total / query.perPage),
    });
  });
  app.delete("/gateways/:gateway_id/logs", async (c) => {
    const limit = Number(c.req.query("limit") ?? limits.logsDeleted);
    if (!(limit >= 1)) throw gatewayErrors.invalid("limit must be a positive number");
    const query = queryOf(c, { page: 1, perPage: Math.min(limit, limits.logsDeleted) });
    const deleted = await logs.delete(placeOf(c), query);
    return ok(c, { deleted });
  });
  app.get("/gateways/:gateway_id/logs/:log_id", async (c) => ok(c, logDetailJson(await logOf(c))));
  app.patch("/gateways/:gateway_id/logs/:log_id", async (c) => {
    const place = { ...placeOf(c), id: param(c, "log_id") };
    await logs.change(place, await readJson(c, logChange));
    return ok(c, logJson(await logs.get(place)));
  });
  app.get("/gateways/:gateway_id/logs/:log_id/request", async (c) => {
    const { request } = await logOf(c);
    if (!request) throw gatewayErrors.notFound("Request");
    return c.json(jsonOf(request) as object);
  });
  app.get("/gateways/:gateway_id/logs/:log_id/response", async (c) => {
    const { response } = await logOf(c);
    if (!response) throw gatewayErrors.notFound("Response");
    return c.json(jsonOf(response) as object);
  });
  // Ours: what each part of a product costs.
  app.get("/costs", async (c) => {
    const lines = await logs.costs(accountOf(c), {
      gatewayId: c.req.query("gateway_id"),
      groupBy: c.req.query("group_by") ?? "gateway",
      from: timeOf(c, "start_date", 0),
      to: timeOf(c, "end_date", Number.MAX_SAFE_INTEGER),
    });
    return ok(c, lines.map(costJson));
  });
}

const exact = [
  "provider",
  "model",
  "model_type",
  "request_content_type",
  "response_content_type",
  "feedback",
  "cached",
  "success",
];
const ranged = ["cost", "duration", "tokens_in", "tokens_out", "total_tokens"];

/** Filters as a JSON list, and the shorthands beside it. */
function queryOf(c: ApiContext, page: { page: number; perPage: number }): LogQuery {
  const filters: LogFilter[] = givenFilters(c);
  for (const key of exact) {
    const value = c.req.query(key);
    if (value !== undefined) filters.push({ key, operator: "eq", value: [value] });
  }
  for (const name of ranged) {
    const key = name === "total_tokens" ? "tokens" : name;
    const [min, max] = [c.req.query(`min_${name}`), c.req.query(`max_${name}`)];
    // The bounds themselves belong to the range; the API's own operators leave them out.
    if (min !== undefined) filters.push({ key, operator: "gte", value: [Number(min)] });
    if (max !== undefined) filters.push({ key, operator: "lte", value: [Number(max)] });
  }
  const [from, to] = [c.req.query("start_date"), c.req.query("end_date")];
  if (from !== undefined) filters.push({ key: "created_at", operator: "gte", value: [from] });
  if (to !== undefined) filters.push({ key: "created_at", operator: "lte", value: [to] });
  return {
    ...page,
    filters,
    search: c.req.query("search"),
    orderBy: c.req.query("order_by"),
    descending: (c.req.query("order_by_direction") ?? c.req.query("direction") ?? "desc") !== "asc",
  };
}

/** A JSON list, or `filters.key=…&filters.operator=…` as the SDK writes lists of objects. */
function givenFilters(c: ApiContext): LogFilter[] {
  const text = c.req.query("filters");
  const given: unknown = text === undefined ? spreadFilters(c) : parseJson(text);
  const parsed = z.array(logFilter).safeParse(given);
  if (!parsed.success) throw gatewayErrors.invalid("filters must be a list of key, operator and value");
  return parsed.data;
}

function spreadFilters(c: ApiContext): unknown[] {
  const found: { key?: string; operator?: string; value: string[] }[] = [];
  let current: (typeof found)[number] | undefined;
  for (const [name, value] of new URL(c.req.url).searchParams) {
    const member = /^filters(?:\[\d*\])?[[.](key|operator|value)\]?/.exec(name)?.[1];
    if (member === undefined) continue;
    // Lists come without an index: a member that is there already begins the next entry.
    if (!current || (member !== "value" && current[member as "key" | "operator"] !== undefined)) {
      current = { value: [] };
      found.push(current);
    }
    if (member === "value") current.value.push(value);
    else current[member as "key" | "operator"] = value;
  }
  return found;
}

function timeOf(c: ApiContext, name: string, otherwise: number): number {
  const text = c.req.query(name);
  if (text === undefined) return otherwise;
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw gatewayErrors.invalid(`${name} is not a time`);
  return time;
}

function costJson({ key, requests, cached, failed, tokensIn, tokensOut, costNano, savedNano, unpriced }: CostLine) {
  return {
    key,
    requests,
    cached,
    failed,
    tokens_in: tokensIn,
    tokens_out: tokensOut,
    cost: dollars(costNano),
    cost_nano_dollars: String(costNano),
    saved_cost: dollars(savedNano),
    unpriced_requests: unpriced,
  };
}

/** A body as JSON: a stream as the list of its events, other text as it is. */
function jsonOf(bytes: Uint8Array): unknown {
  const text = textOf(bytes);
  const whole = parseJson(text);
  if (whole !== undefined) return whole;
  const data = text.split("\n").filter((line) => line.startsWith("data:"));
  if (data.length === 0) return text;
  const events = data.map((line) => parseData(Buffer.from(line))).filter((event) => event !== undefined);
  return { streamed_data: events };
}
