import { sqliteEvents, type R2Events } from "#products/r2/events.ts";
import { newHexId } from "#core/ids.ts";
import { createLogger } from "#core/log.ts";
import { openDatabase, type Database } from "#db/database.ts";
import { BlobFolder } from "#products/r2/blob-folder.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { createHashPool } from "#products/r2/hash-pool.ts";
import { runLifecycle } from "#products/r2/lifecycle.ts";
import { listObjects } from "#products/r2/listing.ts";
import { LocalObjects } from "#products/r2/local-objects.ts";
import type { BodyHooks, LocalParts } from "#products/r2/local-parts.ts";
import { LocalUploads } from "#products/r2/local-uploads.ts";
import * as reads from "#products/r2/reads.ts";
import { checkKey } from "#products/r2/rules.ts";
import {
  bucketName,
  limits,
  type Bucket,
  type BucketListOptions,
  type BucketRef,
  type ListOptions,
  type ObjectHead,
  type ObjectList,
  type PartHead,
  type PartOptions,
  type PutOptions,
  type StorageClass,
} from "#products/r2/schema.ts";
import { sqliteSettings } from "#products/r2/sqlite-settings.ts";
import type { R2Lookups, R2Settings } from "#products/r2/settings-store.ts";
import type { Bytes, ObjectRef, R2Store, UploadRef } from "#products/r2/store.ts";
import * as bucketWrites from "#products/r2/writes-buckets.ts";
import * as objectWrites from "#products/r2/writes-objects.ts";
import * as uploadWrites from "#products/r2/writes-uploads.ts";

const log = createLogger("r2.store");

const tendEveryMs = 3600 * 1000;

export type SqliteR2Store = R2Store &
  AsyncDisposable & {
    putChecked(ref: ObjectRef, body: Bytes, options: PutOptions, hooks: BodyHooks): Promise<ObjectHead>;
    putPartChecked(
      ref: UploadRef,
      part: number,
      body: Bytes,
      options: PartOptions,
      hooks: BodyHooks,
    ): Promise<PartHead>;
    settings: R2Settings & R2Lookups;
    events: R2Events;
    /** Resolves when what a crash left was removed: how many files. */
    swept: Promise<number>;
    /** Ends uploads that are too old; happens by itself every hour. */
    expireUploads(): Promise<void>;
    /** Does what the buckets' lifecycle rules say; happens by itself every hour. */
    runLifecycle(): Promise<void>;
    close(): Promise<void>;
  };

export type LocalOptions = {
  db: string;
  blobs: string;
  /** Seals the secrets of access keys. */
  sealKey: Buffer;
  /** The clock. */
  now?: () => number;
};

/** R2 in one SQLite file and a folder of immutable files; one process at a time. */
export async function openR2Store(options: LocalOptions): Promise<SqliteR2Store> {
  const db = await openDatabase(options.db, ["r2"]);
  const folder = await BlobFolder.open(options.blobs);
  const parts = { db, folder, hashes: createHashPool(), now: options.now ?? Date.now };
  return localStore(parts, sqliteSettings({ ...parts, sealKey: options.sealKey }));
}

