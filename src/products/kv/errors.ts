import { ApiError } from "#core/errors.ts";
import { limits } from "#products/kv/schema.ts";

/**
 * Codes: the table "workers-kv-namespace-errors" that api.cloudflare.com carried and client libraries still hold, and answers
 * seen in the wild where they are newer. Texts about keys, values and expiry are those a binding gets in its status line
 * (miniflare's `kv/validator.worker.ts` and workerd's `kv.js` have the same); the API puts the operation before them,
 * see `duringOperation`.
 */
export const kvErrors = {
  /** A get of the API only; a binding answers null. Text seen: `get: 'key not found'`. */
  keyNotFound: () => new ApiError(404, 10009, "key not found"),
  /** Text seen: `list keys: 'namespace not found'`, `get namespace: 'namespace not found'`. */
  namespaceNotFound: () => new ApiError(404, namespaceNotFoundCode, "namespace not found"),
  /** wrangler has a text of its own for 10014. */
  titleTaken: () => new ApiError(400, 10014, "a namespace with this account ID and title already exists"),
  titleMissing: () => new ApiError(400, 10019, "missing title"),
  titleTooLong: () => new ApiError(400, 10010, `namespace titles have at most ${limits.titleLength} characters`),
  /** Text seen for ids of another length. */
  malformedNamespaceId: (id: string) =>
    new ApiError(
      400,
      10011,
      `could not parse UUID from request's namespace_id: 'uuid: incorrect UUID ${
        id.length === 32 ? "format in string" : `length ${id.length} in string`
      } ${JSON.stringify(id)}'`,
    ),

  keyEmpty: () => new ApiError(400, 10042, "Key names must not be empty"),
  keyIllegal: (key: string) => new ApiError(400, 10042, `Illegal key name "${key}". Please use a different name.`),
  /** Ours: half a surrogate pair has no UTF-8, and would be stored as another key. */
  keyNotUnicode: () => new ApiError(400, 10042, "Key names must be valid Unicode"),
  /** What workerd's percent-encoding of such a key leads to on Cloudflare. */
  keyNotDecodable: () => new ApiError(400, 10042, "Could not URL-decode key name"),
  keyTooLong: (bytes: number) =>
    new ApiError(414, 10030, `UTF-8 encoded length of ${bytes} exceeds key length limit of ${limits.keyBytes}.`),

  valueTooLong: (bytes: number) =>
    new ApiError(413, valueTooLongCode, `Value length of ${bytes} exceeds limit of ${limits.valueBytes}.`),
  valueMissing: () => new ApiError(400, 10012, "the form has no field named value"),
  formInvalid: (cause: unknown) => new ApiError(400, 10012, "Could not parse the request body as a form", { cause }),
  invalidBase64: (key: string) => new ApiError(400, 10012, `the value of "${key}" is not valid base64`),
  metadataTooLong: (bytes: number) =>
    new ApiError(413, 10047, `Metadata length of ${bytes} exceeds limit of ${limits.metadataBytes}.`),
  /** Seen from the API, with this code. */
  metadataInvalid: () => new ApiError(400, 10147, "metadata must be valid json"),

  expirationInvalid: (given: string) =>
    new ApiError(
      400,
      10033,
      `Invalid expiration of ${given}. Please specify integer greater than the current number of seconds since the UNIX epoch.`,
    ),
  expirationTooSoon: (given: string) =>
    new ApiError(
      400,
      10033,
      `Invalid expiration of ${given}. Expiration times must be at least ${limits.expirationSecondsMin} seconds in the future.`,
    ),
  expirationTtlInvalid: (given: string) =>
    new ApiError(400, 10034, `Invalid expiration_ttl of ${given}. Please specify integer greater than 0.`),
  expirationTtlTooShort: (given: string) =>
    new ApiError(
      400,
      10034,
      `Invalid expiration_ttl of ${given}. Expiration TTL must be at least ${limits.expirationSecondsMin}.`,
    ),
  cacheTtlTooShort: (given: string | number) =>
    new ApiError(400, 10029, `Invalid cache_ttl of ${given}. Cache TTL must be at least ${limits.cacheTtlSecondsMin}.`),

  listLimitTooSmall: (given: string | number, min: number) =>
    new ApiError(400, 10028, `Invalid key_count_limit of ${given}. Please specify an integer greater than ${min - 1}.`),
  /** "less than" is Cloudflare's own slip: 1000 is allowed. */
  listLimitTooLarge: (given: number) =>
    new ApiError(
      400,
      10028,
      `Invalid key_count_limit of ${given}. Please specify an integer less than ${limits.listKeys}.`,
    ),
  cursorInvalid: () => new ApiError(400, 10041, "Invalid cursor"),
  orderInvalid: () => new ApiError(400, 10043, "invalid order"),
  directionInvalid: () => new ApiError(400, 10044, "invalid direction"),

  /** Seen: `bulk get keys: 'You can request a maximum of 100 keys'` with 10029. */
  bulkGetTooMany: () => new ApiError(400, 10029, `You can request a maximum of ${limits.bulkGetKeys} keys`),
  bulkGetEmpty: () => new ApiError(400, 10029, "You must request a minimum of 1 key"),
  bulkGetType: (type: string) => new ApiError(400, 10029, `"${type}" is not a valid type. Use "json" or "text"`),
  bulkGetTooLarge: () =>
    new ApiError(413, 10029, `Total size of request exceeds the limit of ${limits.bulkGetBytes / 1024 / 1024}MB`),
  /** Seen with 10029. */
  bulkGetWrongType: (type: "text" | "json") =>
    new ApiError(400, 10029, `At least one of the requested keys corresponds to a non-${type} value`),
  bulkWriteTooMany: () => new ApiError(400, 10029, `You can write or delete a maximum of ${limits.bulkWriteKeys} keys`),
  /** Text of miniflare's copy of the API (`local-explorer/resources/kv.ts`). */
  bulkWriteDuplicate: (key: string) =>
    new ApiError(400, 10029, `received duplicate key with different values or expiration parameters: "${key}"`),
  bodyInvalid: () => new ApiError(400, 10012, "Could not parse the request body as JSON"),

  /** Ours, as the database says it. 507 Insufficient Storage, RFC 4918 §11.5. */
  storageFull: (cause?: unknown) =>
    new ApiError(507, 10500, "storage_full: the disk that holds the data is full. Nothing was written.", { cause }),
  /** Ours: the bytes on disk are not those that were written. */
  valueDamaged: () => new ApiError(500, 10503, "The stored value of this key is damaged"),
};

const namespaceNotFoundCode = 10013;
const valueTooLongCode = 10024;

export function isNamespaceNotFound(error: unknown): boolean {
  return error instanceof ApiError && error.code === namespaceNotFoundCode;
}

export function isValueTooLong(error: unknown): boolean {
  return error instanceof ApiError && error.code === valueTooLongCode;
}

/** `error` in the API's words: `put: 'Value length of …'`. */
export function duringOperation(operation: string, error: unknown): unknown {
  if (!(error instanceof ApiError)) return error;
  return new ApiError(error.status, error.code, `${operation}: '${error.message}'`, { cause: error });
}
