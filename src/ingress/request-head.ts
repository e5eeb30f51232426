import { fieldOf, type RequestHead } from "#http/wire/head.ts";

/**
 * The head that a process gets: written afresh from what was parsed, so that the two can never disagree about where a request
 * ends. What describes the connection goes, and so does every header that is ours to set; the caller adds ours.
 */
export type HeadRules = {
  /** Whether a header whose name begins with `cf-` may pass; the others of ours never do. */
  cf: (name: string) => boolean;
  /** Whether headers that tell who the client is come from the peer. So it is between Workers. */
  trusted: boolean;
};

/** Rules for what comes from outside, or from a Worker that calls a public host name. */
export const publicRules: HeadRules = { cf: isClientsCf, trusted: false };
/** The console speaks the API, which has `cf-` headers of its own (`cf-r2-storage-class`); the ones below are ours there too. */
export const consoleRules: HeadRules = {
  cf: (name) => !edgeCf.has(name) && !name.startsWith("cf-access-"),
  trusted: false,
};
/** Rules for service bindings: what a Worker puts into a request is what the other one sees. */
export const serviceRules: HeadRules = { cf: () => true, trusted: true };

/** `cf-` headers that clients set and Workers read. Every other one is Cloudflare's to set, and a client's is dropped. */
const clientsCf = ["cf-aig-", "cf-webhook-auth"];
const edgeCf = new Set([
  "cf-connecting-ip",
  "cf-connecting-ipv6",
  "cf-ray",
  "cf-visitor",
  "cf-ipcountry",
  "cf-worker",
  "cf-ew-via",
]);

function isClientsCf(name: string): boolean {
  return clientsCf.some((allowed) => name.startsWith(allowed));
}

type Rule = "connection" | "host" | "cookie" | "identity" | "private";

// `expect` is answered here; `te` says what the client takes in trailers of answers, which no Worker can send.
const rules = new Map<string, Rule>([
  ...[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "expect",
  ].map((name) => [name, "connection"] as const),
  ...["proxy-authorization", "proxy-authenticate"].map((name) => [name, "connection"] as const),
  ["host", "host"],
  ["cookie", "cookie"],
  ...["x-real-ip", "true-client-ip", "cdn-loop", "x-forwarded-for", "forwarded"].map(
    (name) => [name, "identity"] as const,
  ),
  ["x-bind", "private"],
]);

const c = 0x63;
const f = 0x66;
const x = 0x78;
const dash = 0x2d;

/** Request line, `Host`, the peer's own headers that may pass, and framing. Without the blank line: ours follow. */
export function canonicalHead(
  head: RequestHead,
  request: { target: string; host: string; upgrade: boolean },
  allowed: HeadRules,
): string {
  const { fields } = head;
  const named = namedByConnection(fields);
  // Short pieces are joined first: what is written in the end is made of fewer parts, and put together faster.
  let text = head.method + " " + request.target + " HTTP/1.1\r\nhost: " + request.host + "\r\n";
  let cookies: string | undefined;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? "";
    const rule = rules.get(name) ?? prefixRule(name, allowed);
    if (rule === undefined || (rule === "identity" && allowed.trusted)) {
      if (named === undefined || !named.has(name)) text += name + ": " + fields[i + 1] + "\r\n";
    } else if (rule === "cookie") {
      // A browser may send several (RFC 9113 §8.2.3); joined by a comma, as any other field would be, they are no cookies.
      cookies = cookies === undefined ? (fields[i + 1] ?? "") : `${cookies}; ${fields[i + 1]}`;
    }
  }
  if (cookies !== undefined) text += `cookie: ${cookies}\r\n`;
  return text + framingLines(head, request.upgrade);
}

function prefixRule(name: string, allowed: HeadRules): Rule | undefined {
  const first = name.charCodeAt(0);
  if (first === c && name.charCodeAt(1) === f && name.charCodeAt(2) === dash)
    return allowed.cf(name) ? undefined : "private";
  if (first !== x || name.charCodeAt(1) !== dash) return undefined;
  if (name.startsWith("x-forwarded-")) return "identity";
  return name.startsWith("x-solum-") ? "private" : undefined;
}

/** Headers that the peer declares to be about its connection only (RFC 9110 §7.6.1). */
function namedByConnection(fields: readonly string[]): Set<string> | undefined {
  let named: Set<string> | undefined;
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== "connection") continue;
    const value = fields[i + 1] ?? "";
    if (value === "keep-alive" || value === "close" || value === "Upgrade") continue;
    named ??= new Set();
    for (const item of value.split(",")) named.add(item.trim().toLowerCase());
  }
  return named;
}

function framingLines(head: RequestHead, upgrade: boolean): string {
  if (head.framing.kind === "length") return `content-length: ${head.framing.length}\r\n`;
  if (head.framing.kind === "chunked") return "transfer-encoding: chunked\r\n";
  if (upgrade) return "connection: upgrade\r\nupgrade: websocket\r\n";
  // A length of 0 that was said is told: Workers can see the difference.
  return fieldOf(head.fields, "content-length") !== undefined ? "content-length: 0\r\n" : "";
}
