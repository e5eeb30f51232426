import { ApiError } from "#core/errors.ts";

/** Codes and texts as users report them from the real API; where the text is ours, the comment says so. */
export const zoneErrors = {
  nameTaken: (name: string) => new ApiError(400, 1061, `${name} already exists`),
  nameInvalid: (name: string) => new ApiError(400, 1049, `${name.slice(0, 300)} is not a registered domain`),
  /** Ours: on Cloudflare nobody can add workers.dev. */
  namePlatform: (name: string) =>
    new ApiError(400, 1049, `${name} belongs to the platform itself: Workers answer below it, or the console does`),
  /** Ours, with 1061's meaning: hosts below one name belong to one account. */
  nameOverlaps: (name: string) =>
    new ApiError(400, 1061, `${name} lies above or below a domain that another account has added`),
  tooManyZones: (max: number) => new ApiError(400, 1118, `This account has the most zones that it can have: ${max}`),
  zoneNotFound: (pattern: string) => new ApiError(404, 10083, `workers.api.error.zone_not_found for "${pattern}"`),
  patternWithoutZone: (pattern: string) => new ApiError(400, 10022, `Route pattern must include zone name: ${pattern}`),
  /** The rules of https://developers.cloudflare.com/workers/configuration/routing/routes/#validity; the texts are ours. */
  patternInvalid: (pattern: string, why: string) =>
    new ApiError(400, 10022, `Invalid route pattern ${JSON.stringify(pattern.slice(0, 300))}: ${why}`),
  /** What a route on workers.dev gets. */
  platformHost: () => new ApiError(400, 10038, "workers.api.error.route_not_allowed_on_subdomain"),
  scriptNotFound: () =>
    new ApiError(
      400,
      10019,
      "Cannot configure a route for a Worker which does not exist. Please ensure this Worker exists and try again.",
    ),
  duplicateRoute: (pattern: string, script: string | undefined) =>
    new ApiError(
      409,
      10020,
      `A route with the same pattern already exists: ${pattern} is assigned to ${script === undefined ? "no Worker" : `the Worker ${script}`}.`,
    ),
  /** The text is ours, after that of 100117, which is about DNS records. */
  hostnameTaken: (hostname: string, script: string) =>
    new ApiError(
      409,
      100116,
      `Hostname '${hostname}' is already used as a custom domain of the Worker '${script}'. Either delete it, try a different hostname, or use the option 'override_existing_origin' to override.`,
    ),
  /** The text is ours; on Cloudflare the bucket's DNS record stands in the way. */
  hostnameOfBucket: (hostname: string) =>
    new ApiError(
      409,
      100117,
      `Hostname '${hostname}' is already used as a custom domain of an R2 bucket. Either remove it there, or try a different hostname.`,
    ),
  hostnameInvalid: (hostname: string) =>
    new ApiError(400, 10022, `Custom domain ${JSON.stringify(hostname.slice(0, 300))} is not a host name`),
  tooMany: (whose: string, max: number, what: "zone_routes" | "custom_domains") =>
    new ApiError(400, 10021, `${whose} has at most ${max} ${what === "zone_routes" ? "routes" : "custom domains"}.`),
};
