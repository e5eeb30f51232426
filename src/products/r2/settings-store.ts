import type { Bucket, BucketRef } from "#products/r2/schema.ts";
import type { AccessKey, BucketSettings, CustomDomain, SettingName } from "#products/r2/settings.ts";

/** What a bucket holds. */
export type BucketUsage = { objects: number; bytes: number; metadataBytes: number; uploads: number };

/** What buckets are configured with, who may use the S3 API, and under which names buckets are public. */
export interface R2Settings {
  get<Name extends SettingName>(ref: BucketRef, name: Name): Promise<BucketSettings[Name] | undefined>;
  /** Without a value the setting is taken away. */
  set<Name extends SettingName>(ref: BucketRef, name: Name, value?: BucketSettings[Name]): Promise<void>;
  usage(ref: BucketRef): Promise<BucketUsage>;

  addDomain(ref: BucketRef, domain: CustomDomain): Promise<void>;
  listDomains(ref: BucketRef): Promise<CustomDomain[]>;
  updateDomain(ref: BucketRef, domain: CustomDomain): Promise<void>;
  removeDomain(ref: BucketRef, host: string): Promise<void>;

  /** `value`: the token; its SHA-256 is the secret access key. It is kept sealed and never shown again. */
  addAccessKey(key: AccessKey, value: string): Promise<void>;
  listAccessKeys(accountId: string): Promise<AccessKey[]>;
  getAccessKey(accountId: string, id: string): Promise<AccessKey>;
  /** With `value` the token is replaced by another. */
  updateAccessKey(key: AccessKey, value?: string): Promise<void>;
  removeAccessKey(accountId: string, id: string): Promise<void>;
}

/** What the S3 endpoint and public buckets ask for with every request; answered at once, by the process that has the files. */
export interface R2Lookups {
  accessKey(id: string): { key: AccessKey; secret: string } | undefined;
  /** A bucket that is public under `host`: a custom domain that is enabled. */
  bucketOfDomain(host: string): Bucket | undefined;
  /** A bucket by its id, when it is public under the platform's domain. */
  publicBucket(id: string): Bucket | undefined;
  cors(bucketId: string): BucketSettings["cors"];
  /** Rules of the buckets of one name, of one account when it is known: a preflight may not say who asks. */
  corsOfName(name: string, accountId?: string): BucketSettings["cors"];
}
