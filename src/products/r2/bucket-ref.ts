import { accountOf, param, type ApiContext } from "#http/app.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { bucketName, jurisdictions, type BucketRef, type Jurisdiction } from "#products/r2/schema.ts";

/** The bucket of a path. A name that no bucket can have is that of a bucket that does not exist. */
export function bucketRef(c: ApiContext): BucketRef {
  const name = param(c, "bucket");
  if (!bucketName.test(name)) throw r2Errors.noSuchBucket();
  return { accountId: accountOf(c), name, jurisdiction: jurisdictionOf(c) };
}

export function jurisdictionOf(c: ApiContext): Jurisdiction {
  const given = c.req.header("cf-r2-jurisdiction") || "default";
  const jurisdiction = jurisdictions.find((name) => name === given);
  if (!jurisdiction) throw r2Errors.jurisdiction();
  return jurisdiction;
}
