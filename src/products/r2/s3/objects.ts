import { createHash } from "node:crypto";
import type { WireResponse } from "#http/wire/server.ts";
import { ApiError } from "#core/errors.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { conditionsFrom, httpMetadataFrom, satisfiable, type HeaderReader } from "#products/r2/object-headers.ts";
import {
  limits,
  type ByteRange,
  type HttpMetadata,
  type ObjectHead,
  type ObjectOptions,
  type RangeRequest,
  type StorageClass,
} from "#products/r2/schema.ts";
import { mayUse, quoted, xmlAnswer, type BucketCall, type ObjectCall } from "#products/r2/s3/context.ts";
import { openPayload, readXmlBody, s3Algorithms, s3Checksums } from "#products/r2/s3/payload.ts";
import { s3Errors, toS3Error } from "#products/r2/s3/s3-errors.ts";
import type { S3Request } from "#products/r2/s3/s3-request.ts";
import { parseXml, type XmlValue } from "#products/r2/s3/xml.ts";
import { serveObject } from "#products/r2/serve-object.ts";

/** `response-content-type` and so on of a GET, and the headers that they replace. */
const overrides = [
  "content-type",
  "content-language",
  "expires",
  "cache-control",
  "content-disposition",
  "content-encoding",
] as const;

export async function getObject({ request, store, bucket, key }: ObjectCall): Promise<WireResponse> {
  const withChecksums = request.amz("x-amz-checksum-mode")?.toUpperCase() === "ENABLED";
  return serveObject(
    store,
    { bucketId: bucket.id, key },
    {
      method: request.method,
      header: headerOf(request),
      parseRange,
      ...customerKeyOf(request),
      more(object) {
        const headers = storedHeaders(object, withChecksums && request.header("range") === undefined);
        for (const name of overrides) {
          const value = request.param(`response-${name}`);
          if (value !== undefined) headers[name] = value;
        }
        return headers;
      },
    },
  );
}

function storedHeaders(object: ObjectHead, withChecksums: boolean): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(object.customMetadata))
    headers[`x-amz-meta-${name.toLowerCase()}`] = value;
  if (object.storageClass === "InfrequentAccess") headers["x-amz-storage-class"] = "STANDARD_IA";
  return { ...headers, ...encryptionHeaders(object), ...(withChecksums ? checksumHeaders(object) : {}) };
}

export function checksumHeaders(object: Pick<ObjectHead, "checksums" | "compositeChecksum">): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const algorithm of s3Algorithms) {
    const hex = object.checksums[algorithm];
    if (hex === undefined) continue;
    headers[s3Checksums[algorithm].header] = Buffer.from(hex, "hex").toString("base64");
    headers["x-amz-checksum-type"] = "FULL_OBJECT";
  }
  const { compositeChecksum: composite } = object;
  const algorithm = s3Algorithms.find((name) => name === composite?.algorithm);
  if (composite && algorithm) {
    headers[s3Checksums[algorithm].header] = composite.value;
    headers["x-amz-checksum-type"] = "COMPOSITE";
  }
  return headers;
}

/** The same as elements of an answer. */
export function checksumElements(object: Pick<ObjectHead, "checksums" | "compositeChecksum">): {
  [name: string]: XmlValue;
} {
  const headers = checksumHeaders(object);
  const elements: { [name: string]: XmlValue } = {};
  for (const algorithm of s3Algorithms) {
    const { header, element } = s3Checksums[algorithm];
    if (headers[header] !== undefined) elements[element] = headers[header];
  }
  if (headers["x-amz-checksum-type"] !== undefined) elements["ChecksumType"] = headers["x-amz-checksum-type"];
  return elements;
}

function encryptionHeaders({ customerKeyMd5 }: Pick<ObjectHead, "customerKeyMd5">): Record<string, string> {
  if (customerKeyMd5 === undefined) return {};
  return {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key-md5": customerKeyMd5,
  };
}

const malformedRange = "range must be in format 'bytes=start-end', 'bytes=start-' or 'bytes=-suffix'.'";

