import { ApiError } from "#core/errors.ts";
import { limits } from "#products/cron/schema.ts";

/** Codes and texts as users report them of the real API (workers-sdk 8923, cloudflare-docs 33580). */
export const cronErrors = {
  invalid: (cron: string) => new ApiError(400, 10100, `invalid cron string: ${JSON.stringify(cron.slice(0, 80))}`),
  unreadable: () =>
    new ApiError(400, 10026, "Could not parse request body. Please ensure the request is valid and try again."),
  /** Code and text ours. */
  tooMany: () => new ApiError(400, 10072, `An account has at most ${limits.triggers} cron triggers.`),
  /** Code and text ours: the Worker that should run is not deployed or does not start. */
  unreached: (why: string) => new ApiError(503, 10101, `The Worker could not be reached: ${why}`),
};
