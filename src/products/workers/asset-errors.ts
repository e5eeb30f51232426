import { ApiError } from "#core/errors.ts";

/** Errors of asset uploads. Cloudflare publishes no codes for these; 10021 and 10000 are what wrangler prints sensibly. */
export const assetErrors = {
  badToken: () =>
    new ApiError(401, 10000, "Authentication error: the assets token is not valid for this upload, or it has expired"),
  notInManifest: (hash: string) => new ApiError(400, 10021, `The asset ${hash} is not part of this upload`),
  wrongSize: (hash: string, wanted: number, got: number) =>
    new ApiError(400, 10021, `The asset ${hash} has ${got} bytes where its manifest says ${wanted}`),
  badPath: (path: string) =>
    new ApiError(400, 10021, `The asset path ${JSON.stringify(path.slice(0, 200))} cannot be a file`),
  fileAndFolder: (path: string) =>
    new ApiError(400, 10021, `The asset path ${JSON.stringify(path)} is a file and a folder at once`),
  tooManyFiles: () => new ApiError(400, 10021, "A Worker has at most 100000 assets"),
  incomplete: () => new ApiError(400, 10021, "Some assets of this upload are missing"),
  malformed: (why: string) => new ApiError(400, 10021, `The upload of assets is malformed: ${why}`),
};
