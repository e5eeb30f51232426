import { z } from "zod";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { isObject } from "#products/ai-gateway/usage.ts";

/** A dynamic route: elements that lead from `start` to models (https://developers.cloudflare.com/ai-gateway/features/dynamic-routing/json-configuration/). */
const output = z.looseObject({ elementId: z.string() });
const id = z.string().min(1).max(128);
const rateProperties = z
  .looseObject({
    key: z.string().default(""),
    limit: z.number().positive(),
    limitType: z.enum(["count", "cost"]).default("count"),
    /** Seconds; the documentation calls it `interval`. */
    window: z.number().int().positive().optional(),
    interval: z.number().int().positive().optional(),
  })
  .refine(({ window, interval }) => window !== undefined || interval !== undefined, "needs a window");

const element = z.discriminatedUnion("type", [
  z.looseObject({ id, type: z.literal("start"), outputs: z.looseObject({ next: output }) }),
  z.looseObject({
    id,
    type: z.literal("conditional"),
    properties: z.looseObject({ conditions: z.unknown(), condition: z.unknown() }),
    outputs: z.looseObject({ true: output, false: output }),
  }),
  z.looseObject({ id, type: z.literal("percentage"), outputs: z.record(z.string(), output) }),
  z.looseObject({
    id,
    type: z.literal("rate"),
    properties: rateProperties,
    outputs: z.looseObject({ success: output, fallback: output }),
  }),
  z.looseObject({
    id,
    type: z.literal("rate_limit"),
    properties: rateProperties,
    outputs: z.looseObject({ success: output, fallback: output }),
  }),
  z.looseObject({
    id,
    type: z.literal("model"),
    properties: z.looseObject({
      provider: z.string().min(1),
      model: z.string().min(1),
      /** Milliseconds to the first byte; 0 means no limit. */
      timeout: z.number().int().min(0).default(0),
      retries: z.number().int().min(0).default(0),
    }),
    outputs: z.looseObject({ success: output, fallback: output }),
  }),
  z.looseObject({ id, type: z.literal("end") }),
]);
type Element = z.infer<typeof element>;

export const routeElements = z.array(element).min(1).max(100);
export type RouteElements = z.infer<typeof routeElements>;

/** A model that a route leads to, and what of its money it has to stay within. */
export type RouteModel = {
  provider: string;
  model: string;
  timeoutMs: number;
  retries: number;
  /** Cost limits that were passed through on the way. */
  costLimits: RouteLimit[];
};

export type RouteLimit = { elementId: string; key: string; limit: number; windowSeconds: number };

/** What decides the way through a route. */
export type RouteFacts = {
  /** `metadata`, `headers` and `body` of the request. */
  values: Record<string, unknown>;
  /** From 0 up to 100. */
  chance: number;
  takesCount: (limit: RouteLimit) => boolean;
  hasMoney: (limit: RouteLimit) => boolean;
};

/** Refuses a graph that could lead nowhere or in a circle. */
export function checkGraph(elements: RouteElements): void {
  const known = new Map(elements.map((one) => [one.id, one]));
  if (known.size !== elements.length) throw gatewayErrors.invalid("two elements have the same id");
  const starts = elements.filter(({ type }) => type === "start");
  if (starts.length !== 1) throw gatewayErrors.invalid("a route has exactly one element of type start");
  const done = new Set<string>();
  const visit = (one: Element, path: readonly string[]): void => {
    if (path.includes(one.id)) throw gatewayErrors.invalid(`element ${one.id} leads back to itself`);
    if (done.has(one.id)) return;
    for (const next of nextOf(one)) {
      const found = known.get(next);
      if (!found) throw gatewayErrors.invalid(`element ${one.id} leads to ${next}, which is not there`);
      visit(found, [...path, one.id]);
    }
    done.add(one.id);
  };
  for (const one of starts) visit(one, []);
}

function nextOf(one: Element): string[] {
  if (one.type === "end") return [];
  return Object.values(one.outputs as Record<string, { elementId: string }>).map(({ elementId }) => elementId);
}

