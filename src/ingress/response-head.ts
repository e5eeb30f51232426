import { fieldOf, type RequestHead, type ResponseHead } from "#http/wire/head.ts";

/** What becomes of a response on its way to the client. */
export type ResponsePlan = {
  /** The chunks are opened and their content sent bare: HTTP/1.0 and HTTP/2 know no chunks. */
  dechunk: boolean;
  /** The client's connection ends with this response. */
  close: boolean;
};

export function planResponse(
  request: RequestHead,
  response: ResponseHead,
  { mayKeep, bare }: { mayKeep: boolean; bare: boolean },
): ResponsePlan {
  const dechunk = response.framing.kind === "chunked" && (request.minor === 0 || bare);
  return { dechunk, close: dechunk || response.framing.kind === "close" || !mayKeep || !request.keepAlive };
}

/** Added to what a Worker answers; undefined between Workers, where the answer is the callee's alone. */
export type Stamp = { ray: string | undefined; date: string };

const hopByHop = new Set(["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"]);

/**
 * The head that the client gets: the upstream's lines as they were spelled, without those about its connection, and with ours.
 * There is no `Server` line of our own: we are not Cloudflare, a Worker's own passes, and clients need none.
 */
export function clientHead(
  text: string,
  response: ResponseHead,
  request: RequestHead,
  plan: ResponsePlan,
  stamp: Stamp | undefined,
): string {
  const { fields, starts } = response;
  const named = namedByConnection(fields);
  let out = "HTTP/1.1";
  let from = out.length;
  let dated = false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? "";
    if (name === "date") dated = true;
    if (!isDropped(name, response, stamp) && !named?.has(name)) continue;
    out += text.slice(from, starts[i >> 1]);
    from = starts[(i >> 1) + 1] ?? text.length - 2;
  }
  out += text.slice(from, text.length - 2);
  if (stamp) out += stampLines(stamp, dated);
  if (response.framing.kind === "chunked" && !plan.dechunk) out += "Transfer-Encoding: chunked\r\n";
  if (plan.close) out += "Connection: close\r\n";
  else if (request.minor === 0) out += "Connection: keep-alive\r\n";
  return `${out}\r\n`;
}

/** The head of a switch to another protocol: the connection's lines are the message here. */
export function switchingHead(text: string, response: ResponseHead, stamp: Stamp | undefined): string {
  const dated = fieldOf(response.fields, "date") !== undefined;
  const ours = stamp ? stampLines(stamp, dated) : "";
  return `HTTP/1.1${text.slice(8, -2)}${ours}\r\n`;
}

function stampLines({ ray, date }: Stamp, dated: boolean): string {
  return (dated ? "" : `Date: ${date}\r\n`) + (ray === undefined ? "" : `CF-Ray: ${ray}\r\n`);
}

function isDropped(name: string, response: ResponseHead, stamp: Stamp | undefined): boolean {
  if (hopByHop.has(name) || isBadLength(name, response)) return true;
  return stamp !== undefined && (name === "cf-ray" || name.startsWith(privatePrefix));
}

/** Headers between us and the platform's processes; whoever repeats them in an answer, they are nobody's business. */
const privatePrefix = "x-solum-";

/** RFC 9110 §8.6: a 204 has no length. */
function isBadLength(name: string, response: ResponseHead): boolean {
  return name === "content-length" && response.status === 204;
}

function namedByConnection(fields: readonly string[]): Set<string> | undefined {
  let named: Set<string> | undefined;
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== "connection" || fields[i + 1] === "close") continue;
    named ??= new Set();
    for (const item of (fields[i + 1] ?? "").split(",")) named.add(item.trim().toLowerCase());
    // Whoever declares the length to be the connection's would make us send a body without an end.
    named.delete("content-length");
  }
  return named;
}

/**
 * What workerd answers for a Worker that threw: exactly this head, in this order, and this body (measured with 1.20261117.1).
 * A Worker's own 500 with the same body has no `Connection`, or has it last.
 */
export const exceptionBody = Buffer.from("Internal Server Error");

export function isExceptionHead(response: ResponseHead): boolean {
  const { status, reason, fields } = response;
  return (
    status === 500 &&
    reason === "Internal Server Error" &&
    fields.length === 4 &&
    fields[0] === "connection" &&
    fields[1] === "close" &&
    fields[2] === "content-length" &&
    fields[3] === "21"
  );
}
