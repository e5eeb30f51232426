import { z } from "zod";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";

/** One condition on log rows, as the API takes it. */
export const logFilter = z.looseObject({
  key: z.string(),
  /** `gte` and `lte` are ours. */
  operator: z.enum(["eq", "neq", "contains", "lt", "gt", "gte", "lte"]),
  value: z
    .array(z.union([z.string(), z.number(), z.boolean(), z.null()]))
    .min(1)
    .max(100),
});
export type LogFilter = z.infer<typeof logFilter>;

export type LogQuery = {
  page: number;
  perPage: number;
  filters: LogFilter[];
  search?: string | undefined;
  orderBy?: string | undefined;
  descending: boolean;
};

const columns: Record<string, string> = {
  id: "id",
  created_at: "created_at",
  request_content_type: "request_content_type",
  response_content_type: "response_content_type",
  request_type: "request_type",
  model_type: "request_type",
  success: "success",
  cached: "cached",
  provider: "provider",
  model: "model",
  cost: "cost_nano",
  tokens: "coalesce(tokens_in, 0) + coalesce(tokens_out, 0)",
  tokens_in: "tokens_in",
  tokens_out: "tokens_out",
  duration: "duration_ms",
  feedback: "feedback",
  event_id: "event_id",
  authentication: "authentication",
  user_agent: "user_agent",
  status_code: "status",
};

type Value = string | number | null;
type Compiled = { where: string; values: Value[]; order: string };

/** A query as SQL. What comes from outside stands in values only. */
export function compileQuery(place: { accountId: string; gatewayId: string }, query: LogQuery): Compiled {
  const conditions = ["account_id = ?", "gateway_id = ?"];
  const values: Value[] = [place.accountId, place.gatewayId];
  for (const filter of query.filters) {
    const compiled = compileFilter(filter);
    conditions.push(compiled.where);
    values.push(...compiled.values);
  }
  if (query.search) {
    conditions.push("(instr(path, ?) OR instr(model, ?) OR instr(metadata, ?) OR instr(CAST(request AS TEXT), ?))");
    values.push(query.search, query.search, query.search, query.search);
  }
  const column = columns[query.orderBy ?? "created_at"];
  if (column === undefined) throw gatewayErrors.invalid(`logs cannot be ordered by ${query.orderBy}`);
  const direction = query.descending ? "DESC" : "ASC";
  return { where: conditions.join(" AND "), values, order: `${column} ${direction}, id ${direction}` };
}

const operators = { eq: "=", neq: "<>", lt: "<", gt: ">", gte: ">=", lte: "<=" } as const;

function compileFilter({ key, operator, value }: LogFilter): { where: string; values: Value[] } {
  const { expression, before } = expressionOf(key);
  const given = value.map((one) => valueOf(key, one));
  const each = given.map((one) => {
    if (operator === "contains") return `instr(${expression}, ?) > 0`;
    if (one === null) return `${expression} IS ${operator === "neq" ? "NOT " : ""}?`;
    return `${expression} ${operators[operator]} ?`;
  });
  // `neq` of several: none of them.
  const where = `(${each.join(operator === "neq" ? " AND " : " OR ")})`;
  return {
    where: key === "metadata.key" || key === "metadata.value" ? anyEntry(where) : where,
    values: given.flatMap((one) => [...before, one]),
  };
}

function expressionOf(key: string): { expression: string; before: Value[] } {
  if (key === "metadata.key") return { expression: "entry.key", before: [] };
  if (key === "metadata.value") return { expression: "CAST(entry.value AS TEXT)", before: [] };
  // Ours: the value of one key, where Cloudflare's two filters may match two different entries.
  if (key.startsWith("metadata."))
    return { expression: "CAST(json_extract(metadata, ?) AS TEXT)", before: [jsonPath(key.slice("metadata.".length))] };
  const expression = columns[key];
  if (expression === undefined) throw gatewayErrors.invalid(`logs cannot be filtered by ${key}`);
  return { expression, before: [] };
}

function anyEntry(where: string): string {
  return `EXISTS (SELECT 1 FROM json_each(logs.metadata) AS entry WHERE ${where})`;
}

function valueOf(key: string, value: string | number | boolean | null): Value {
  if (value === null) return null;
  if (key.startsWith("metadata.")) return String(value === true ? 1 : value === false ? 0 : value);
  if (key === "created_at") {
    const time = typeof value === "number" ? value : Date.parse(String(value));
    if (Number.isNaN(time)) throw gatewayErrors.invalid(`${value} is not a time`);
    return time;
  }
  if (key === "cost") return Math.round(Number(value) * 1e9);
  if (typeof value === "boolean") return Number(value);
  if (value === "true" || value === "false") return Number(value === "true");
  return numeric.has(key) ? Number(value) : value;
}

const numeric = new Set(["tokens", "tokens_in", "tokens_out", "duration", "feedback", "status_code"]);

/** The member `key` of an object, whatever its name holds. */
export function jsonPath(key: string): string {
  if (key.includes('"')) throw gatewayErrors.invalid("a metadata key cannot hold quotation marks here");
  return `$."${key}"`;
}
