import { ApiError } from "#core/errors.ts";

/**
 * Codes: https://developers.cloudflare.com/r2/api/error-codes/. Texts: what the real service was seen to answer, as the tests
 * of miniflare's R2 (`workers-sdk`, `packages/miniflare/test/plugins/r2`) and the quoted sources hold them. The S3 API, REST and the
 * binding share them: workerd shows `<method>: <text> (<code>)`.
 */
export const r2Errors = {
  /** The caller's fault, without a code of its own. */
  invalid: (why: string) => new ApiError(400, 10029, why),
  internal: () => new ApiError(500, 10001, "We encountered an internal error. Please try again."),
  accessDenied: () => new ApiError(403, 10003, "Access Denied"),
  /** 409 and this text: denoflare's record of the real API. wrangler's provisioning does not look at the code. */
  bucketExists: () => new ApiError(409, 10004, "The bucket you tried to create already exists, and you own it."),
  bucketName: () => new ApiError(400, 10005, "The specified bucket name is not valid."),
  /** wrangler's provisioning creates the bucket on this code and on no other (wrangler-api §5). */
  noSuchBucket: () => new ApiError(404, 10006, "The specified bucket does not exist."),
  noSuchKey: () => new ApiError(404, 10007, "The specified key does not exist."),
  /** Text: cloudflare-docs, r2/reference/consistency. */
  bucketNotEmpty: (name: string, accountId: string) =>
    new ApiError(409, 10008, `The bucket you tried to delete (${name}) is not empty (account ${accountId}).`),
  tooManyBuckets: () => new ApiError(400, 10009, "You have attempted to create more buckets than allowed."),
  partTooSmall: () => new ApiError(400, 10011, "Your proposed upload is smaller than the minimum allowed object size."),
  metadataTooLarge: () => new ApiError(400, 10012, "Your metadata headers exceed the maximum allowed metadata size."),
  keyName: () => new ApiError(400, 10020, "The specified object name is not valid."),
  listLimit: () => new ApiError(400, 10022, "MaxKeys params must be positive integer <= 1000."),
  noSuchUpload: () => new ApiError(404, 10024, "The specified multipart upload does not exist."),
  noSuchPart: () => new ApiError(400, 10025, "One or more of the specified parts could not be found."),
  /** AdiRishi/turborepo-remote-cache-cloudflare#43. */
  deleteKeys: () => new ApiError(400, 10027, "The number of keys in the request must be between 1 and 1000 inclusive."),
  precondition: () => new ApiError(412, 10031, "At least one of the pre-conditions you specified did not hold."),
  digest: (algorithm: string, given: string, actual: string) =>
    new ApiError(
      400,
      10037,
      `The ${algorithm} checksum you specified did not match what we received.\nYou provided a ${algorithm} checksum with value: ${given}\nActual ${algorithm} was: ${actual}`,
    ),
  range: () => new ApiError(416, 10039, "The requested range is not satisfiable"),
  /** Text: the S3 API of 2022 to 2026 (for example apache/opendal#2904); a last part larger than the others gets it too. */
  partSizes: () => new ApiError(400, 10048, "All non-trailing parts must have the same length."),
  tooLarge: () => new ApiError(400, 100100, "Your proposed upload exceeds the maximum allowed object size."),
  /** The texts and codes below are ours. */
  customerKeyInvalid: () => new ApiError(400, 10029, "The customer-provided key must be 32 bytes."),
  /** The S3 API's text for an object that was stored with a customer's key. */
  customerKeyNeeded: () =>
    new ApiError(
      400,
      10029,
      "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
    ),
  customerKeyWrong: () =>
    new ApiError(403, 10003, "The customer-provided key is not the one that the object was stored with."),
  customerKeyUnneeded: () => new ApiError(400, 10029, "The encryption parameters are not applicable to this object."),
  locked: () => new ApiError(403, 10069, "The object is locked by the bucket's retention rules."),
  domainTaken: () => new ApiError(409, 10029, "This domain is in use."),
  domainOutsideZone: (domain: string) => new ApiError(400, 10029, `${domain} does not lie in a zone of this account.`),
  tooManyDomains: (most: number) => new ApiError(400, 10029, `A bucket has ${most} custom domains at most.`),
  tooManyRules: (most: number) => new ApiError(400, 10029, `A queue has ${most} rules of one bucket at most.`),
  noCors: () => new ApiError(404, 10059, "The CORS configuration does not exist."),
  noNotifications: () => new ApiError(404, 11015, "No event notification configuration was found."),
  /** wrangler takes 40401 for a bucket without a catalog. */
  noCatalog: () => new ApiError(404, 40401, "The bucket has no data catalog."),
  noSuchDomain: () => new ApiError(404, 10029, "This domain is not connected to the bucket."),
  noSuchToken: () => new ApiError(404, 1003, "The API token was not found."),
  notHere: (what: string) => new ApiError(501, 10029, `${what} is not available on this server.`),
  storageClass: () => new ApiError(400, 10029, "The storage class must be Standard or InfrequentAccess."),
  jurisdiction: () => new ApiError(400, 10029, "The jurisdiction is not known."),
  partNumber: () => new ApiError(400, 10029, "Part number must be between 1 and 10000 (inclusive)."),
  /** 507 Insufficient Storage, RFC 4918 §11.5; the same that a full database answers. */
  storageFull: (cause: unknown) =>
    new ApiError(507, 10500, "storage_full: the disk that holds the data is full. Nothing was written.", { cause }),
  /** Bytes on the disk are not those that were written; they are never served. */
  corrupt: () => new ApiError(500, 10001, "The stored bytes of this object fail their checksum and are not served."),
};
