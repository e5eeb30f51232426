import { r2Errors } from "#products/r2/errors.ts";
import {
  limits,
  type ByteRange,
  type Conditions,
  type EtagCondition,
  type ObjectHead,
  type ObjectOptions,
  type RangeRequest,
} from "#products/r2/schema.ts";

/** Refuses a key that is too long. Any text is a key, the empty one too; nothing about it is normalised. */
export function checkKey(key: string): void {
  // A UTF-16 unit is at most three bytes of UTF-8, so most keys need no counting.
  if (key.length * 3 > limits.keyBytes && Buffer.byteLength(key) > limits.keyBytes) throw r2Errors.keyName();
}

export function checkObjectOptions({ httpMetadata, customMetadata }: ObjectOptions): void {
  if (httpMetadata && metadataSize(httpMetadata) > limits.metadataBytes) throw r2Errors.metadataTooLarge();
  if (customMetadata && metadataSize(customMetadata) > limits.metadataBytes) throw r2Errors.metadataTooLarge();
}

/** Two bytes a character for a text that has one above U+00FF: how R2's gateway counts, after miniflare's `validator.worker.ts`. */
function metadataSize(metadata: Record<string, string | number>): number {
  let size = 0;
  for (const [name, value] of Object.entries(metadata)) size += textSize(name) + textSize(String(value));
  return size;
}

// oxlint-disable-next-line no-control-regex
const latin1 = /^[\x00-\xff]*$/;

function textSize(text: string): number {
  return latin1.test(text) ? text.length : text.length * 2;
}

/** Whether `conditions` hold for the object that is there, undefined when there is none. RFC 9110 §13.2.2, with R2's strict times. */
export function holds(conditions: Conditions, object: Pick<ObjectHead, "etag" | "uploaded"> | undefined): boolean {
  const { etagMatches, etagDoesNotMatch, uploadedBefore, uploadedAfter, secondsGranularity } = conditions;
  if (!object) return etagMatches === undefined && uploadedAfter === undefined;
  const precise = secondsGranularity ? (time: number) => Math.floor(time / 1000) : (time: number) => time;
  const uploaded = precise(object.uploaded);
  if (etagMatches) {
    // A matching tag makes the date irrelevant (RFC 9110 §13.1.4), and so does one below that differs.
    if (!etagMatches.some((etag) => matches(etag, object.etag, "strong"))) return false;
  } else if (uploadedBefore !== undefined && uploaded >= precise(uploadedBefore)) return false;
  if (etagDoesNotMatch) return !etagDoesNotMatch.some((etag) => matches(etag, object.etag, "weak"));
  return uploadedAfter === undefined || uploaded > precise(uploadedAfter);
}

function matches(condition: EtagCondition, etag: string, comparison: "strong" | "weak"): boolean {
  if (condition.type === "wildcard") return true;
  return condition.value === etag && (condition.type === "strong" || comparison === "weak");
}

/** The bytes of an object of `size` that a range means; undefined for all of them. */
export function resolveRange(range: RangeRequest | undefined, size: number): ByteRange | undefined {
  if (range === undefined) return undefined;
  if ("header" in range) return parseRangeHeader(range.header, size);
  if ("suffix" in range) {
    if (range.suffix === 0 || size === 0) throw r2Errors.range();
    const length = Math.min(range.suffix, size);
    return { offset: size - length, length };
  }
  const { offset = 0, length = size - offset } = range;
  if (offset > size || length <= 0) throw r2Errors.range();
  return { offset, length: Math.min(length, size - offset) };
}

const singleRange = /^\s*bytes\s*=\s*(\d{0,15})\s*-\s*(\d{0,15})\s*$/i;

/**
 * One satisfiable range. Anything else (several, malformed, past the end) means the whole object, as R2 does it
 * (kotx/render#18), which RFC 9110 §14.2 allows.
 */
function parseRangeHeader(header: string, size: number): ByteRange | undefined {
  const [, first, last] = singleRange.exec(header) ?? [];
  if (first === undefined || last === undefined || (first === "" && last === "")) return undefined;
  if (first === "") {
    const length = Math.min(Number(last), size);
    return length === 0 ? undefined : { offset: size - length, length };
  }
  const offset = Number(first);
  const end = last === "" ? size : Math.min(Number(last) + 1, size);
  return offset < end ? { offset, length: end - offset } : undefined;
}
