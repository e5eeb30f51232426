import { r2Errors } from "#products/r2/errors.ts";
import { holds, resolveRange } from "#products/r2/rules.ts";
import {
  httpFields,
  type Conditions,
  type EtagCondition,
  type HttpMetadata,
  type ObjectHead,
  type RangeRequest,
} from "#products/r2/schema.ts";

/** A request header as text; undefined when there is none. */
export type HeaderReader = (name: string) => string | undefined;

/** Header of each member of the HTTP metadata. */
const headerNames: Record<(typeof httpFields)[number], string> = {
  contentType: "content-type",
  contentLanguage: "content-language",
  contentDisposition: "content-disposition",
  contentEncoding: "content-encoding",
  cacheControl: "cache-control",
};

/** What a put says of its object. */
export function httpMetadataFrom(header: HeaderReader): HttpMetadata {
  const metadata: HttpMetadata = {};
  for (const field of httpFields) {
    const value = header(headerNames[field]);
    if (value !== undefined) metadata[field] = value;
  }
  const text = header("expires");
  if (text === undefined) return metadata;
  const expires = Date.parse(text);
  if (Number.isNaN(expires)) throw r2Errors.invalid("expires is not a date.");
  return { ...metadata, cacheExpiry: expires };
}

/** What an answer says of its object, in texts that are still to be made bytes. */
export function objectHeaders(object: ObjectHead): Record<string, string> {
  const headers: Record<string, string> = {
    "content-type": "application/octet-stream",
    etag: `"${object.etag}"`,
    "last-modified": new Date(object.uploaded).toUTCString(),
    "accept-ranges": "bytes",
  };
  for (const field of httpFields) {
    const value = object.httpMetadata[field];
    if (value !== undefined) headers[headerNames[field]] = value;
  }
  const { cacheExpiry } = object.httpMetadata;
  if (cacheExpiry !== undefined) headers["expires"] = new Date(cacheExpiry).toUTCString();
  return headers;
}

/** The conditions in a request's headers (RFC 9110 §13.1), or in those that begin with `prefix`; undefined when it has none. */
export function conditionsFrom(header: HeaderReader, prefix = ""): Conditions | undefined {
  const conditions: Conditions = {};
  const [matches, differs] = [header(`${prefix}if-match`), header(`${prefix}if-none-match`)];
  if (matches !== undefined) conditions.etagMatches = parseTags(matches);
  if (differs !== undefined) conditions.etagDoesNotMatch = parseTags(differs);
  const since = timeOf(header(`${prefix}if-modified-since`));
  if (since !== undefined) conditions.uploadedAfter = since;
  const until = timeOf(header(`${prefix}if-unmodified-since`));
  // The second that is named still holds; `holds` is strict.
  if (until !== undefined) conditions.uploadedBefore = until + 1000;
  return Object.keys(conditions).length > 0 ? { ...conditions, secondsGranularity: true } : undefined;
}

/** How to answer for `object`: 200, 304 or 412 (RFC 9110 §13.2.2). */
export function statusOf(conditions: Conditions | undefined, object: ObjectHead): 200 | 304 | 412 {
  if (!conditions || holds(conditions, object)) return 200;
  const { etagDoesNotMatch: _, uploadedAfter: __, ...mustBe } = conditions;
  return holds(mustBe, object) ? 304 : 412;
}

/** The range to read, when the representation is still the one that `If-Range` names. */
export function rangeFrom(header: HeaderReader, object: ObjectHead): string | undefined {
  const [range, ifRange] = [header("range"), header("if-range")];
  if (range === undefined || ifRange === undefined) return range;
  const same = ifRange.startsWith('"')
    ? ifRange === `"${object.etag}"`
    : timeOf(ifRange) === Math.floor(object.uploaded / 1000) * 1000;
  return same ? range : undefined;
}

export function contentRange({ offset, length }: { offset: number; length: number }, size: number): string {
  return `bytes ${offset}-${offset + length - 1}/${size}`;
}

/** The bytes that a range means; throws when there are none, as an answer of 416 wants it. */
export function satisfiable(range: RangeRequest, size: number): { offset: number; length: number } {
  const found = resolveRange(range, size);
  if (!found || found.length === 0) throw r2Errors.range();
  return found;
}

function parseTags(header: string): EtagCondition[] {
  if (header.trim() === "*") return [{ type: "wildcard" }];
  const quoted = [...header.matchAll(/(W\/)?"([^"]*)"/g)].map(([, weak, value = ""]): EtagCondition => ({
    type: weak ? "weak" : "strong",
    value,
  }));
  // S3 takes a tag without quotes as well.
  return quoted.length > 0 ? quoted : [{ type: "strong", value: header.trim() }];
}

/** Undefined also for what is no date: such a header is ignored (RFC 9110 §13.1.3). */
function timeOf(text: string | undefined): number | undefined {
  const time = Date.parse(text ?? "");
  return Number.isNaN(time) ? undefined : time;
}
