import { isDeepStrictEqual } from "node:util";
import { kvErrors } from "#products/kv/errors.ts";
import { limits, type BulkWriteBody } from "#products/kv/schema.ts";
import type { KvPair } from "#products/kv/store.ts";

/** The pairs of a bulk write, each key once. The same key twice with different contents is refused, as nobody can say which is meant. */
export function bulkPairs(body: BulkWriteBody): KvPair[] {
  if (body.length > limits.bulkWriteKeys) throw kvErrors.bulkWriteTooMany();
  const pairs = new Map<string, KvPair>();
  for (const item of body) {
    const pair = toPair(item);
    const earlier = pairs.get(pair.key);
    if (earlier && !isDeepStrictEqual(earlier, pair)) throw kvErrors.bulkWriteDuplicate(pair.key);
    pairs.set(pair.key, pair);
  }
  return [...pairs.values()];
}

function toPair({ key, value, base64, expiration, expiration_ttl: ttl, metadata }: BulkWriteBody[number]): KvPair {
  return {
    key,
    value: base64 === true ? decodeBase64(key, value) : Buffer.from(value),
    expiration: textOf(expiration),
    expirationTtl: textOf(ttl),
    metadata: metadata === undefined ? undefined : JSON.stringify(metadata),
  };
}

function textOf(number: number | null | undefined): string | undefined {
  return number === null || number === undefined ? undefined : String(number);
}

const base64Text = /^[A-Za-z0-9+/]*={0,2}$/;

function decodeBase64(key: string, text: string): Buffer {
  const compact = text.replaceAll(/[\t\n\f\r ]/g, "");
  if (!base64Text.test(compact)) throw kvErrors.invalidBase64(key);
  return Buffer.from(compact, "base64");
}
