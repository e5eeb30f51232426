import { ApiError } from "#core/errors.ts";

export const queueErrors = {
  /** Queues' own codes are 11xxx; https://developers.cloudflare.com/api/resources/queues/. */
  notFound: () => new ApiError(404, 11000, "The specified queue does not exist."),
  nameTaken: (name: string) =>
    new ApiError(409, 11009, `Queue name '${name}' is already taken. Please use a different name and try again.`),
  invalidName: () =>
    new ApiError(400, 11003, "Queue names have letters, digits, hyphens and underscores, and at most 63 characters."),
};