/** The models to ask, in order: the first that the facts lead to, then the fallbacks. */
export function modelsOf(elements: RouteElements, facts: RouteFacts): RouteModel[] {
  const known = new Map(elements.map((one) => [one.id, one]));
  const models: RouteModel[] = [];
  let costLimits: RouteLimit[] = [];
  let at = elements.find(({ type }) => type === "start");
  while (at && at.type !== "end") {
    if (at.type === "model") {
      const { provider, model, timeout, retries } = at.properties;
      models.push({ provider, model, timeoutMs: timeout, retries, costLimits });
    }
    const step = nextStep(at, facts);
    if (step.limit) costLimits = [...costLimits, step.limit];
    at = known.get(step.next);
  }
  return models;
}

type Step = { next: string; limit?: RouteLimit };

function nextStep(one: Exclude<Element, { type: "end" }>, facts: RouteFacts): Step {
  switch (one.type) {
    case "start":
      return { next: one.outputs.next.elementId };
    case "conditional": {
      const holds = matches(one.properties.conditions ?? one.properties.condition, facts.values);
      return { next: (holds ? one.outputs.true : one.outputs.false).elementId };
    }
    case "percentage":
      return { next: share(one.outputs, facts.chance) };
    case "rate":
    case "rate_limit": {
      const { key, limit, limitType, window, interval } = one.properties;
      const value = key === "" ? "" : JSON.stringify(valueAt(facts.values, key) ?? null);
      const rule = { elementId: one.id, key: value, limit, windowSeconds: window ?? interval ?? 1 };
      const fits = limitType === "cost" ? facts.hasMoney(rule) : facts.takesCount(rule);
      if (!fits) return { next: one.outputs.fallback.elementId };
      return { next: one.outputs.success.elementId, ...(limitType === "cost" ? { limit: rule } : {}) };
    }
    case "model":
      return { next: one.outputs.fallback.elementId };
  }
}

/** `{"10%": …, "50%": …, "else": …}`: the first whose share reaches `chance`. */
function share(outputs: Record<string, { elementId: string }>, chance: number): string {
  let reached = 0;
  for (const [name, { elementId }] of Object.entries(outputs)) {
    const percent = Number.parseFloat(name);
    if (Number.isNaN(percent)) continue;
    reached += percent;
    if (chance < reached) return elementId;
  }
  return outputs["else"]?.elementId ?? Object.values(outputs).at(-1)?.elementId ?? "";
}

/** Conditions as MongoDB writes them. What is not known holds for nothing. */
export function matches(condition: unknown, values: Record<string, unknown>): boolean {
  if (!isObject(condition)) return false;
  return Object.entries(condition).every(([name, wanted]) => {
    const all = Array.isArray(wanted) ? wanted : [];
    if (name === "$and") return all.every((one) => matches(one, values));
    if (name === "$or") return all.some((one) => matches(one, values));
    if (name === "$not") return !matches(wanted, values);
    return compares(valueAt(values, name), wanted);
  });
}

function compares(value: unknown, wanted: unknown): boolean {
  if (!isObject(wanted)) return value === wanted;
  return Object.entries(wanted).every(([operator, given]) => {
    switch (operator) {
      case "$eq":
        return value === given;
      case "$ne":
        return value !== given;
      case "$in":
        return Array.isArray(given) && given.includes(value);
      case "$nin":
        return Array.isArray(given) && !given.includes(value);
      case "$exists":
        return (value !== undefined) === given;
      case "$gt":
      case "$gte":
      case "$lt":
      case "$lte":
        return inOrder(value, operator, given);
      default:
        return false;
    }
  });
}

function inOrder(value: unknown, operator: "$gt" | "$gte" | "$lt" | "$lte", given: unknown): boolean {
  if (typeof value === "string" && typeof given === "string") return ordered(value, operator, given);
  return typeof value === "number" && typeof given === "number" && ordered(value, operator, given);
}

function ordered<T extends string | number>(a: T, operator: string, b: T): boolean {
  return operator === "$gt" ? a > b : operator === "$gte" ? a >= b : operator === "$lt" ? a < b : a <= b;
}

/** `metadata.plan`: a member's own name may hold dots, so the longest one that is there is taken. */
function valueAt(values: unknown, path: string): unknown {
  if (!isObject(values)) return undefined;
  if (Object.hasOwn(values, path)) return values[path];
  for (let dot = path.lastIndexOf("."); dot > 0; dot = path.lastIndexOf(".", dot - 1)) {
    const name = path.slice(0, dot);
    if (Object.hasOwn(values, name)) return valueAt(values[name], path.slice(dot + 1));
  }
  return undefined;
}
