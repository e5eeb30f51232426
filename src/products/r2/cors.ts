import type { WireRequest, WireResponse } from "#http/wire/server.ts";
import type { CorsRule } from "#products/r2/settings.ts";

/** https://developers.cloudflare.com/r2/buckets/cors/, and https://fetch.spec.whatwg.org/#http-cors-protocol. */

/** The answer to a preflight; undefined when no rule allows what it asks for. */
export function preflight(rules: readonly CorsRule[], wire: WireRequest): WireResponse | undefined {
  const [origin, method] = [wire.header("origin"), wire.header("access-control-request-method")];
  if (origin === undefined || method === undefined) return undefined;
  const asked = (wire.header("access-control-request-headers") ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter(Boolean);
  const rule = rules.find(
    (one) => allows(one, origin, method) && asked.every((name) => matchesAny(one.allowed.headers ?? [], name)),
  );
  if (!rule) return undefined;
  const headers: Record<string, string> = {
    ...originHeaders(rule, origin),
    "access-control-allow-methods": rule.allowed.methods.join(", "),
    vary: "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
  };
  if (asked.length > 0) headers["access-control-allow-headers"] = asked.join(", ");
  if (rule.maxAgeSeconds !== undefined) headers["access-control-max-age"] = String(rule.maxAgeSeconds);
  return { status: 204, reason: "No Content", headers };
}

/** What lets a page of another origin read an answer. */
export function corsHeaders(rules: readonly CorsRule[], wire: WireRequest): Record<string, string> {
  const origin = wire.header("origin");
  if (rules.length === 0 || origin === undefined) return {};
  const rule = rules.find((one) => allows(one, origin, wire.method));
  if (!rule) return { vary: "Origin" };
  const headers: Record<string, string> = { ...originHeaders(rule, origin), vary: "Origin" };
  if (rule.exposeHeaders?.length) headers["access-control-expose-headers"] = rule.exposeHeaders.join(", ");
  return headers;
}

function originHeaders({ allowed }: CorsRule, origin: string): Record<string, string> {
  return { "access-control-allow-origin": allowed.origins.includes("*") ? "*" : origin };
}

function allows({ allowed }: CorsRule, origin: string, method: string): boolean {
  return allowed.methods.some((one) => one === method) && matchesAny(allowed.origins, origin);
}

/** Patterns with one asterisk at most, as S3 has them. */
function matchesAny(patterns: readonly string[], text: string): boolean {
  return patterns.some((pattern) => {
    const [before = "", after] = pattern.toLowerCase().split("*", 2);
    const lower = text.toLowerCase();
    if (after === undefined) return lower === before;
    return lower.length >= before.length + after.length && lower.startsWith(before) && lower.endsWith(after);
  });
}
