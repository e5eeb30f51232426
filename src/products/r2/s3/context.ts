import type { WireResponse } from "#http/wire/server.ts";
import type { Bucket } from "#products/r2/schema.ts";
import { s3Errors } from "#products/r2/s3/s3-errors.ts";
import type { S3Request } from "#products/r2/s3/s3-request.ts";
import type { Verified } from "#products/r2/s3/signature.ts";
import { xmlDocument, type XmlValue } from "#products/r2/s3/xml.ts";
import type { AccessKey } from "#products/r2/settings.ts";
import type { SqliteR2Store } from "#products/r2/sqlite-store.ts";

/** A request that is signed, by a key that may do what it asks. */
export type AccountCall = { request: S3Request; verified: Verified; store: SqliteR2Store; accountId: string };
export type BucketCall = AccountCall & { bucket: Bucket };
export type ObjectCall = BucketCall & { key: string };

export function xmlAnswer(name: string, value: XmlValue, headers: Record<string, string> = {}): WireResponse {
  return { status: 200, headers: { "content-type": "application/xml", ...headers }, body: xmlDocument(name, value) };
}

/** Whether `key` may use a bucket; without a bucket, whether it may do so with the account's buckets themselves. */
export function mayUse(
  key: AccessKey,
  bucket: { name: string; jurisdiction: string } | undefined,
  write: boolean,
): boolean {
  return key.grants.some((grant) => {
    if (write && !grant.write) return false;
    if (!grant.buckets) return true;
    return grant.buckets.some((one) => one.name === bucket?.name && one.jurisdiction === bucket.jurisdiction);
  });
}

const quoted = (etag: string) => `"${etag}"`;
export { quoted };

/** A whole number of a query parameter. */
export function numberParam(request: S3Request, name: string, otherwise: number, most: number): number {
  const text = request.param(name);
  if (text === undefined || text === "") return otherwise;
  if (!/^\d{1,15}$/.test(text)) {
    throw name === "max-keys" ? s3Errors.maxKeys() : s3Errors.invalidArgument(`${name} must be a number.`);
  }
  return Math.min(Number(text), most);
}
