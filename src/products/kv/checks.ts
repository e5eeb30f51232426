import { kvErrors } from "#products/kv/errors.ts";
import { limits } from "#products/kv/schema.ts";

/** Expiry as a caller wrote it: a number of a query string, a JSON body or a binding. The ttl wins when both are given. */
export type GivenExpiry = { expiration?: string | undefined; expirationTtl?: string | undefined };

/** Refuses what no key may be. */
export function checkKey(key: string): void {
  if (key === "") throw kvErrors.keyEmpty();
  if (key === "." || key === "..") throw kvErrors.keyIllegal(key);
  checkPrefix(key);
}

export function checkPrefix(prefix: string): void {
  if (!prefix.isWellFormed()) throw kvErrors.keyNotUnicode();
  // Three bytes are the most that one UTF-16 unit becomes.
  if (prefix.length * 3 <= limits.keyBytes) return;
  const bytes = Buffer.byteLength(prefix);
  if (bytes > limits.keyBytes) throw kvErrors.keyTooLong(bytes);
}

export function checkValueLength(bytes: number): void {
  if (bytes > limits.valueBytes) throw kvErrors.valueTooLong(bytes);
}

// oxlint-disable-next-line no-control-regex
const control = /[\x00-\x1f\x7f]/;

/** `text` as it is kept: JSON that fits into one line of a header, which is how a binding gets it. */
export function checkMetadata(text: string): string {
  const bytes = Buffer.byteLength(text);
  if (bytes > limits.metadataBytes) throw kvErrors.metadataTooLong(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw kvErrors.metadataInvalid();
  }
  return control.test(text) ? JSON.stringify(value).replaceAll("\x7f", "\\u007f") : text;
}

/** When a value written at `now` ends, in seconds since 1970; null for never. Read with parseInt, as Cloudflare does. */
export function expiresAt({ expiration, expirationTtl }: GivenExpiry, now: number): number | null {
  if (expirationTtl !== undefined) {
    const ttl = Number.parseInt(expirationTtl, 10);
    if (!Number.isSafeInteger(now + ttl) || ttl <= 0) throw kvErrors.expirationTtlInvalid(expirationTtl);
    if (ttl < limits.expirationSecondsMin) throw kvErrors.expirationTtlTooShort(expirationTtl);
    return now + ttl;
  }
  if (expiration === undefined) return null;
  const at = Number.parseInt(expiration, 10);
  if (!Number.isSafeInteger(at) || at <= now) throw kvErrors.expirationInvalid(expiration);
  if (at < now + limits.expirationSecondsMin) throw kvErrors.expirationTooSoon(expiration);
  return at;
}

/** The cacheTtl of a read. It matters to `edge` namespaces only, but a wrong one is refused everywhere. */
export function readCacheTtl(given: string | number): number {
  const seconds = Number.parseInt(String(given), 10);
  if (!(seconds >= limits.cacheTtlSecondsMin)) throw kvErrors.cacheTtlTooShort(given);
  return seconds;
}
