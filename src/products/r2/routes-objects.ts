import { ok, pathTail, type ApiContext } from "#http/app.ts";
import { r2Errors } from "#products/r2/errors.ts";
import {
  conditionsFrom,
  contentRange,
  httpMetadataFrom,
  objectHeaders,
  statusOf,
  type HeaderReader,
} from "#products/r2/object-headers.ts";
import {
  limits,
  type BucketRef,
  type GetOptions,
  type ListedObject,
  type ListOptions,
  type ObjectHead,
  type StorageClass,
} from "#products/r2/schema.ts";
import type { Bytes, R2Store } from "#products/r2/store.ts";

/** https://developers.cloudflare.com/api/resources/r2/subresources/buckets/subresources/objects/. */
export async function listObjects(c: ApiContext, store: R2Store, ref: BucketRef): Promise<Response> {
  const query = (name: string) => c.req.query(name) || undefined;
  const options: ListOptions = {
    includeHttp: true,
    includeCustom: true,
    limit: pageSize(query("per_page"), limits.listKeys),
  };
  for (const [name, member] of [
    ["prefix", "prefix"],
    ["delimiter", "delimiter"],
    ["cursor", "cursor"],
    ["start_after", "startAfter"],
  ] as const) {
    const value = query(name);
    if (value !== undefined) options[member] = value;
  }
  const { id } = await store.getBucket(ref);
  const { objects, delimitedPrefixes, truncated, cursor = "" } = await store.list(id, options);
  return ok(c, objects.map(listedJson), { cursor, is_truncated: truncated, delimited: delimitedPrefixes });
}

/** `per_page`, cut to what a page may hold. */
export function pageSize(text: string | undefined, most: number): number {
  if (text === undefined) return most;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw r2Errors.invalid("per_page must be a positive number.");
  return Math.min(Number(text), most);
}

/** The object's bytes as they are. wrangler takes any 404 to mean that there is no such key. */
export async function getObject(c: ApiContext, store: R2Store, ref: BucketRef): Promise<Response> {
  const key = keyOf(c, ref);
  const { id } = await store.getBucket(ref);
  const found = await store.get(id, key, getOptionsOf(c));
  if (!found) throw r2Errors.noSuchKey();
  const { object, content } = found;
  const headers = answerHeaders(object);
  if (!content) {
    if (statusOf(conditionsFrom(headerOf(c)), object) === 412) throw r2Errors.precondition();
    return new Response(null, { status: 304, headers });
  }
  const { range, bytes } = content;
  headers.set("content-length", String(range.length));
  if (range.length === object.size) return new Response(responseBody(bytes), { headers });
  headers.set("content-range", contentRange(range, object.size));
  return new Response(responseBody(bytes), { status: 206, headers });
}

export async function putObject(
  c: ApiContext,
  store: R2Store,
  ref: BucketRef,
  storageClass: StorageClass | undefined,
): Promise<Response> {
  const key = keyOf(c, ref);
  if (Number(c.req.header("content-length") ?? 0) > limits.uploadBytes) throw r2Errors.tooLarge();
  const httpMetadata = httpMetadataFrom(headerOf(c));
  const { id } = await store.getBucket(ref);
  const object = await store.put(id, key, c.req.raw.body ?? new Uint8Array(0), {
    httpMetadata,
    ...(storageClass && { storageClass }),
  });
  return ok(c, {
    key,
    version: object.version,
    size: String(object.size),
    etag: object.etag,
    uploaded: new Date(object.uploaded).toISOString(),
    storage_class: object.storageClass,
  });
}

/** Unlike the binding, the REST API tells when there was nothing to delete: 10007, alchemy-run/distilled#463. */
export async function deleteObject(c: ApiContext, store: R2Store, ref: BucketRef): Promise<Response> {
  const key = keyOf(c, ref);
  const { id } = await store.getBucket(ref);
  if ((await store.delete(id, [key])) === 0) throw r2Errors.noSuchKey();
  return ok(c, { key });
}

/** What follows in the path, exactly: wrangler leaves slashes as they are, the SDK encodes them. */
function keyOf(c: ApiContext, { name }: BucketRef): string {
  const marker = `/r2/buckets/${name}/objects/`;
  const key = new URL(c.req.url).pathname.includes(marker) ? pathTail(c, marker) : "";
  if (key === "") throw r2Errors.keyName();
  return key;
}

function headerOf(c: ApiContext): HeaderReader {
  return (name) => {
    const value = c.req.header(name);
    return value === undefined ? undefined : utf8(value);
  };
}

function answerHeaders(object: ObjectHead): Headers {
  const headers = new Headers({
    "cf-r2-storage-class": object.storageClass,
    // Anybody's bytes from the API's own origin: a browser must neither guess their type nor run them.
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
  });
  for (const [name, value] of Object.entries(objectHeaders(object))) headers.set(name, latin1(value));
  return headers;
}

function getOptionsOf(c: ApiContext): GetOptions {
  const [range, onlyIf] = [c.req.header("range"), conditionsFrom(headerOf(c))];
  return { ...(range !== undefined && { range: { header: range } }), ...(onlyIf && { onlyIf }) };
}

/** Header values travel as bytes that Node and `fetch` show as Latin-1; what R2 keeps is the UTF-8 text that they are. */
function utf8(value: string): string {
  const bytes = Buffer.from(value, "latin1");
  const text = bytes.toString("utf8");
  return Buffer.from(text, "utf8").equals(bytes) ? text : value;
}

function latin1(value: string): string {
  return Buffer.from(value, "utf8").toString("latin1");
}

function responseBody(bytes: Bytes): ConstructorParameters<typeof Response>[0] {
  // A view that may be shared is what the type allows for; nothing here is.
  return bytes instanceof Uint8Array ? (bytes as Uint8Array<ArrayBuffer>) : ReadableStream.from(bytes);
}

function listedJson({
  key,
  size,
  etag,
  uploaded,
  httpMetadata,
  customMetadata,
  storageClass,
  customerKeyMd5,
}: ListedObject) {
  const { cacheExpiry, ...http } = httpMetadata ?? {};
  return {
    key,
    size,
    etag,
    last_modified: new Date(uploaded).toISOString(),
    http_metadata: cacheExpiry === undefined ? http : { ...http, cacheExpiry: new Date(cacheExpiry).toISOString() },
    custom_metadata: customMetadata ?? {},
    storage_class: storageClass,
    ssec: customerKeyMd5 !== undefined,
  };
}
