import { limits } from "#products/r2/schema.ts";

/**
 * Largest body of a request: the largest upload, and what its chunks add in `aws-chunked` encoding (a line of 87 bytes for each
 * 8 KiB, the least that S3 allows: 1.1 %).
 */
export const requestBytesMax = Math.ceil(limits.uploadBytes * 1.02);

/** Label below the app domain that public buckets are under (Cloudflare's is r2.dev). */
export const publicLabel = "r2";

/** Host of a bucket's public address below `appDomain`. */
export function publicHost(bucketId: string, appDomain: string): string {
  return `pub-${bucketId}.${publicLabel}.${appDomain}`;
}
