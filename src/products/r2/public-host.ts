/** Label below the app domain that public buckets are under (Cloudflare's is r2.dev). */
export const publicLabel = "r2";

/** Host of a bucket's public address below `appDomain`. */
export function publicHost(bucketId: string, appDomain: string): string {
  return `pub-${bucketId}.${publicLabel}.${appDomain}`;
}
