import type { OutgoingHttpHeaders } from "node:http2";
import { requestHeadOf, WireError, type RequestHead } from "#http/wire/head.ts";

/**
 * A head of HTTP/2 as one of HTTP/1.1, which everything behind is made for. `raw`: names and values in turn. nghttp2 has
 * refused before what RFC 9113 §8.2 and §8.3 forbid.
 */
export function readH2Head(raw: readonly string[], options: { fieldsMax: number; ended: boolean }): RequestHead {
  const pseudo = new Map<string, string>();
  const fields: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? "";
    const value = raw[i + 1] ?? "";
    if (name.startsWith(":")) pseudo.set(name, value);
    else fields.push(name, value);
  }
  if (fields.length > options.fieldsMax * 2) throw new WireError(431, "too many header fields");
  const authority = pseudo.get(":authority");
  const method = pseudo.get(":method") ?? "";
  return requestHeadOf({
    method,
    // RFC 9113 §8.5: CONNECT names only an authority. It is refused like any other, by its method.
    target: pseudo.get(":path") ?? (method === "CONNECT" ? (authority ?? "") : ""),
    fields: authority === undefined ? fields : withAuthority(authority, fields),
    ended: options.ended,
  });
}

/** RFC 9113 §8.3.1: `:authority` stands for `Host`; one that says another thing is an attack. */
function withAuthority(authority: string, fields: readonly string[]): string[] {
  const all = ["host", authority];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? "";
    const value = fields[i + 1] ?? "";
    if (name !== "host") all.push(name, value);
    else if (value.toLowerCase() !== authority.toLowerCase())
      throw new WireError(400, "the :authority and the Host header name different hosts");
  }
  return all;
}

/** The head of an answer, from the text that a client of HTTP/1.1 would get. */
export function toH2Head(text: string): OutgoingHttpHeaders {
  const lines = text.slice(0, text.indexOf("\r\n\r\n")).split("\r\n");
  const fields = new Map<string, string[]>();
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    if (name === "connection") continue;
    const value = line.slice(colon + 1).trim();
    const before = fields.get(name);
    if (before) before.push(value);
    else fields.set(name, [value]);
  }
  const [status = ""] = lines;
  return { ":status": Number(status.slice(9, 12)), ...Object.fromEntries(fields) };
}
