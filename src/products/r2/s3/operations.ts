import { isCommonParam } from "#products/r2/s3/screening.ts";
import { s3Errors, type S3Error } from "#products/r2/s3/s3-errors.ts";
import type { S3Request } from "#products/r2/s3/s3-request.ts";

/** What is answered; the names are S3's. */
export type Operation =
  | "ListBuckets"
  | "CreateBucket"
  | "DeleteBucket"
  | "HeadBucket"
  | "GetBucketLocation"
  | "GetBucketEncryption"
  | "GetBucketVersioning"
  | "GetBucketTagging"
  | "GetObjectLockConfiguration"
  | "GetBucketReplication"
  | "GetBucketCors"
  | "PutBucketCors"
  | "DeleteBucketCors"
  | "GetBucketLifecycleConfiguration"
  | "PutBucketLifecycleConfiguration"
  | "DeleteBucketLifecycle"
  | "ListObjects"
  | "ListObjectsV2"
  | "ListMultipartUploads"
  | "DeleteObjects"
  | "GetObject"
  | "HeadObject"
  | "PutObject"
  | "CopyObject"
  | "DeleteObject"
  | "CreateMultipartUpload"
  | "UploadPart"
  | "UploadPartCopy"
  | "CompleteMultipartUpload"
  | "AbortMultipartUpload"
  | "ListParts";

const bucketGets: Record<string, Operation> = {
  location: "GetBucketLocation",
  uploads: "ListMultipartUploads",
  cors: "GetBucketCors",
  lifecycle: "GetBucketLifecycleConfiguration",
  encryption: "GetBucketEncryption",
  versioning: "GetBucketVersioning",
  tagging: "GetBucketTagging",
  "object-lock": "GetObjectLockConfiguration",
  replication: "GetBucketReplication",
};
const bucketPuts: Record<string, Operation> = {
  cors: "PutBucketCors",
  lifecycle: "PutBucketLifecycleConfiguration",
};
const bucketDeletes: Record<string, Operation> = {
  cors: "DeleteBucketCors",
  lifecycle: "DeleteBucketLifecycle",
};

/** Parts of S3 that R2 has not, https://developers.cloudflare.com/r2/api/s3/api/: what follows Get, Put or Delete in their names. */
const bucketParts: Record<string, string> = {
  accelerate: "BucketAccelerateConfiguration",
  acl: "BucketAcl",
  analytics: "BucketAnalyticsConfiguration",
  encryption: "BucketEncryption",
  "intelligent-tiering": "BucketIntelligentTieringConfiguration",
  inventory: "BucketInventoryConfiguration",
  logging: "BucketLogging",
  metrics: "BucketMetricsConfiguration",
  notification: "BucketNotificationConfiguration",
  "object-lock": "ObjectLockConfiguration",
  ownershipControls: "BucketOwnershipControls",
  policy: "BucketPolicy",
  policyStatus: "BucketPolicyStatus",
  publicAccessBlock: "PublicAccessBlock",
  replication: "BucketReplication",
  requestPayment: "BucketRequestPayment",
  tagging: "BucketTagging",
  versioning: "BucketVersioning",
  website: "BucketWebsite",
};
const objectParts: Record<string, string> = {
  acl: "ObjectAcl",
  attributes: "ObjectAttributes",
  "legal-hold": "ObjectLegalHold",
  retention: "ObjectRetention",
  tagging: "ObjectTagging",
  torrent: "ObjectTorrent",
  restore: "RestoreObject",
  select: "SelectObjectContent",
};
const verbs: Record<string, string> = { GET: "Get", HEAD: "Get", PUT: "Put", DELETE: "Delete", POST: "" };

const listParams = {
  ListObjects: ["prefix", "delimiter", "marker", "max-keys", "encoding-type"],
  ListObjectsV2: [
    "list-type",
    "prefix",
    "delimiter",
    "continuation-token",
    "start-after",
    "max-keys",
    "encoding-type",
    "fetch-owner",
  ],
} as const;

