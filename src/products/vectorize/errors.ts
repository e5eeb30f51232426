import { ApiError } from "#core/errors.ts";
import { limits } from "#products/vectorize/schema.ts";

/** Codes and texts as users report them of the real API (mastra 3444, alchemy-async 650, workers-sdk 6516); others ours. */
export const vectorErrors = {
  indexNotFound: (name: string) => new ApiError(404, 3000, `vectorize.index.not_found - Index name "${name}"`),
  duplicateName: (name: string) => new ApiError(400, 3002, `vectorize.index.duplicate_name - Index name "${name}"`),
  tooManyIndexes: () => new ApiError(400, 3003, `vectorize.index.too_many - at most ${limits.indexes} indexes`),
  invalidIndex: (why: string) => new ApiError(400, 1005, `vectorize.bad_request - ${why}`),
  queryDimensions: (expected: number, got: number) =>
    new ApiError(400, 40006, `invalid query vector, expected ${expected} dimensions, and got ${got} dimensions`),
  vectorDimensions: (id: string, expected: number, got: number) =>
    new ApiError(
      400,
      40012,
      `invalid vector for id="${id}", expected ${expected} dimensions, and got ${got} dimensions`,
    ),
  idTooLong: (got: number) => new ApiError(400, 40008, `id too long; max is ${limits.idBytes} bytes, got ${got} bytes`),
  topKWithMore: (got: number) =>
    new ApiError(
      400,
      40025,
      `with returnValues=true or returnMetadata=all, max top K is ${limits.topKWithMore}, but got ${got}; for a top K up to ${limits.topK}, retry with returnValues=false and returnMetadata=indexed`,
    ),
  badVector: (line: number, why: string) => new ApiError(400, 40008, `invalid vector in line ${line}: ${why}`),
  tooMany: (max: number) => new ApiError(400, 40007, `too many vectors: an insert has at most ${max}`),
  badQuery: (why: string) => new ApiError(400, 40005, `invalid query: ${why}`),
  badFilter: (why: string) => new ApiError(400, 40027, `invalid filter: ${why}`),
  vectorNotFound: (id: string) => new ApiError(400, 40025, `vector with id "${id}" was not found`),
  tooManyIds: (max: number, got: number) =>
    new ApiError(400, 40007, `too many ids in payload; max id count is ${max}, got ${got}`),
  badMetadataIndex: (why: string) => new ApiError(400, 40028, `invalid metadata index: ${why}`),
  contentType: () => new ApiError(415, 40026, "Expected request with `Content-Type: application/json`"),
};
