import type { RoutePattern } from "#runtime/routes.ts";

/** What is asked for, as patterns see it. `target`: path and query. */
export type Asked = { host: string; target: string; scheme: "http" | "https" };

type Prepared<R> = RoutePattern & { prepared: R | null };

/** What the patterns say about a request. undefined: no pattern matches. null: one that has no Worker. */
type Found<R> = R | null | undefined;

/** Hosts whose patterns are remembered. Anybody can ask for any host, so it is bounded. */
const hostsRemembered = 4096;

/** The routes on zones, most specific first. */
export class RoutePatterns<R> {
  /** The most specific first. */
  readonly #all: readonly Prepared<R>[];
  readonly #byHost = new Map<string, readonly Prepared<R>[]>();

  constructor(patterns: readonly RoutePattern[], prepare: (pattern: RoutePattern) => R | null) {
    this.#all = patterns
      .map((pattern) => ({ ...pattern, prepared: prepare(pattern) }))
      .toSorted((a, b) => specificity(b) - specificity(a) || lengthOf(b) - lengthOf(a));
  }

  /**
   * The route of the most specific pattern that matches. `isOwn`: whoever asks is the route's own Worker, and wants what is
   * behind it (workers/configuration/routing/routes: "routes cannot be the target of a same-zone fetch()").
   */
  find(asked: Asked, isOwn?: (route: R) => boolean): Found<R> {
    if (this.#all.length === 0) return undefined;
    const candidates = this.#forHost(asked.host);
    if (candidates.length === 0) return undefined;
    const target = comparable(asked.target);
    for (const { path, scheme, prepared } of candidates) {
      if (scheme !== undefined && scheme !== asked.scheme) continue;
      if (!matchesPath(path, target)) continue;
      return prepared !== null && isOwn?.(prepared) ? undefined : prepared;
    }
    return undefined;
  }

  #forHost(host: string): readonly Prepared<R>[] {
    const known = this.#byHost.get(host);
    if (known) return known;
    const matching = this.#all.filter((pattern) => matchesHost(pattern, host));
    if (this.#byHost.size >= hostsRemembered) this.#byHost.clear();
    this.#byHost.set(host, matching);
    return matching;
  }
}

/**
 * The order that Cloudflare's own routing table has, as miniflare gives it (plugins/shared/routing: "adapted from internal
 * config service routing table implementation"), with the two results that workers/platform/known-issues#route-specificity
 * documents: any host beats any path, and `/images*` beats `/images/*`.
 */
function specificity({ host, path }: RoutePattern): number {
  const labels = host.split(".");
  const segments = path.split("/");
  const hostScore = labels.length - (labels[0] === "*" ? 2 : 0);
  const pathScore = segments.length - (segments.at(-1) === "*" ? 2 : 0);
  return hostScore * 26 + pathScore;
}

function lengthOf({ host, path }: RoutePattern): number {
  return host.length + path.length;
}

function matchesHost({ host: pattern, zone }: RoutePattern, host: string): boolean {
  if (zone !== undefined && !isWithin(host, zone)) return false;
  if (!pattern.startsWith("*")) return host === pattern;
  const rest = pattern.slice(1);
  if (rest === "") return zone !== undefined;
  // `*` stands for any characters on Cloudflare, but only a zone keeps `*example.com` from taking a stranger's `myexample.com`.
  return rest.startsWith(".") || zone !== undefined ? host.endsWith(rest) : isWithin(host, rest);
}

function isWithin(host: string, zone: string): boolean {
  return host === zone || (host.endsWith(zone) && host[host.length - zone.length - 1] === ".");
}

function matchesPath(pattern: string, target: string): boolean {
  return pattern.endsWith("*") ? target.startsWith(pattern.slice(0, -1)) : target === pattern;
}

const unusual = /%|\\|\/\/|\/\./;

/**
 * The target as patterns compare it: dot segments, doubled and backward slashes and needless escapes undone, so that no other
 * spelling of a path gets past its pattern (rules/normalization/how-it-works). The Worker gets what was sent.
 */
function comparable(target: string): string {
  const query = target.indexOf("?");
  const path = query < 0 ? target : target.slice(0, query);
  if (!unusual.test(path)) return target;
  const forward = path.replaceAll("\\", "/").replaceAll(/%[0-9a-f]{2}/gi, unescapeUnreserved);
  const kept: string[] = [];
  const segments = forward.split("/");
  for (const segment of segments) {
    if (segment === "..") kept.pop();
    else if (segment !== "." && segment !== "") kept.push(segment);
  }
  const last = segments.at(-1);
  const trailing = kept.length > 0 && (last === "" || last === "." || last === "..") ? "/" : "";
  return `/${kept.join("/")}${trailing}${query < 0 ? "" : target.slice(query)}`;
}

/** `%61` → `a`, for what RFC 3986 §2.3 calls unreserved; other escapes in upper case. */
function unescapeUnreserved(escape: string): string {
  const character = String.fromCharCode(Number.parseInt(escape.slice(1), 16));
  return /[A-Za-z0-9._~-]/.test(character) ? character : escape.toUpperCase();
}
