import type { WireResponse } from "#http/wire/server.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { conditionsFrom } from "#products/r2/object-headers.ts";
import { limits, type Checksums, type UploadChecksum, type UploadedPart } from "#products/r2/schema.ts";
import { numberParam, quoted, xmlAnswer, type BucketCall, type ObjectCall } from "#products/r2/s3/context.ts";
import { encoderOf } from "#products/r2/s3/lists.ts";
import {
  checksumElements,
  checksumHeaders,
  copyRange,
  copySource,
  customerKeyOf,
  headerOf,
  objectOptionsOf,
} from "#products/r2/s3/objects.ts";
import {
  algorithmOf,
  checksumOf,
  givenChecksums,
  openPayload,
  readXmlBody,
  s3Algorithms,
  s3Checksums,
} from "#products/r2/s3/payload.ts";
import { s3Errors } from "#products/r2/s3/s3-errors.ts";
import type { S3Request } from "#products/r2/s3/s3-request.ts";
import { encode } from "#products/r2/s3/signature.ts";
import { parseXml, type Element } from "#products/r2/s3/xml.ts";
import type { UploadRef } from "#products/r2/store.ts";

export async function createUpload({ request, store, bucket, key }: ObjectCall): Promise<WireResponse> {
  const checksum = uploadChecksumOf(request);
  const uploadId = await store.createMultipartUpload(bucket.id, key, {
    ...objectOptionsOf(request),
    ...(checksum && { checksum }),
  });
  const algorithm = s3Algorithms.find((name) => name === checksum?.algorithm);
  return xmlAnswer(
    "InitiateMultipartUploadResult",
    { Bucket: bucket.name, Key: key, UploadId: uploadId },
    checksum && algorithm
      ? { "x-amz-checksum-algorithm": s3Checksums[algorithm].name, "x-amz-checksum-type": checksum.type }
      : {},
  );
}

function uploadChecksumOf(request: S3Request): UploadChecksum | undefined {
  const algorithm = algorithmOf(request.amz("x-amz-checksum-algorithm"));
  if (!algorithm) return undefined;
  const otherwise = algorithm === "crc64nvme" ? "FULL_OBJECT" : "COMPOSITE";
  const type = request.amz("x-amz-checksum-type") ?? otherwise;
  const known = type === "COMPOSITE" || type === "FULL_OBJECT" ? type : undefined;
  const possible = known === "FULL_OBJECT" ? algorithm.startsWith("crc") : algorithm !== "crc64nvme";
  if (!known || !possible) {
    throw s3Errors.invalidRequest(
      `The ${type} checksum type cannot be used with the ${s3Checksums[algorithm].name.toLowerCase()} checksum algorithm.`,
    );
  }
  return { algorithm, type: known };
}

export async function uploadPart(call: ObjectCall): Promise<WireResponse> {
  const { request, verified, store } = call;
  const part = partNumberOf(request);
  const { body, checksums, digests, hooks } = await openPayload(request, verified);
  const options = { checksums, digests, ...customerKeyOf(request) };
  const done = await store.putPartChecked(uploadOf(call), part, body, options, hooks);
  return { status: 200, headers: { etag: quoted(done.etag), ...checksumHeaders(done) } };
}

export async function uploadPartCopy(call: ObjectCall): Promise<WireResponse> {
  const { request, store } = call;
  const part = partNumberOf(request);
  const source = await copySource(call);
  const head = await store.head(source.bucketId, source.key);
  if (!head) throw r2Errors.noSuchKey();
  const onlyIf = conditionsFrom(headerOf(request), "x-amz-copy-source-");
  const range = copyRange(request, head.size);
  const found = await store.get(source.bucketId, source.key, {
    ...(range && { range }),
    ...(onlyIf && { onlyIf }),
    ...customerKeyOf(request, "x-amz-copy-source-"),
  });
  if (!found) throw r2Errors.noSuchKey();
  if (!found.content) throw r2Errors.precondition();
  const { bytes, range: read } = found.content;
  if (read.length > limits.uploadBytes) throw r2Errors.tooLarge();
  const done = await store.putPartChecked(uploadOf(call), part, bytes, customerKeyOf(request), {});
  return xmlAnswer("CopyPartResult", {
    ETag: quoted(done.etag),
    LastModified: new Date(done.uploaded).toISOString(),
    ...checksumElements(done),
  });
}

export async function completeUpload(call: ObjectCall): Promise<WireResponse> {
  const { request, verified, store, bucket, key } = call;
  // Checksums in the headers of this call are the object's, not the body's.
  const text = await readXmlBody(request, verified, { checksums: false });
  const parts = parseXml(text, "CompleteMultipartUpload").children("Part").map(partOf);
  if (parts.length === 0) throw s3Errors.malformedXml();
  for (const [at, { part }] of parts.entries()) {
    const before = parts[at - 1]?.part ?? 0;
    if (part === before) throw s3Errors.partTwice();
    if (part < before) throw s3Errors.partOrder();
  }
  const { uploadId } = uploadOf(call);
  const onlyIf = conditionsFrom(headerOf(request));
  const checksums = fullChecksums(request);
  const object = await store.completeMultipartUpload(bucket.id, key, uploadId, parts, {
    ...(onlyIf && { onlyIf }),
    ...(checksums && { checksums }),
  });
  const path = `/${bucket.name}/${key.split("/").map(encode).join("/")}`;
  return xmlAnswer("CompleteMultipartUploadResult", {
    Location: `http://${request.header("host") ?? ""}${path}`,
    Bucket: bucket.name,
    Key: key,
    ETag: quoted(object.etag),
    ...checksumElements(object),
  });
}

