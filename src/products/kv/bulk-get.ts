import { isUtf8 } from "node:buffer";
import { checkCacheTtl } from "#products/kv/checks.ts";
import { kvErrors } from "#products/kv/errors.ts";
import type { BulkGetBody } from "#products/kv/schema.ts";
import type { KvSpace, KvStore } from "#products/kv/store.ts";

/**
 * The JSON object that answers a bulk get: key → value or null, with metadata `{value, metadata}`. Built as text: values that
 * are JSON already stand in it as they are, and no key is special (`__proto__`). `withExpiration` is the API's addition.
 */
export async function bulkGetAnswer(
  store: KvStore,
  space: KvSpace,
  { keys, type, withMetadata, cacheTtl }: BulkGetBody,
  { withExpiration = false } = {},
): Promise<string> {
  const as = type ?? "text";
  if (as !== "text" && as !== "json") throw kvErrors.bulkGetType(as);
  if (cacheTtl !== undefined && cacheTtl !== null) checkCacheTtl(cacheTtl);
  const values = await store.getMany(space, keys);
  const members = values.map((value, n) => {
    const name = JSON.stringify(keys[n]);
    if (!value) return `${name}:null`;
    const text = as === "json" ? jsonOf(value.body) : JSON.stringify(textOf(value.body));
    if (withMetadata !== true) return `${name}:${text}`;
    const expiration =
      withExpiration && value.expiration !== undefined ? `,"expiration":${String(value.expiration)}` : "";
    return `${name}:{"value":${text},"metadata":${value.metadata ?? "null"}${expiration}}`;
  });
  return `{${members.join(",")}}`;
}

function textOf(bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw kvErrors.bulkGetWrongType("text");
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
}

function jsonOf(bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw kvErrors.bulkGetWrongType("json");
  const text = textOf(bytes);
  try {
    JSON.parse(text);
  } catch {
    throw kvErrors.bulkGetWrongType("json");
  }
  return text;
}
