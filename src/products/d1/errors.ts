import { ApiError } from "#core/errors.ts";
import { timeoutText } from "#products/d1/host-protocol.ts";

/** D1's codes are 74xx and 75xx; https://developers.cloudflare.com/api/resources/d1/ and what wrangler branches on (wrangler-api §1.4). */
export const d1Errors = {
  /** wrangler creates a database on 7404, and `wrangler d1 info` explains the status 404. */
  notFound: (idOrName: string) => new ApiError(404, notFoundCode, `The database ${idOrName} could not be found`),
  /** wrangler has a text of its own for 7502. */
  nameTaken: (name: string) => new ApiError(400, 7502, `A database with the name ${name} already exists`),
  invalidName: () =>
    new ApiError(
      400,
      7400,
      "Database names have letters, digits, hyphens and underscores, begin with a letter or digit, and have at most 64 characters",
    ),
  tooMany: (max: number) => new ApiError(400, 7406, `You have reached the limit of ${max} databases`),
  /** What SQLite says, as the API shows it: `no such table: t: SQLITE_ERROR`. */
  query: (message: string) => new ApiError(400, 7500, message),
  /** Texts of https://developers.cloudflare.com/d1/observability/debug-d1/; whether anything was changed is not known. */
  reset: (message: string) => new ApiError(500, 7500, message),
  connectionLost: (cause: unknown) => new ApiError(500, 7500, "Network connection lost.", { cause }),
  timeout: (cause: unknown) => new ApiError(500, 7500, timeoutText, { cause }),
  /** Nothing was run. */
  overloaded: (message: string) => new ApiError(503, 7500, message),
  /** Ours: the host does not listen, and nothing was sent to it. */
  hostDown: (cause: unknown) =>
    new ApiError(503, 7500, "Cannot resolve D1 DB due to transient issue on remote node.", { cause }),
  invalidEtag: () => new ApiError(400, 7400, "etag: must be the MD5 of the file in hexadecimal"),
  unknownFile: () => new ApiError(400, 7400, "The file was not uploaded, or its contents do not match the etag"),
  tooManyImports: () => new ApiError(429, 7429, "Too many imports are under way. Try again later."),
  tooManyExports: () => new ApiError(429, 7429, "Too many exports are under way. Try again later."),
  exportNotFound: () => new ApiError(404, 7404, "This export is unknown or has expired"),
  uploadNotFound: () => new ApiError(404, 7404, "This upload URL is unknown, was used, or has expired"),
  uploadTooLarge: (max: number) => new ApiError(413, 7400, `The file is larger than ${max} bytes`),
  unsupported: (what: string) => new ApiError(400, 7501, `${what} is not supported by Solum yet`),
};

const notFoundCode = 7404;

export function isNotFound(error: unknown): boolean {
  return error instanceof ApiError && error.code === notFoundCode;
}
