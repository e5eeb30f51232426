import { domainToASCII } from "node:url";
import { zoneErrors } from "#products/zones/errors.ts";
import { limits } from "#products/zones/schema.ts";

/** A route pattern, taken apart. */
export type RouteParts = {
  scheme: "http" | "https" | undefined;
  /** In lower case; may begin with `*`. */
  host: string;
  /** Begins with `/`; may end with `*`. */
  path: string;
};

const withScheme = /^(https?):\/\/(.*)$/i;
const label = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/**
 * Takes a pattern of a zone apart, or says what is wrong with it
 * (https://developers.cloudflare.com/workers/configuration/routing/routes/#validity). `zone`: the zone's name.
 */
export function parsePattern(pattern: string, zone: string): RouteParts {
  const refuse = (why: string) => zoneErrors.patternInvalid(pattern, why);
  if (pattern.length > limits.patternLength) throw refuse(`it is longer than ${limits.patternLength} characters`);
  if (/[\s\p{Cc}]/u.test(pattern) || !pattern.isWellFormed()) throw refuse("it has white space or broken characters");
  if (pattern.includes("?")) throw refuse("route patterns may not contain query parameters");
  if (pattern.includes("#")) throw refuse("route patterns may not contain a fragment");
  const [, scheme, afterScheme] = withScheme.exec(pattern) ?? [];
  const rest = afterScheme ?? pattern;
  const slash = rest.indexOf("/");
  const host = hostOf(slash < 0 ? rest : rest.slice(0, slash));
  const path = slash < 0 ? "/" : pathOf(rest.slice(slash));
  if (host === undefined || (path.includes("*") && path.indexOf("*") !== path.length - 1))
    throw refuse("a wildcard (*) can only be at the start of the host name and at the end of the path");
  if (path.length > limits.patternLength) throw refuse(`its path is longer than ${limits.patternLength} characters`);
  if (!isUsableHost(host)) throw refuse(`"${host.slice(0, 300)}" is not a host name`);
  if (!includesZone(host, zone)) throw zoneErrors.patternWithoutZone(pattern);
  return { scheme: scheme?.toLowerCase() as RouteParts["scheme"], host, path };
}

/** Host of a pattern without its wildcard: where its zone is looked for. Undefined when there is none. */
export function hostInPattern(pattern: string): string | undefined {
  const rest = withScheme.exec(pattern)?.[2] ?? pattern;
  const host = (rest.split("/")[0] ?? "").toLowerCase().replace(/^\*\.?/, "");
  return host === "" ? undefined : host;
}

/** A host name as it is compared, or undefined when `text` is none. A name of numbers alone is an address. */
export function hostName(text: string): string | undefined {
  const name = toAscii(text.replace(/\.$/, ""));
  const usable =
    name.length > 0 && name.length <= limits.hostLength && name.split(".").every((part) => label.test(part));
  return usable && !/^[\d.]+$/.test(name) ? name : undefined;
}

/** Whether `host` is `zone` or below it. */
export function isWithin(host: string, zone: string): boolean {
  return host === zone || host.endsWith(`.${zone}`);
}

/** Undefined when a wildcard is not at the start. */
function hostOf(text: string): string | undefined {
  const rest = text.startsWith("*") ? text.slice(1) : text;
  if (rest.includes("*")) return undefined;
  const lead = text.slice(0, text.length - rest.length);
  const dot = lead !== "" && rest.startsWith(".") ? "." : "";
  return `${lead}${dot}${toAscii(rest.slice(dot.length)) || rest.slice(dot.length).toLowerCase()}`;
}

/** `domainToASCII` alone reads a host out of what has more in it than a host. Empty when there is none. */
function toAscii(text: string): string {
  return /^[\p{L}\p{M}\p{N}._-]+$/u.test(text) ? domainToASCII(text) : "";
}

/** Escaped as a request's path is, the wildcard kept. */
function pathOf(text: string): string {
  return encodeURI(text).replaceAll(/%25([0-9A-Fa-f]{2})/g, "%$1");
}

function isUsableHost(host: string): boolean {
  const name = host.replace(/^\*\.?/, "");
  if (name === "") return host === "*";
  // Of `*-x.example.com` the first label is only its end.
  const complete = host.startsWith("*") && !host.startsWith("*.") ? `x${name}` : name;
  return hostName(complete) === complete;
}

/** `*` stands for every host of the zone, as `*\/*` does on Cloudflare. */
function includesZone(host: string, zone: string): boolean {
  return host === "*" || host === `*${zone}` || isWithin(host.startsWith("*.") ? host.slice(2) : host, zone);
}
