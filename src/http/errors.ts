import { ApiError } from "#core/errors.ts";

/** Errors of the API as such, whatever the product. Texts as the real API gives them where known. */
export const apiErrors = {
  /** `No route for that URI` / `Could not route to …`: what Cloudflare answers for unknown paths and foreign ids. */
  noRoute: (path: string) =>
    new ApiError(404, 7003, `Could not route to ${path}, perhaps your object identifier is invalid?`, {
      more: [{ code: 7000, message: "No route for that URI" }],
    }),
  methodNotAllowed: (method: string) =>
    new ApiError(405, 10405, `Method not allowed for this authentication scheme: ${method}`),
  /** wrangler prints its whoami hint on 10000. */
  authentication: () => new ApiError(401, 10000, "Authentication error"),
  /** wrangler's `whoami` branches on 1000 here. */
  invalidToken: () => new ApiError(401, 1000, "Invalid API Token"),
  globalKey: () =>
    new ApiError(401, 9106, "Authentication failed: global API keys are not supported, use an API token"),
  invalidJson: () => new ApiError(400, 10012, "Could not parse the request body as JSON"),
  tooLarge: (maxBytes: number) => new ApiError(413, 10013, `The request body is larger than ${maxBytes} bytes`),
  /** `field` in the way the caller wrote it. */
  invalid: (field: string, why: string) => new ApiError(400, 10001, field ? `${field}: ${why}` : why),
  internal: () => new ApiError(500, 10002, "Internal Error"),
};