/** Unlike the binding, which takes what it does not understand for the whole object, the S3 API says so. */
function parseRange(text: string): RangeRequest {
  const [, first = "", last = "", suffix] = /^bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))$/.exec(text) ?? [];
  if (suffix !== undefined) return { suffix: Number(suffix) };
  if (first === "") throw s3Errors.invalidArgument(malformedRange);
  if (last === "") return { offset: Number(first) };
  const length = Number(last) - Number(first) + 1;
  if (length < 1) throw s3Errors.invalidArgument("range must be positive.");
  return { offset: Number(first), length };
}

export async function putObject({ request, verified, store, bucket, key }: ObjectCall): Promise<WireResponse> {
  const options = objectOptionsOf(request);
  const onlyIf = conditionsFrom(headerOf(request));
  const { body, checksums, digests, hooks } = await openPayload(request, verified);
  const object = await store.putChecked(
    { bucketId: bucket.id, key },
    body,
    { ...options, checksums, digests, ...(onlyIf && { onlyIf }) },
    hooks,
  );
  const headers = { etag: quoted(object.etag), ...checksumHeaders(object), ...encryptionHeaders(object) };
  return { status: 200, headers };
}

/** What an object is given besides its bytes. */
export function objectOptionsOf(request: S3Request): ObjectOptions {
  const storageClass = storageClassOf(request);
  return {
    httpMetadata: httpMetadataOf(request),
    customMetadata: request.metadata(),
    ...(storageClass && { storageClass }),
    ...customerKeyOf(request),
  };
}

function httpMetadataOf(request: S3Request): HttpMetadata {
  const metadata = httpMetadataFrom(headerOf(request));
  // How the body travelled is no property of the object.
  const encodings = metadata.contentEncoding?.split(",").map((one) => one.trim());
  const kept = encodings?.filter((one) => one !== "aws-chunked" && one !== "").join(", ");
  if (kept) metadata.contentEncoding = kept;
  else delete metadata.contentEncoding;
  return metadata;
}

function storageClassOf(request: S3Request): StorageClass | undefined {
  switch (request.amz("x-amz-storage-class")) {
    case undefined:
      return undefined;
    case "STANDARD":
      return "Standard";
    case "STANDARD_IA":
      return "InfrequentAccess";
    default:
      throw s3Errors.storageClass();
  }
}

/** The customer's key for encryption, https://developers.cloudflare.com/r2/examples/ssec/. */
export function customerKeyOf(request: S3Request, prefix = "x-amz-"): { customerKey?: string } {
  const of = (name: string) => request.amz(`${prefix}server-side-encryption-customer-${name}`);
  const [algorithm, key, md5] = [of("algorithm"), of("key"), of("key-md5")];
  if (algorithm === undefined && key === undefined && md5 === undefined) return {};
  const must = (what: string) =>
    s3Errors.invalidArgument(
      `Requests specifying Server Side Encryption with Customer provided keys must provide ${what}.`,
    );
  if (key === undefined) throw must("an appropriate secret key");
  if (md5 === undefined) throw must("the client calculated MD5 of the secret key");
  if (algorithm === undefined) throw must("a valid encryption algorithm");
  if (algorithm !== "AES256") throw s3Errors.encryption();
  const bytes = Buffer.from(key, "base64");
  if (createHash("md5").update(bytes).digest("base64") !== md5) {
    throw s3Errors.invalidArgument("The calculated MD5 hash of the key did not match the hash that was provided.");
  }
  return { customerKey: bytes.toString("hex") };
}

