import { ApiError } from "#core/errors.ts";

/** Codes as Cloudflare's gateway answers them; texts as seen where a comment does not say otherwise. */
export const gatewayErrors = {
  noGateway: () => new ApiError(400, 2001, "Please configure AI Gateway in the Cloudflare dashboard"),
  rateLimited: () => new ApiError(429, 2003, "Rate limited"),
  /** `cause` goes to our log alone: it may name addresses. */
  noAnswer: (provider: string, cause?: unknown) =>
    new ApiError(502, 2005, `Failed to get response from provider ${provider}`, { cause }),
  timedOut: (provider: string) => new ApiError(504, 2005, `No response from provider ${provider} in time`),
  unauthorized: () => new ApiError(401, 2009, "Unauthorized"),
  /** Ours: the control process, which knows the tokens, does not answer. */
  cannotAuthenticate: () => new ApiError(503, 2009, "Tokens cannot be checked at the moment. Try again."),
  spendLimit: (about: string) => new ApiError(429, 2045, `Spend limit exceeded: ${about}`),
  invalid: (why: string) => new ApiError(400, 7001, why),
  /** Ours. */
  notHere: (path: string) =>
    new ApiError(400, 7001, `${path} is not supported: Solum has AI Gateway, and no models of its own`),
  /** Ours. */
  notDone: (setting: string) =>
    new ApiError(400, 7001, `${setting} is not supported: leave it out, or turn it off, for this gateway`),
  /** Code and text as Workers AI answers for a model that does not exist. */
  noModel: (model: string) => new ApiError(400, 5007, `No such model ${model} or task`),
  notFound: (what: string) => new ApiError(404, 7002, `${what} not found`),
  noProvider: (slug: string) => new ApiError(400, 7001, `There is no provider ${slug}`),
  /** Ours. */
  refusedAddress: (host: string, why: string) => new ApiError(400, 7001, `${host} cannot be a provider: ${why}`),
  tooLarge: (bytes: number) => new ApiError(413, 7001, `The request is larger than ${bytes} bytes`),
  gatewayTaken: (id: string) => new ApiError(409, 7001, `A gateway named ${id} already exists`),
  aliasTaken: (alias: string) =>
    new ApiError(409, 7001, `There is already a key with the alias ${alias} for this provider`),
  routeTaken: (name: string) => new ApiError(409, 7005, `A route named ${name} already exists`),
  noRoute: (name: string) => new ApiError(400, 7001, `There is no route ${name}, or it leads to no model`),
  slugTaken: (slug: string) => new ApiError(409, 7001, `A custom provider with the slug ${slug} already exists`),
  internal: () => new ApiError(500, 7000, "Internal error"),
};

/** The body of an error on a gateway's own host: `error`, not `errors`, and what the Workers binding reads besides. */
export function gatewayErrorBody(error: ApiError): string {
  const { code, status, message } = error;
  return JSON.stringify({
    success: false,
    result: [],
    messages: [],
    error: [{ code, message }],
    name: "AiGatewayError",
    httpCode: status,
    internalCode: code,
    message,
    description: message,
  });
}
