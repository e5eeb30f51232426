import { ApiError } from "#core/errors.ts";

/** Errors of live logs. */
export const logErrors = {
  /** 10007 is what the real API answers for a Worker that does not exist (wrangler-api §1.4). */
  noScript: () => new ApiError(404, 10007, "This Worker does not exist on your account."),
  /** Ours: how the real API refuses another tail is not documented. */
  tooManyListeners: (max: number) =>
    new ApiError(429, 10429, `${max} clients are already listening to this Worker's logs.`),
};
