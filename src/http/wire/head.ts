import { flat } from "#http/wire/flat.ts";

/**
 * HTTP/1.1 message heads, byte level. The parsers accept a narrow subset and what follows them writes heads afresh, so two
 * parsers in a row can never disagree about where a message ends (request smuggling).
 */

/** How a message's body is delimited. `close`: until the peer ends the connection (responses only). */
export type Framing = { kind: "none" } | { kind: "length"; length: number } | { kind: "chunked" } | { kind: "close" };

export type RequestHead = {
  method: string;
  /** Path and query as they were sent, or the whole URL in absolute form. */
  target: string;
  /** Minor version: 1 for HTTP/1.1, 0 for HTTP/1.0. */
  minor: number;
  /** Names in lower case and values in turn; values are Latin-1 readings of the bytes, without surrounding blanks. */
  fields: string[];
  framing: Framing;
  /** Whether the peer wants the connection kept. */
  keepAlive: boolean;
  /** The protocol of `Upgrade` in lower case when `Connection` names it, else undefined. */
  upgrade: string | undefined;
  expectContinue: boolean;
};

export type ResponseHead = {
  status: number;
  reason: string;
  fields: string[];
  /** Where each field's line begins in the text, so that a proxy can copy lines as they were spelled. */
  starts: number[];
  framing: Framing;
  keepAlive: boolean;
};

/** The peer broke the protocol; `status` is what a client is told before the connection is closed. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// Visible characters, blanks, obs-text and DEL; no other control characters, so no CR, LF or NUL (RFC 9110 §5.5). DEL ends
// nothing, and workerd sends it: the key of an R2 read stands in a header as it is.
// oxlint-disable-next-line no-control-regex
const forbiddenInValue = /[\x00-\x08\x0a-\x1f]/;
// oxlint-disable-next-line no-control-regex
const forbiddenInTarget = /[\x00-\x20\x7f-\xff]/;
const digits = /^[0-9]{1,15}$/;

const blankLine = Buffer.from("\r\n\r\n");

/** Index just past the blank line that ends a head in `bytes`, or -1. `from`: where to begin to look. */
export function headEnd(bytes: Buffer, from = 0): number {
  const at = bytes.indexOf(blankLine, from);
  return at < 0 ? -1 : at + 4;
}

/** Parses a whole request head (`text` is the Latin-1 reading of its bytes, blank line included). */
export function parseRequestHead(text: string, fieldsMax: number): RequestHead {
  const lineEnd = text.indexOf("\r\n");
  const line = text.slice(0, lineEnd);
  const first = line.indexOf(" ");
  const last = line.lastIndexOf(" ");
  if (first <= 0 || last <= first) throw new WireError(400, "malformed request line");
  const method = line.slice(0, first);
  const target = line.slice(first + 1, last);
  const version = line.slice(last + 1);
  if (!token.test(method)) throw new WireError(400, "malformed method");
  if (target === "" || forbiddenInTarget.test(target)) throw new WireError(400, "malformed request target");
  if (version !== "HTTP/1.1" && version !== "HTTP/1.0")
    throw new WireError(version.startsWith("HTTP/") ? 505 : 400, "unsupported HTTP version");
  const minor = version === "HTTP/1.1" ? 1 : 0;
  const fields = parseFields(text, lineEnd + 2, fieldsMax, undefined);
  const control = readControlFields(fields);
  if (control.transferEncoding !== undefined) {
    if (minor === 0) throw new WireError(400, "Transfer-Encoding in HTTP/1.0");
    if (control.transferEncoding.toLowerCase() !== "chunked") throw new WireError(501, "unsupported Transfer-Encoding");
    if (control.contentLength !== undefined) throw new WireError(400, "both Content-Length and Transfer-Encoding");
  }
  const connection = control.connection.toLowerCase();
  return {
    method,
    target,
    minor,
    fields,
    framing: framingOf(control, { kind: "none" }),
    keepAlive: minor === 1 ? !listHas(connection, "close") : listHas(connection, "keep-alive"),
    upgrade:
      control.upgrade !== undefined && listHas(connection, "upgrade") ? control.upgrade.toLowerCase() : undefined,
    expectContinue: control.expect?.toLowerCase() === "100-continue",
  };
}

/**
 * A request head whose parts came one by one, as HTTP/2 brings them, checked by the same rules. `ended`: no body follows. One
 * whose length nobody told counts as chunked: so it goes on to a peer that speaks HTTP/1.1.
 */
export function requestHeadOf(parts: {
  method: string;
  target: string;
  fields: string[];
  ended: boolean;
}): RequestHead {
  const { method, target, fields } = parts;
  if (!token.test(method)) throw new WireError(400, "malformed method");
  if (target === "" || forbiddenInTarget.test(target)) throw new WireError(400, "malformed request target");
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? "";
    if (lowerName(name) !== name) throw new WireError(400, "malformed header name");
    if (forbiddenInValue.test(fields[i + 1] ?? "")) throw new WireError(400, "control character in a header value");
  }
  const control = readControlFields(fields);
  if (control.transferEncoding !== undefined || control.connection !== "")
    throw new WireError(400, "a header about the connection in HTTP/2");
  return {
    method,
    target,
    minor: 1,
    fields,
    framing: parts.ended ? { kind: "none" } : framingOf(control, { kind: "chunked" }),
    keepAlive: true,
    upgrade: undefined,
    expectContinue: control.expect?.toLowerCase() === "100-continue",
  };
}