function localStore(parts: LocalParts, settings: R2Settings & R2Lookups): SqliteR2Store {
  const { db, folder, hashes, now } = parts;
  const objects = new LocalObjects(parts);
  const uploads = new LocalUploads(parts);
  const swept = folder.sweep((file) => reads.hasRow(db, file));
  swept.catch((error: unknown) => log.error("files that a crash left could not be removed", { error }));

  const expireUploads = async () => {
    for (;;) {
      const { removed, more } = await db.write(uploadWrites.expireUploads, { now: now() });
      folder.remove(removed);
      if (!more) return;
    }
  };
  let running: Promise<void> | undefined;
  const lifecycle = async () => {
    running ??= runLifecycle(parts).finally(() => (running = undefined));
    return running;
  };
  const tend = () => {
    expireUploads().catch((error: unknown) => log.error("old uploads could not be ended", { error }));
    lifecycle().catch((error: unknown) => log.error("lifecycle rules could not be carried out", { error }));
  };
  const timer = setInterval(tend, tendEveryMs).unref();
  tend();

  const close = async () => {
    clearInterval(timer);
    await running?.catch(() => {}); // Its error is in the log.
    await hashes.close();
    await folder.close();
    await db.close();
  };
  return {
    ...buckets(parts),
    head: async (bucketId, key) => objects.head(bucketId, key),
    get: async (bucketId, key, options) => objects.get(bucketId, key, options),
    put: async (bucketId, key, body, options) => objects.put({ bucketId, key }, body, options),
    putChecked: async (ref, body, options, hooks) => objects.put(ref, body, options, hooks),
    copy: async (from, to, options) => objects.copy(from, to, options),
    async delete(bucketId, keys) {
      if (keys.length < 1 || keys.length > limits.deleteKeys) throw r2Errors.deleteKeys();
      for (const key of keys) checkKey(key);
      const args = { bucketId, keys: [...keys], now: now() };
      const { removed, deleted } = await db.write(objectWrites.deleteObjects, args);
      folder.remove(removed);
      return deleted;
    },
    list: async (bucketId, options) => list(db, bucketId, options),
    createMultipartUpload: async (bucketId, key, options) => uploads.create({ bucketId, key }, options),
    async uploadPart(bucketId, key, uploadId, part, body, options) {
      return (await uploads.putPart({ bucketId, key, uploadId }, part, body, options)).etag;
    },
    putPartChecked: async (ref, part, body, options, hooks) => uploads.putPart(ref, part, body, options, hooks),
    completeMultipartUpload: async (bucketId, key, uploadId, named, options) =>
      uploads.complete({ bucketId, key, uploadId }, named, options),
    listParts: async (ref, page) => uploads.listParts(ref, page),
    listUploads: async (bucketId, options) => uploads.list(bucketId, options),
    async abortMultipartUpload(bucketId, key, uploadId) {
      checkKey(key);
      const { removed } = await db.write(uploadWrites.abortUpload, { bucketId, key, uploadId });
      folder.remove(removed);
    },
    settings,
    events: sqliteEvents(db),
    swept,
    expireUploads,
    runLifecycle: lifecycle,
    close,
    [Symbol.asyncDispose]: close,
  };
}

function buckets({
  db,
  now,
}: LocalParts): Pick<R2Store, "createBucket" | "getBucket" | "listBuckets" | "deleteBucket" | "setStorageClass"> {
  return {
    async createBucket(ref: BucketRef, { location, storageClass = "Standard" } = {}) {
      if (!bucketName.test(ref.name)) throw r2Errors.bucketName();
      const { accountId, name, jurisdiction } = ref;
      const bucket: Bucket = { id: newHexId(), accountId, name, jurisdiction, location, storageClass, created: now() };
      await db.write(bucketWrites.createBucket, bucket);
      return bucket;
    },
    async getBucket(ref: BucketRef) {
      return reads.readBucket(db, ref);
    },
    async listBuckets(options: BucketListOptions) {
      return reads.readBuckets(db, options);
    },
    async deleteBucket(ref: BucketRef) {
      await db.write(bucketWrites.deleteBucket, ref);
    },
    async setStorageClass(ref: BucketRef, storageClass: StorageClass) {
      await db.write(bucketWrites.setStorageClass, { ref, storageClass });
      return reads.readBucket(db, ref);
    },
  };
}

function list(db: Database, bucketId: string, options: ListOptions = {}): ObjectList {
  const include = { http: options.includeHttp ?? false, custom: options.includeCustom ?? false };
  const found = listObjects(options, (from, end, count) => reads.readRows(db, bucketId, include, { from, end, count }));
  if (found.objects.length === 0) reads.requireBucket(db, bucketId);
  return found;
}
