import type { WireResponse } from "#http/wire/server.ts";
import { limits } from "#products/r2/schema.ts";
import { numberParam, quoted, xmlAnswer, type BucketCall } from "#products/r2/s3/context.ts";
import { s3Errors } from "#products/r2/s3/s3-errors.ts";
import type { S3Request } from "#products/r2/s3/s3-request.ts";
import { encode } from "#products/r2/s3/signature.ts";

export async function listObjects(call: BucketCall, version: 1 | 2): Promise<WireResponse> {
  const { request, store, bucket } = call;
  const encodeText = encoderOf(request);
  const asked = numberParam(request, "max-keys", limits.listKeys, Number.MAX_SAFE_INTEGER);
  const limit = Math.min(asked, limits.listKeys);
  const [prefix, delimiter] = [request.param("prefix") ?? "", request.param("delimiter") || undefined];
  const marker = request.param(version === 1 ? "marker" : "start-after") || undefined;
  const token = version === 2 ? request.param("continuation-token") : undefined;
  const found = await store.list(bucket.id, {
    prefix,
    // Of none one is looked at: whether there is any is what `IsTruncated` then says.
    limit: Math.max(limit, 1),
    ...(delimiter !== undefined && { delimiter }),
    ...(marker !== undefined && { startAfter: version === 1 ? afterFolder(marker, prefix, delimiter) : marker }),
    ...(token !== undefined && { cursor: token }),
  });
  const none = limit === 0;
  const objects = none ? [] : found.objects;
  const prefixes = none ? [] : found.delimitedPrefixes;
  const truncated = none ? found.objects.length + found.delimitedPrefixes.length > 0 : found.truncated;
  const [lastKey, lastFolder] = [objects.at(-1)?.key, prefixes.at(-1)];
  const last =
    lastFolder !== undefined && (lastKey === undefined || comesAfter(lastFolder, lastKey)) ? lastFolder : lastKey;
  return xmlAnswer("ListBucketResult", {
    Name: bucket.name,
    Prefix: encodeText(prefix),
    Delimiter: delimiter && encodeText(delimiter),
    MaxKeys: asked,
    EncodingType: request.param("encoding-type"),
    ...(version === 1
      ? { Marker: encodeText(marker ?? ""), NextMarker: truncated && last !== undefined ? encodeText(last) : undefined }
      : {
          KeyCount: objects.length + prefixes.length,
          StartAfter: marker && encodeText(marker),
          ContinuationToken: token,
          NextContinuationToken: !none && truncated ? found.cursor : undefined,
        }),
    IsTruncated: truncated,
    Contents: objects.map((object) => ({
      Key: encodeText(object.key),
      LastModified: new Date(object.uploaded).toISOString(),
      ETag: quoted(object.etag),
      Size: object.size,
      StorageClass: object.storageClass === "Standard" ? "STANDARD" : "STANDARD_IA",
    })),
    CommonPrefixes: prefixes.map((one) => ({ Prefix: encodeText(one) })),
  });
}

/** A marker that names a folder is past all that is in it, or the next page would begin with the same folder. */
function afterFolder(marker: string, prefix: string, delimiter: string | undefined): string {
  if (delimiter === undefined || !marker.startsWith(prefix) || !marker.endsWith(delimiter)) return marker;
  const isFolder = marker.indexOf(delimiter, prefix.length) === marker.length - delimiter.length;
  // No text of UTF-8 comes after this one and begins with the folder's name.
  return isFolder ? `${marker}\u{10ffff}` : marker;
}

function comesAfter(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) > 0;
}

/** How keys are written: as they are, or percent-encoded when the client asks for that. */
export function encoderOf(request: S3Request): (text: string) => string {
  const type = request.param("encoding-type");
  if (type === undefined) return (text) => text;
  if (type !== "url") throw s3Errors.notImplemented(`Unrecognized encoding-type "${type}"`);
  // Slashes stay as they are, as S3 leaves them.
  return (text) => encode(text).replaceAll("%2F", "/");
}
