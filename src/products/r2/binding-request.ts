import { isUtf8 } from "node:buffer";
import { z } from "zod";
import { r2Errors } from "#products/r2/errors.ts";
import {
  checksumAlgorithms,
  storageClasses,
  type Checksums,
  type Conditions,
  type HttpMetadata,
  type ListOptions,
  type ObjectOptions,
  type PutOptions,
  type RangeRequest,
} from "#products/r2/schema.ts";

/**
 * workerd's R2BindingRequest, `src/workerd/api/r2-api.capnp`, in Cap'n Proto's JSON: 64-bit integers are texts, members that
 * were not set are absent. A negative time comes as its two's complement.
 */
const integer = z
  .union([z.int(), z.string().regex(/^\d{1,20}$/)])
  .transform((value) => (typeof value === "number" ? value : Number(BigInt.asIntN(64, BigInt(value)))));

const etag = z.discriminatedUnion("type", [
  z.object({ type: z.literal("strong"), value: z.string() }),
  z.object({ type: z.literal("weak"), value: z.string() }),
  z.object({ type: z.literal("wildcard") }),
]);
const conditional = z.object({
  etagMatches: z.array(etag).optional(),
  etagDoesNotMatch: z.array(etag).optional(),
  uploadedBefore: integer.optional(),
  uploadedAfter: integer.optional(),
  secondsGranularity: z.boolean().optional(),
});
const httpFields = z.object({
  contentType: z.string().optional(),
  contentLanguage: z.string().optional(),
  contentDisposition: z.string().optional(),
  contentEncoding: z.string().optional(),
  cacheControl: z.string().optional(),
  cacheExpiry: integer.optional(),
});
const hex = z.string().regex(/^[0-9a-f]*$/i);
/** 32 bytes in hexadecimal. */
const withKey = { object: z.string(), ssec: z.object({ key: hex }).optional() };
const objectOptions = {
  customFields: z.array(z.object({ k: z.string(), v: z.string() })).optional(),
  httpFields: httpFields.optional(),
  storageClass: z.string().optional(),
};
const upload = { ...withKey, uploadId: z.string() };

const readRequest = z.discriminatedUnion("method", [
  z.object({ method: z.literal("head"), ...withKey }),
  z.object({
    method: z.literal("get"),
    ...withKey,
    range: z.object({ offset: integer.optional(), length: integer.optional(), suffix: integer.optional() }).optional(),
    rangeHeader: z.string().optional(),
    onlyIf: conditional.optional(),
  }),
  z.object({
    method: z.literal("list"),
    limit: z.int().optional(),
    prefix: z.string().optional(),
    cursor: z.string().optional(),
    delimiter: z.string().optional(),
    startAfter: z.string().optional(),
    include: z.array(z.int()).optional(),
    newRuntime: z.boolean().optional(),
  }),
]);

const writeRequest = z.discriminatedUnion("method", [
  z.object({
    method: z.literal("put"),
    ...withKey,
    ...objectOptions,
    onlyIf: conditional.optional(),
    md5: z.base64().optional(),
    sha1: hex.optional(),
    sha256: hex.optional(),
    sha384: hex.optional(),
    sha512: hex.optional(),
  }),
  z.object({ method: z.literal("delete"), object: z.string().optional(), objects: z.array(z.string()).optional() }),
  z.object({ method: z.literal("createMultipartUpload"), ...withKey, ...objectOptions }),
  z.object({ method: z.literal("uploadPart"), ...upload, partNumber: z.int() }),
  z.object({
    method: z.literal("completeMultipartUpload"),
    ...upload,
    parts: z.array(z.object({ part: z.int(), etag: z.string() })),
  }),
  z.object({ method: z.literal("abortMultipartUpload"), ...upload }),
]);

/** What comes in a header. */
export type ReadRequest = z.infer<typeof readRequest>;
/** What comes before a body. */
export type WriteRequest = z.infer<typeof writeRequest>;
export type GetRequest = Extract<ReadRequest, { method: "get" }>;
type ListRequest = Extract<ReadRequest, { method: "list" }>;
type PutRequest = Extract<WriteRequest, { method: "put" }>;
type CreateRequest = Extract<WriteRequest, { method: "createMultipartUpload" }>;

export function parseRead(bytes: Buffer): ReadRequest {
  return parseRequest(readRequest, bytes);
}

export function parseWrite(bytes: Buffer): WriteRequest {
  return parseRequest(writeRequest, bytes);
}

/** A request as its bytes say it. A key that is not Unicode, such as half a surrogate pair, could not be kept exactly. */
function parseRequest<T extends object>(schema: z.ZodType<T>, bytes: Buffer): T {
  if (!isUtf8(bytes)) throw r2Errors.keyName();
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString());
  } catch {
    throw r2Errors.invalid("The request is not JSON.");
  }
  const { success, data, error } = schema.safeParse(json);
  if (!success) {
    const issue = error.issues[0];
    throw r2Errors.invalid(`The request is not one of R2's: ${issue?.path.join(".")} ${issue?.message}`);
  }
  return data;
}

export function rangeOf({ range, rangeHeader }: GetRequest): RangeRequest | undefined {
  if (rangeHeader !== undefined) return { header: rangeHeader };
  if (!range) return undefined;
  const { offset, length, suffix } = range;
  if (suffix !== undefined) return { suffix };
  // cloudflare/workerd#6759: what R2 answers to a range without members.
  if (offset === undefined && length === undefined) throw r2Errors.internal();
  return present({ offset, length });
}

/** The key that the customer brings, when there is one. */
export function keyOf({ ssec }: { ssec?: { key: string } | undefined }): { customerKey?: string } {
  return ssec ? { customerKey: ssec.key } : {};
}

export function conditionsOf(onlyIf: GetRequest["onlyIf"]): Conditions | undefined {
  return onlyIf && present(onlyIf);
}

export function objectOptionsOf(request: PutRequest | CreateRequest): ObjectOptions {
  const options: ObjectOptions = keyOf(request);
  if (request.httpFields) options.httpMetadata = present(request.httpFields) satisfies HttpMetadata;
  if (request.customFields) options.customMetadata = Object.fromEntries(request.customFields.map(({ k, v }) => [k, v]));
  if (request.storageClass !== undefined) {
    const storageClass = storageClasses.find((name) => name === request.storageClass);
    if (!storageClass) throw r2Errors.storageClass();
    options.storageClass = storageClass;
  }
  return options;
}

export function putOptionsOf(request: PutRequest): PutOptions {
  const options: PutOptions = objectOptionsOf(request);
  const onlyIf = conditionsOf(request.onlyIf);
  if (onlyIf) options.onlyIf = onlyIf;
  const checksums: Checksums = {};
  for (const algorithm of checksumAlgorithms) {
    const given = request[algorithm];
    if (given === undefined) continue;
    checksums[algorithm] = algorithm === "md5" ? Buffer.from(given, "base64").toString("hex") : given.toLowerCase();
    options.checksums = checksums;
  }
  return options;
}

/** `include` lists what to bring: 0 for HTTP metadata, 1 for custom metadata. Runtimes before July 2022 got both. */
export function listOptionsOf(request: ListRequest): ListOptions {
  const { prefix, cursor, delimiter, startAfter, limit, include = [], newRuntime = false } = request;
  return {
    ...present({ prefix, cursor, delimiter, startAfter, limit }),
    includeHttp: !newRuntime || include.includes(0),
    includeCustom: !newRuntime || include.includes(1),
  };
}

/** Without the members that are undefined. */
function present<T extends object>(members: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept = Object.entries(members).filter(([, value]) => value !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]: Exclude<T[K], undefined> };
}