export async function copyObject(call: ObjectCall): Promise<WireResponse> {
  const { request, store, bucket, key } = call;
  const directive = request.header("x-amz-metadata-directive") ?? "COPY";
  if (directive !== "COPY" && directive !== "REPLACE")
    throw s3Errors.invalidArgument(`metadata directive ${directive}.`);
  const source = await copySource(call);
  const sourceOnlyIf = conditionsFrom(headerOf(request), "x-amz-copy-source-");
  const onlyIf = conditionsFrom(headerOf(request));
  const { httpMetadata, customMetadata, ...rest } = objectOptionsOf(request);
  const { customerKey } = customerKeyOf(request, "x-amz-copy-source-");
  const object = await store.copy(
    source,
    { bucketId: bucket.id, key },
    {
      ...rest,
      ...(directive === "REPLACE" && httpMetadata && customMetadata && { httpMetadata, customMetadata }),
      ...(sourceOnlyIf && { sourceOnlyIf }),
      ...(onlyIf && { onlyIf }),
      ...(customerKey !== undefined && { sourceCustomerKey: customerKey }),
    },
  );
  return xmlAnswer(
    "CopyObjectResult",
    { ETag: quoted(object.etag), LastModified: new Date(object.uploaded).toISOString(), ...checksumElements(object) },
    encryptionHeaders(object),
  );
}

/** The object that a copy names, when the key may read it; another account's bucket is one that does not exist. */
export async function copySource({
  request,
  verified,
  store,
  accountId,
}: ObjectCall): Promise<{ bucketId: string; key: string }> {
  const header = request.header("x-amz-copy-source") ?? "";
  let text: string;
  try {
    text = decodeURIComponent(header.replace(/\?versionId=.*$/, ""));
  } catch {
    throw s3Errors.invalidArgument("copy source");
  }
  const source = text.startsWith("/") ? text.slice(1) : text;
  const slash = source.indexOf("/");
  if (slash < 1 || slash === source.length - 1) throw s3Errors.invalidArgument("copy source bucket name");
  const { jurisdiction } = request;
  const ref = { accountId, name: source.slice(0, slash), jurisdiction };
  if (!mayUse(verified.key, ref, false)) throw s3Errors.accessDenied();
  const { id } = await store.getBucket(ref);
  return { bucketId: id, key: source.slice(slash + 1) };
}

/** `bytes=first-last` of the source, for a part that is copied. */
export function copyRange(request: S3Request, size: number): ByteRange | undefined {
  const text = request.header("x-amz-copy-source-range");
  if (text === undefined) return undefined;
  const [, first, last] = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(text) ?? [];
  if (first === undefined || last === undefined)
    throw s3Errors.invalidArgument(`Invalid x-amz-copy-source-range: ${text}`);
  const length = Number(last) - Number(first) + 1;
  if (length < 1) throw s3Errors.invalidArgument("x-amz-copy-source-range must be positive.");
  if (Number(last) >= size) throw r2Errors.range();
  return satisfiable({ offset: Number(first), length }, size);
}

export async function deleteObject({ store, bucket, key }: ObjectCall): Promise<WireResponse> {
  await store.delete(bucket.id, [key]);
  return { status: 204, reason: "No Content" };
}

/** Up to a thousand at once; S3 tells of each one, so one that is locked does not keep the others. */
export async function deleteObjects({ request, verified, store, bucket }: BucketCall): Promise<WireResponse> {
  const root = parseXml(await readXmlBody(request, verified), "Delete");
  const keys = root.children("Object").map((object) => {
    const key = object.text("Key");
    if (key === undefined) throw s3Errors.malformedXml();
    return key;
  });
  const quiet = root.text("Quiet") ?? "false";
  if (keys.length < 1 || keys.length > limits.deleteKeys || (quiet !== "true" && quiet !== "false"))
    throw s3Errors.malformedXml();
  const errors = new Map<string, { Key: string; Code: string; Message: string }>();
  try {
    await store.delete(bucket.id, keys);
  } catch (error) {
    if (!(error instanceof ApiError) || (error.code !== 10069 && error.code !== 10020)) throw error;
    for (const key of keys) {
      await store.delete(bucket.id, [key]).catch((one: unknown) => {
        const known = toS3Error(one);
        if (!known) throw one;
        errors.set(key, { Key: key, Code: known.code, Message: known.message });
      });
    }
  }
  const deleted = quiet === "true" ? [] : keys.filter((key) => !errors.has(key)).map((key) => ({ Key: key }));
  return xmlAnswer("DeleteResult", { Deleted: deleted, Error: [...errors.values()] });
}

export function headerOf(request: S3Request): HeaderReader {
  return (name) => request.header(name);
}
