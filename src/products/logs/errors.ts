import { ApiError } from "#core/errors.ts";

/** Errors of live logs. */
export const logErrors = {
  /** 10007 is what the real API answers for a Worker that does not exist (wrangler-api §1.4). */
  noScript: () => new ApiError(404, 10007, "This Worker does not exist on your account."),
  /** Ours: the limit is documented, how the real API says so is not. */
  tooManyListeners: (max: number) =>
    new ApiError(429, 10429, `${max} clients are already viewing this Worker's logs, and no more may at one time.`),
  notWebSocket: (status: 400 | 426, why: string) =>
    new ApiError(status, 10001, `The logs of a Worker come as a WebSocket: ${why}.`),
};
