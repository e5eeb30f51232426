import { isUtf8 } from "node:buffer";
import { setImmediate } from "node:timers/promises";
import { readCacheTtl } from "#products/kv/checks.ts";
import { kvErrors } from "#products/kv/errors.ts";
import { limits, type BulkGetBody } from "#products/kv/schema.ts";
import type { KvInfo, KvStore } from "#products/kv/store.ts";

/**
 * The JSON object that answers a bulk get: key → value or null, with metadata `{value, metadata}`. Built as text: values that
 * are JSON already stand in it as they are, and no key is special (`__proto__`). `withExpiration` is the API's addition.
 * `read` gives the values.
 */
export async function bulkGetAnswer(
  read: (keys: readonly string[], cacheTtl: number | undefined) => ReturnType<KvStore["getMany"]>,
  { keys, type, withMetadata, cacheTtl }: BulkGetBody,
  { withExpiration = false } = {},
): Promise<string> {
  const as = type ?? "text";
  if (as !== "text" && as !== "json") throw kvErrors.bulkGetType(as);
  const ttlSeconds = cacheTtl === undefined || cacheTtl === null ? undefined : readCacheTtl(cacheTtl);
  const textOfValue = ({ body, metadata = "null", expiration }: KvInfo & { body: Uint8Array }) => {
    const text = as === "json" ? jsonOf(body) : JSON.stringify(textOf(body));
    if (withMetadata !== true) return text;
    const ends = withExpiration && expiration !== undefined ? `,"expiration":${expiration}` : "";
    return `{"value":${text},"metadata":${metadata}${ends}}`;
  };
  const values = await read(keys, ttlSeconds);
  const members: string[] = [];
  let sinceRest = 0;
  for (const [n, value] of values.entries()) {
    members.push(`${JSON.stringify(keys[n])}:${value ? textOfValue(value) : "null"}`);
    sinceRest += value?.sizeBytes ?? 0;
    // Others are not to wait until 25 MiB are text.
    if (sinceRest > limits.inlineBytes) {
      sinceRest = 0;
      await setImmediate();
    }
  }
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
