import type { WireResponse } from "#http/wire/server.ts";
import { r2Errors } from "#products/r2/errors.ts";
import {
  conditionsFrom,
  contentRange,
  objectHeaders,
  rangeFrom,
  satisfiable,
  statusOf,
  type HeaderReader,
} from "#products/r2/object-headers.ts";
import type { ObjectHead, RangeRequest } from "#products/r2/schema.ts";
import type { ObjectRef, R2Store } from "#products/r2/store.ts";

export type ServeOptions = {
  /** GET, or HEAD for the head alone. */
  method: string;
  header: HeaderReader;
  /** What a `Range` header means; undefined for the whole object. */
  parseRange: (text: string) => RangeRequest | undefined;
  customerKey?: string;
  /** Further headers for the object. */
  more?: (object: ObjectHead) => Record<string, string>;
};

/** An object as an HTTP answer, with conditions and a range. */
export async function serveObject(
  store: R2Store,
  { bucketId, key }: ObjectRef,
  options: ServeOptions,
): Promise<WireResponse> {
  const { header, customerKey } = options;
  const access = customerKey === undefined ? {} : { customerKey };
  // Without a range or a condition one look decides all: the object as it is found is the answer.
  const plain = options.method !== "HEAD" && header("range") === undefined && conditionsFrom(header) === undefined;
  for (;;) {
    const whole = plain ? await store.get(bucketId, key, access) : undefined;
    const object = plain ? whole?.object : await store.head(bucketId, key);
    if (!object) throw r2Errors.noSuchKey();
    const headers = { ...objectHeaders(object), ...options.more?.(object) };
    const status = statusOf(conditionsFrom(header), object);
    if (status === 412) throw r2Errors.precondition();
    if (status === 304) return { status, reason: "Not Modified", headers };
    const text = rangeFrom(header, object);
    const asked = text === undefined ? undefined : options.parseRange(text);
    const range = asked && satisfiable(asked, object.size);
    const encrypted = object.customerKeyMd5 !== undefined || customerKey !== undefined;
    const found =
      whole ??
      (options.method === "HEAD" && !encrypted
        ? { object, content: { bytes: new Uint8Array(0) } }
        : await store.get(bucketId, key, { ...(range && { range }), ...access }));
    // Replaced since the look at its head: everything above is to be decided anew.
    if (found?.object.version !== object.version || !found.content) continue;
    const answer = range
      ? {
          status: 206,
          reason: "Partial Content",
          headers: { ...headers, "content-range": contentRange(range, object.size) },
        }
      : { status: 200, headers };
    const length = range?.length ?? object.size;
    const { bytes } = found.content;
    if (options.method === "HEAD") return { ...answer, body: nothing(), length };
    return bytes instanceof Uint8Array ? { ...answer, body: bytes } : { ...answer, body: bytes, length };
  }
}

/** A body that is not sent, for an answer that tells its length all the same. */
// oxlint-disable-next-line require-await, require-yield -- What makes it a stream.
async function* nothing(): AsyncGenerator<Uint8Array, void> {}
