import { ok, pathTail, type ApiContext } from "#http/app.ts";
import { r2Errors } from "#products/r2/errors.ts";
import {
  httpFields,
  limits,
  type BucketRef,
  type Conditions,
  type EtagCondition,
  type GetOptions,
  type HttpMetadata,
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
  const headers = objectHeaders(object);
  if (!content) return new Response(null, { status: 304, headers });
  const { range, bytes } = content;
  headers.set("content-length", String(range.length));
  if (range.length === object.size) return new Response(responseBody(bytes), { headers });
  headers.set("content-range", `bytes ${range.offset}-${range.offset + range.length - 1}/${object.size}`);
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
  const httpMetadata = httpMetadataOf(c);
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

/** Header of each member of the HTTP metadata. */
const headerNames: Record<(typeof httpFields)[number], string> = {
  contentType: "content-type",
  contentLanguage: "content-language",
  contentDisposition: "content-disposition",
  contentEncoding: "content-encoding",
  cacheControl: "cache-control",
};

function httpMetadataOf(c: ApiContext): HttpMetadata {
  const metadata: HttpMetadata = {};
  for (const field of httpFields) {
    const value = c.req.header(headerNames[field]);
    if (value !== undefined) metadata[field] = utf8(value);
  }
  const expires = timeOf(c, "expires");
  if (expires !== undefined) metadata.cacheExpiry = expires;
  return metadata;
}

function objectHeaders(object: ObjectHead): Headers {
  const headers = new Headers({
    "content-type": "application/octet-stream",
    etag: `"${object.etag}"`,
    "last-modified": new Date(object.uploaded).toUTCString(),
    "accept-ranges": "bytes",
    "cf-r2-storage-class": object.storageClass,
    // Anybody's bytes from the API's own origin: a browser must neither guess their type nor run them.
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
  });
  for (const field of httpFields) {
    const value = object.httpMetadata[field];
    if (value !== undefined) headers.set(headerNames[field], latin1(value));
  }
  const { cacheExpiry } = object.httpMetadata;
  if (cacheExpiry !== undefined) headers.set("expires", new Date(cacheExpiry).toUTCString());
  return headers;
}

function getOptionsOf(c: ApiContext): GetOptions {
  const options: GetOptions = {};
  const range = c.req.header("range");
  if (range !== undefined) options.range = { header: range };
  const [tags, since] = [c.req.header("if-none-match"), timeOf(c, "if-modified-since")];
  const onlyIf: Conditions = { secondsGranularity: true };
  if (tags !== undefined) onlyIf.etagDoesNotMatch = parseTags(tags);
  if (since !== undefined) onlyIf.uploadedAfter = since;
  if (tags !== undefined || since !== undefined) options.onlyIf = onlyIf;
  return options;
}

function parseTags(header: string): EtagCondition[] {
  if (header.trim() === "*") return [{ type: "wildcard" }];
  return [...header.matchAll(/(W\/)?"([^"]*)"/g)].map(([, weak, value = ""]) => ({
    type: weak ? "weak" : "strong",
    value,
  }));
}

function timeOf(c: ApiContext, header: string): number | undefined {
  const text = c.req.header(header);
  if (text === undefined) return undefined;
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw r2Errors.invalid(`${header} is not a date.`);
  return time;
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

function listedJson({ key, size, etag, uploaded, httpMetadata, customMetadata, storageClass }: ListedObject) {
  const { cacheExpiry, ...http } = httpMetadata ?? {};
  return {
    key,
    size,
    etag,
    last_modified: new Date(uploaded).toISOString(),
    http_metadata: cacheExpiry === undefined ? http : { ...http, cacheExpiry: new Date(cacheExpiry).toISOString() },
    custom_metadata: customMetadata ?? {},
    storage_class: storageClass,
    ssec: false,
  };
}
