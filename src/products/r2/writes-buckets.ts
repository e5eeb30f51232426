import { transaction, type WriteConnection } from "#db/schema.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { limits, type Bucket, type BucketRef, type StorageClass } from "#products/r2/schema.ts";

export const createBucket = transaction("r2.createBucket", (db, bucket: Bucket) => {
  if (findBucket(db, bucket)) throw r2Errors.bucketExists();
  const count = db.prepare("SELECT count(*) AS n FROM r2_buckets WHERE account_id = ?").get(bucket.accountId);
  if (Number(count?.["n"]) >= limits.buckets) throw r2Errors.tooManyBuckets();
  db.prepare(
    "INSERT INTO r2_buckets (id, account_id, jurisdiction, name, location, storage_class, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
  ).run(
    bucket.id,
    bucket.accountId,
    bucket.jurisdiction,
    bucket.name,
    bucket.location ?? null,
    bucket.storageClass,
    bucket.created,
  );
});

/** Refuses a bucket that has objects or multipart uploads under way. */
export const deleteBucket = transaction("r2.deleteBucket", (db, ref: BucketRef) => {
  const id = findBucket(db, ref);
  if (id === undefined) throw r2Errors.noSuchBucket();
  const object = db.prepare("SELECT 1 FROM r2_objects WHERE bucket_id = ? LIMIT 1").get(id);
  const upload = db.prepare("SELECT 1 FROM r2_uploads WHERE bucket_id = ? AND state = 'open' LIMIT 1").get(id);
  if (object || upload) throw r2Errors.bucketNotEmpty(ref.name, ref.accountId);
  db.prepare("DELETE FROM r2_uploads WHERE bucket_id = ?").run(id);
  db.prepare("DELETE FROM r2_settings WHERE bucket_id = ?").run(id);
  db.prepare("DELETE FROM r2_domains WHERE bucket_id = ?").run(id);
  db.prepare("DELETE FROM r2_buckets WHERE id = ?").run(id);
});

export const setStorageClass = transaction(
  "r2.setStorageClass",
  (db, { ref, storageClass }: { ref: BucketRef; storageClass: StorageClass }) => {
    const id = findBucket(db, ref);
    if (id === undefined) throw r2Errors.noSuchBucket();
    db.prepare("UPDATE r2_buckets SET storage_class = ? WHERE id = ?").run(storageClass, id);
  },
);

export function findBucket(db: WriteConnection, { accountId, jurisdiction, name }: BucketRef): string | undefined {
  const row = db
    .prepare("SELECT id FROM r2_buckets WHERE account_id = ? AND jurisdiction = ? AND name = ?")
    .get(accountId, jurisdiction, name);
  return row === undefined ? undefined : String(row["id"]);
}
