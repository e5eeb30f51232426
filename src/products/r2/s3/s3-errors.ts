import { ApiError } from "#core/errors.ts";

/** An error of the S3 API: an XML document with a code by name. */
export class S3Error extends Error {
  override readonly name = "S3Error";
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Texts that are R2's own were seen in miniflare's S3 endpoint (`workers-sdk`, `workers/r2/s3`), which reproduces them; others are S3's. */
export const s3Errors = {
  invalidArgument: (why: string) => new S3Error(400, "InvalidArgument", why),
  invalidRequest: (why: string) => new S3Error(400, "InvalidRequest", why),
  notImplemented: (what: string) => new S3Error(501, "NotImplemented", `${what} not implemented`),
  header: (name: string, value: string) =>
    new S3Error(501, "NotImplemented", `Header '${name}' with value '${value}' not implemented`),
  noRoute: () => new S3Error(404, "RouteNotFound", "No route matches this url."),
  unauthorized: () => new S3Error(401, "Unauthorized", "Unauthorized"),
  accessDenied: (why = "Access Denied") => new S3Error(403, "AccessDenied", why),
  algorithm: () => new S3Error(400, "InvalidRequest", "Please use AWS4-HMAC-SHA256"),
  /** Nothing of what we computed is shown: it would help whoever guesses, and a client knows what it signed. */
  signature: () =>
    new S3Error(
      403,
      "SignatureDoesNotMatch",
      "The request signature we calculated does not match the signature you provided. Check your secret access key and signing method.",
    ),
  skewed: () =>
    new S3Error(
      403,
      "RequestTimeTooSkewed",
      "The difference between the request time and the server's time is too large.",
    ),
  expired: () => new S3Error(403, "ExpiredRequest", "Request has expired"),
  notYet: () => new S3Error(403, "AccessDenied", "Request is not yet valid"),
  region: (name: string) =>
    new S3Error(
      400,
      "InvalidRegionName",
      `The region name '${name}' is not valid. Must be one of: wnam, enam, weur, eeur, apac, oc, auto`,
    ),
  unsignedHeaders: () =>
    new S3Error(403, "AccessDenied", "There were headers present in the request which were not signed"),
  payloadHash: () =>
    new S3Error(
      400,
      "XAmzContentSHA256Mismatch",
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    ),
  malformedXml: () =>
    new S3Error(
      400,
      "MalformedXML",
      "The XML you provided was not well formed or did not validate against our published schema.",
    ),
  invalidDigest: () => new S3Error(400, "InvalidDigest", "The checksum or Content-MD5 you specified is not valid."),
  incompleteBody: () => new S3Error(400, "IncompleteBody", "The request body terminated unexpectedly"),
  chunks: (why: string) => new S3Error(400, "InvalidChunk", why),
  trailer: () =>
    new S3Error(400, "MalformedTrailerError", "The request contained trailing data that was not well-formed."),
  noLength: () => new S3Error(411, "MissingContentLength", "You must provide the Content-Length HTTP header."),
  tooLarge: () => new S3Error(413, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size."),
  storageClass: () => new S3Error(400, "InvalidStorageClass", "The storage class specified is not valid."),
  encryption: () =>
    new S3Error(
      400,
      "InvalidEncryptionAlgorithmError",
      "The encryption request that you specified is not valid. The valid value is AES256.",
    ),
  partOrder: () =>
    new S3Error(
      400,
      "InvalidPartOrder",
      "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
    ),
  partTwice: () => new S3Error(400, "InvalidPart", "There was a problem with the multipart upload."),
  noCors: () => new S3Error(404, "NoSuchCORSConfiguration", "The CORS configuration does not exist."),
  noLifecycle: () => new S3Error(404, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist."),
  corsForbidden: () => new S3Error(403, "AccessForbidden", "CORSResponse: This CORS request is not allowed."),
  maxKeys: () => new S3Error(400, "InvalidMaxKeys", "MaxKeys params must be positive integer <= 1000."),
};

/** R2's numbers and their names, https://developers.cloudflare.com/r2/api/error-codes/. */
const names: Record<number, string> = {
  10001: "InternalError",
  10003: "AccessDenied",
  10004: "BucketAlreadyOwnedByYou",
  10005: "InvalidBucketName",
  10006: "NoSuchBucket",
  10007: "NoSuchKey",
  10008: "BucketNotEmpty",
  10009: "TooManyBuckets",
  10011: "EntityTooSmall",
  10012: "MetadataTooLarge",
  10020: "InvalidObjectName",
  10022: "InvalidMaxKeys",
  10024: "NoSuchUpload",
  10025: "InvalidPart",
  10027: "MalformedXML",
  10029: "InvalidRequest",
  10031: "PreconditionFailed",
  10037: "BadDigest",
  10039: "InvalidRange",
  10048: "InvalidPart",
  10069: "ObjectLockedByBucketPolicy",
  100100: "EntityTooLarge",
  // Ours, for a full disk and for too many writes that wait.
  10500: "InsufficientStorage",
  10501: "SlowDown",
};

/** Any error as the S3 API shows it; undefined for a bug. */
export function toS3Error(error: unknown): S3Error | undefined {
  if (error instanceof S3Error) return error;
  if (!(error instanceof ApiError)) return undefined;
  // Clients of S3 slow down on 503, not on 429.
  const status = error.status === 429 ? 503 : error.status;
  const code = status === 501 ? "NotImplemented" : (names[error.code] ?? "InvalidRequest");
  return new S3Error(status, code, error.message);
}