/** Parses a whole response head. `bodyless`: the response to HEAD, whose framing fields announce no body. */
export function parseResponseHead(text: string, options: { fieldsMax: number; bodyless: boolean }): ResponseHead {
  const lineEnd = text.indexOf("\r\n");
  const line = text.slice(0, lineEnd);
  if (!line.startsWith("HTTP/1.1 ") && !line.startsWith("HTTP/1.0 ")) throw new WireError(502, "malformed status line");
  const status = Number(line.slice(9, 12));
  if (!(status >= 100 && status <= 999) || (line.length > 12 && line[12] !== " "))
    throw new WireError(502, "malformed status line");
  const reason = line.slice(13);
  if (forbiddenInValue.test(reason)) throw new WireError(502, "control character in the status line");
  const starts: number[] = [];
  const fields = parseFields(text, lineEnd + 2, options.fieldsMax, starts);
  const control = readControlFields(fields);
  if (
    control.transferEncoding !== undefined &&
    (control.contentLength !== undefined || control.transferEncoding.toLowerCase() !== "chunked")
  ) {
    throw new WireError(502, "unsupported response framing");
  }
  const empty = options.bodyless || status < 200 || status === 204 || status === 304;
  const connection = control.connection.toLowerCase();
  return {
    status,
    reason,
    fields,
    starts,
    framing: empty ? { kind: "none" } : framingOf(control, { kind: "close" }),
    keepAlive: line.charCodeAt(7) === 49 /* 1 */ ? !listHas(connection, "close") : listHas(connection, "keep-alive"),
  };
}

/** The first value of a field, by its lower-case name. */
export function fieldOf(fields: readonly string[], name: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1];
  return undefined;
}

function parseFields(text: string, from: number, fieldsMax: number, starts: number[] | undefined): string[] {
  const fields: string[] = [];
  let at = from;
  for (;;) {
    const end = text.indexOf("\r\n", at);
    if (end < 0) throw new WireError(400, "unterminated head");
    if (end === at) return fields;
    if (fields.length >= fieldsMax * 2) throw new WireError(431, "too many header fields");
    const colon = text.indexOf(":", at);
    if (colon < 0 || colon > end) throw new WireError(400, "malformed header field");
    const name = lowerName(text.slice(at, colon));
    const value = trimBlanks(text, colon + 1, end);
    if (forbiddenInValue.test(value)) throw new WireError(400, "control character in a header value");
    fields.push(name, value);
    starts?.push(at);
    at = end + 2;
  }
}

/** Spellings of names that were checked before, with their lower case: checking and converting one costs more than finding it. */
const knownNames = new Map<string, string>();
const knownNamesMax = 1024;
const knownNameLength = 40;

function lowerName(spelled: string): string {
  const known = knownNames.get(spelled);
  if (known !== undefined) return known;
  // A blank before the colon or at the start (obs-fold) fails here, since neither is a token character.
  if (!token.test(spelled)) throw new WireError(400, "malformed header name");
  const lower = spelled.toLowerCase();
  // When strangers have filled it with names of their own, the usual ones come back by themselves.
  if (knownNames.size >= knownNamesMax) knownNames.clear();
  if (spelled.length <= knownNameLength) knownNames.set(flat(spelled), flat(lower));
  return lower;
}

function trimBlanks(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

type ControlFields = {
  contentLength: number | undefined;
  transferEncoding: string | undefined;
  connection: string;
  upgrade: string | undefined;
  expect: string | undefined;
};

function readControlFields(fields: readonly string[]): ControlFields {
  const control: ControlFields = {
    contentLength: undefined,
    transferEncoding: undefined,
    connection: "",
    upgrade: undefined,
    expect: undefined,
  };
  for (let i = 0; i < fields.length; i += 2) {
    const value = fields[i + 1] ?? "";
    switch (fields[i] ?? "") {
      case "content-length":
        if (control.contentLength !== undefined) throw new WireError(400, "more than one Content-Length");
        if (!digits.test(value)) throw new WireError(400, "malformed Content-Length");
        control.contentLength = Number(value);
        break;
      case "transfer-encoding":
        if (control.transferEncoding !== undefined) throw new WireError(400, "more than one Transfer-Encoding");
        control.transferEncoding = value;
        break;
      case "connection":
        control.connection = control.connection === "" ? value : `${control.connection},${value}`;
        break;
      case "upgrade":
        control.upgrade = value;
        break;
      case "expect":
        control.expect = value;
        break;
      default:
    }
  }
  return control;
}

function framingOf(control: ControlFields, otherwise: Framing): Framing {
  if (control.transferEncoding !== undefined) return { kind: "chunked" };
  if (control.contentLength === undefined) return otherwise;
  return control.contentLength === 0 ? { kind: "none" } : { kind: "length", length: control.contentLength };
}

/** Whether a comma-separated list in lower case has `item`. */
function listHas(list: string, item: string): boolean {
  if (list === item) return true;
  return list.includes(",") && list.split(",").some((part) => part.trim() === item);
}