/** A checksum of checksums is compared by nobody but the server that made it, so only one of all bytes counts. */
function fullChecksums(request: S3Request): Checksums | undefined {
  const composite = s3Algorithms.some((one) => request.header(s3Checksums[one].header)?.includes("-"));
  return composite ? undefined : givenChecksums(request);
}

function partOf(element: Element): UploadedPart {
  const [number, etag] = [element.text("PartNumber") ?? "", element.text("ETag")];
  if (!/^\d{1,9}$/.test(number) || etag === undefined) throw s3Errors.malformedXml();
  const part = Number(number);
  if (part < 1 || part > limits.parts) throw r2Errors.noSuchPart();
  const checksums: Checksums = {};
  for (const algorithm of s3Algorithms) {
    const value = element.text(s3Checksums[algorithm].element);
    if (value !== undefined) checksums[algorithm] = checksumOf(algorithm, value);
  }
  return { part, etag: etag.replaceAll(/^"|"$/g, ""), checksums };
}

export async function abortUpload(call: ObjectCall): Promise<WireResponse> {
  await call.store.abortMultipartUpload(call.bucket.id, call.key, uploadOf(call).uploadId);
  return { status: 204, reason: "No Content" };
}

export async function listParts(call: ObjectCall): Promise<WireResponse> {
  const { request, store, bucket, key } = call;
  const limit = numberParam(request, "max-parts", limits.listKeys, limits.listKeys);
  const after = numberParam(request, "part-number-marker", 0, limits.parts);
  const ref = uploadOf(call);
  const { parts, more, storageClass, checksum } = await store.listParts(ref, { after, limit });
  const algorithm = s3Algorithms.find((name) => name === checksum?.algorithm);
  return xmlAnswer("ListPartsResult", {
    Bucket: bucket.name,
    Key: key,
    UploadId: ref.uploadId,
    PartNumberMarker: after,
    NextPartNumberMarker: parts.at(-1)?.part ?? after,
    MaxParts: limit,
    IsTruncated: more,
    StorageClass: storageClass === "Standard" ? "STANDARD" : "STANDARD_IA",
    ...(checksum && algorithm && { ChecksumAlgorithm: s3Checksums[algorithm].name, ChecksumType: checksum.type }),
    Part: parts.map((part) => {
      const { ChecksumType: _, ...checksums } = checksumElements(part);
      return {
        PartNumber: part.part,
        LastModified: new Date(part.uploaded).toISOString(),
        ETag: quoted(part.etag),
        Size: part.size,
        ...checksums,
      };
    }),
  });
}

export async function listUploads({ request, store, bucket }: BucketCall): Promise<WireResponse> {
  const encodeText = encoderOf(request);
  const limit = numberParam(request, "max-uploads", limits.listKeys, limits.listKeys);
  const [prefix, delimiter] = [request.param("prefix") ?? "", request.param("delimiter")];
  const [keyMarker, uploadIdMarker] = [request.param("key-marker"), request.param("upload-id-marker")];
  const { uploads, delimitedPrefixes, more } = await store.listUploads(bucket.id, {
    limit,
    prefix,
    ...(delimiter && { delimiter }),
    ...(keyMarker && { keyMarker }),
    ...(keyMarker && uploadIdMarker && { uploadIdMarker }),
  });
  const last = uploads.at(-1);
  const folder = delimitedPrefixes.at(-1);
  const endsWithFolder = folder !== undefined && (last === undefined || folder > last.key);
  return xmlAnswer("ListMultipartUploadsResult", {
    Bucket: bucket.name,
    KeyMarker: encodeText(keyMarker ?? ""),
    UploadIdMarker: uploadIdMarker ?? "",
    ...(more && {
      NextKeyMarker: encodeText(endsWithFolder ? folder : (last?.key ?? "")),
      NextUploadIdMarker: endsWithFolder ? "" : (last?.uploadId ?? ""),
    }),
    Prefix: encodeText(prefix),
    Delimiter: delimiter && encodeText(delimiter),
    MaxUploads: limit,
    IsTruncated: more,
    EncodingType: request.param("encoding-type"),
    Upload: uploads.map((upload) => ({
      Key: encodeText(upload.key),
      UploadId: upload.uploadId,
      Initiated: new Date(upload.created).toISOString(),
      StorageClass: upload.storageClass === "Standard" ? "STANDARD" : "STANDARD_IA",
    })),
    CommonPrefixes: delimitedPrefixes.map((one) => ({ Prefix: encodeText(one) })),
  });
}

function partNumberOf(request: S3Request): number {
  const text = request.param("partNumber") ?? "";
  const part = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (part < 1 || part > limits.parts)
    throw s3Errors.invalidArgument("Part number must be an integer between 1 and 10000, inclusive.");
  return part;
}

function uploadOf({ request, bucket, key }: ObjectCall): UploadRef {
  return { bucketId: bucket.id, key, uploadId: request.param("uploadId") ?? "" };
}