/** What a request asks for. Throws for what R2 does not have. */
export function operationOf(request: S3Request): Operation {
  if (request.bucket === undefined) {
    if (request.method !== "GET") throw s3Errors.noRoute();
    return "ListBuckets";
  }
  return request.key === undefined ? bucketOperation(request) : objectOperation(request);
}

function bucketOperation(request: S3Request): Operation {
  switch (request.method) {
    case "HEAD":
      return "HeadBucket";
    case "GET":
      return named(request, bucketGets) ?? listOperation(request);
    case "PUT":
      return named(request, bucketPuts) ?? bare(request, "CreateBucket");
    case "DELETE":
      return named(request, bucketDeletes) ?? bare(request, "DeleteBucket");
    case "POST":
      if (request.has("delete")) return "DeleteObjects";
      throw s3Errors.notImplemented("Presigned post requests are not yet implemented");
    default:
      throw s3Errors.noRoute();
  }
}

function named(request: S3Request, operations: Record<string, Operation>): Operation | undefined {
  for (const [name] of request.query) {
    const operation = Object.hasOwn(operations, name) ? operations[name] : undefined;
    if (operation) return operation;
  }
  const missing = missingPart(request, bucketParts);
  if (missing) throw missing;
  return undefined;
}

function missingPart({ query, method }: S3Request, parts: Record<string, string>): S3Error | undefined {
  const part = query.map(([name]) => name).find((name) => Object.hasOwn(parts, name));
  return part === undefined ? undefined : s3Errors.notImplemented(`${verbs[method] ?? ""}${parts[part]}`);
}

function bare(request: S3Request, operation: Operation): Operation {
  const others = [...new Set(request.query.map(([name]) => name))].filter((name) => !isCommonParam(name));
  if (others.length === 0) return operation;
  const list = others.map((name) => `"${name}"`).join(", ");
  throw s3Errors.invalidArgument(`Unsupported search param(s) ${list} on a ${request.method} bucket route`);
}

function listOperation(request: S3Request): Operation {
  if (request.has("versions")) throw s3Errors.notImplemented("ListObjectVersions");
  const type = request.param("list-type");
  if (type !== undefined && type !== "2") throw s3Errors.notImplemented(`ListObjectsV${type}`);
  const operation = type === "2" ? "ListObjectsV2" : "ListObjects";
  if (operation === "ListObjects" && request.has("continuation-token"))
    throw s3Errors.invalidArgument("continuation-token not supported in ListObjects");
  const known: readonly string[] = listParams[operation];
  for (const [name] of request.query) {
    if (!known.includes(name) && !isCommonParam(name))
      throw s3Errors.notImplemented(`${operation} search parameter ${name}`);
  }
  return operation;
}

function objectOperation(request: S3Request): Operation {
  const { method } = request;
  const copies = request.header("x-amz-copy-source") !== undefined;
  if (request.has("uploadId")) {
    if (method === "GET") return "ListParts";
    if (method === "POST") return "CompleteMultipartUpload";
    if (method === "DELETE") return "AbortMultipartUpload";
    if (method === "PUT" && request.has("partNumber")) return copies ? "UploadPartCopy" : "UploadPart";
    throw s3Errors.noRoute();
  }
  if (request.has("uploads") && method === "POST") return "CreateMultipartUpload";
  const missing = missingPart(request, objectParts);
  if (missing) throw missing;
  if (request.has("versionId")) throw s3Errors.notImplemented("versionId");
  switch (method) {
    case "GET":
    case "HEAD":
      if (request.has("partNumber")) throw s3Errors.notImplemented("partNumber");
      return method === "GET" ? "GetObject" : "HeadObject";
    case "PUT":
      return copies ? "CopyObject" : "PutObject";
    case "DELETE":
      return "DeleteObject";
    default:
      throw s3Errors.noRoute();
  }
}
