import { ApiError } from "#core/errors.ts";

export const accountErrors = {
  /** wrangler-api §1.4: `GET /workers/subdomains/:x` answers 10032 when the name is free. */
  subdomainTaken: () => new ApiError(409, 10031, "Subdomain is unavailable, please try a different subdomain"),
  subdomainFree: () => new ApiError(404, 10032, "Subdomain is available"),
  subdomainInvalid: () =>
    new ApiError(
      400,
      10031,
      "A subdomain has letters, digits and hyphens, begins and ends with a letter or digit, and at most 63 characters",
    ),
};
