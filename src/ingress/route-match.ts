import { flat } from "#http/wire/flat.ts";
import { fieldOf } from "#http/wire/head.ts";

export type Host = {
  /** Lower case, without port and trailing dot: the key of the routing table. */
  name: string;
  /** `:8787`, or empty. */
  port: string;
};

const hostBytes = 255;
const hostName = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/;
const ipv6 = /^\[[0-9a-f:.]{2,45}\]$/;
const withPort = /^(.*?)(?::([0-9]{0,5}))?$/;

/** What a `Host` value means, or undefined when it is not a host and an optional port. */
export function parseHost(value: string): Host | undefined {
  if (value.length > hostBytes) return undefined;
  const [, written = "", digits = ""] = withPort.exec(value) ?? [];
  if (Number(digits) > 65_535) return undefined;
  const lower = written.toLowerCase();
  const name = lower.endsWith(".") ? lower.slice(0, -1) : lower;
  if (!hostName.test(name) && !ipv6.test(name)) return undefined;
  return { name: flat(name), port: digits === "" ? "" : `:${Number(digits)}` };
}

const hostsRemembered = 4096;

/** `parseHost`, remembering: the same few hosts come again and again. */
export function hostReader(): (value: string) => Host | undefined {
  const known = new Map<string, Host>();
  return (value) => {
    const found = known.get(value);
    if (found) return found;
    const host = parseHost(value);
    if (!host) return undefined;
    if (known.size >= hostsRemembered) known.clear();
    known.set(flat(value), host);
    return host;
  };
}

/**
 * Whether a host could be a version's preview (`<8 hex>-<worker>`) or an alias (`<alias>-<worker>`), directly below the app
 * domain or below an account's label there. Which of them exist only the supervisor knows.
 */
export function mayBePreview(host: string, appDomain: string): boolean {
  if (!host.endsWith(`.${appDomain}`)) return false;
  const labels = host.slice(0, -appDomain.length - 1).split(".");
  return labels.length <= 2 && /^[^-].*-.*[^-]$/.test(labels[0] ?? "");
}

const absoluteForm = /^https?:\/\/([^/?#]*)(.*)$/i;

/** Host and origin-form target of a request target in absolute form, or undefined when it is not one. */
export function splitAbsolute(target: string): { host: string; scheme: "http" | "https"; target: string } | undefined {
  const [, host, rest = ""] = absoluteForm.exec(target) ?? [];
  if (host === undefined) return undefined;
  const scheme = target[4] === ":" ? "http" : "https";
  return { host, scheme, target: rest.startsWith("/") ? rest : `/${rest}` };
}

/** What `chooseVersion` needs to know of a version in a split. They come in the order of their ids, see below. */
export type WeightedVersion = { versionId: string; weight: number };

/**
 * Which of a deployment's versions answers: the one that the request asks for, or the one that its key belongs to, or one at
 * random by weight (workers/versions-and-deployments: version-overrides, gradual-deployments/version-affinity).
 */
export function chooseVersion<V extends WeightedVersion>(
  versions: readonly V[],
  script: string,
  fields: readonly string[],
  drawing: { draw(): number },
): V | undefined {
  if (versions.length < 2) return versions[0];
  const overrides = fieldOf(fields, "cloudflare-workers-version-overrides");
  const wanted = overrides === undefined ? undefined : overrideFor(overrides, script);
  const forced = wanted === undefined ? undefined : versions.find(({ versionId }) => versionId === wanted);
  if (forced) return forced;
  const key = fieldOf(fields, "cloudflare-workers-version-key");
  const total = versions.reduce((sum, { weight }) => sum + weight, 0);
  // With a fixed order of versions, a key stays with its version while that version's share grows.
  let at = (key === undefined ? drawing.draw() : hashToUnit(key)) * total;
  for (const version of versions) {
    if (at < version.weight) return version;
    at -= version.weight;
  }
  return versions.findLast(({ weight }) => weight > 0) ?? versions[0];
}

/** The version id that an RFC 8941 dictionary of strings names for `script`. */
function overrideFor(dictionary: string, script: string): string | undefined {
  for (const entry of dictionary.split(",")) {
    const [, name, value] = /^\s*([a-z*][a-z0-9_.*-]*)\s*=\s*"([^"\\]*)"/.exec(entry) ?? [];
    if (name === script) return value;
  }
  return undefined;
}

/** FNV-1a, as a number from 0 to below 1. */
function hashToUnit(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  // FNV's high bits hardly move for short keys; this spreads them (the finalizer of MurmurHash3).
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
