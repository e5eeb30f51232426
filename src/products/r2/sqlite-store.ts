import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { newHexId } from "#core/ids.ts";
import { createLogger } from "#core/log.ts";
import { exactBytes, openDatabase, type Database } from "#db/database.ts";
import { BlobFolder } from "#products/r2/blob-folder.ts";
import { readAtOnce, readExtents, type Extent } from "#products/r2/blob-read.ts";
import { Digests, digestsOf } from "#products/r2/blob-sums.ts";
import { writeBlob } from "#products/r2/blob-write.ts";
import { heldBody, piecesOf, upToInline } from "#products/r2/body.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { listObjects } from "#products/r2/listing.ts";
import * as reads from "#products/r2/reads.ts";
import { checkKey, checkObjectOptions, holds, resolveRange } from "#products/r2/rules.ts";
import {
  bucketName,
  limits,
  type Bucket,
  type BucketListOptions,
  type BucketRef,
  type ByteRange,
  type Checksums,
  type GetOptions,
  type ListOptions,
  type ObjectHead,
  type ObjectList,
  type ObjectOptions,
  type PutOptions,
  type StorageClass,
  type UploadedPart,
} from "#products/r2/schema.ts";
import type { Bytes, GetResult, R2Store } from "#products/r2/store.ts";
import * as bucketWrites from "#products/r2/writes-buckets.ts";
import * as objectWrites from "#products/r2/writes-objects.ts";
import * as uploadWrites from "#products/r2/writes-uploads.ts";

const log = createLogger("r2.store");

const expireEveryMs = 3600 * 1000;

export type SqliteR2Store = R2Store &
  AsyncDisposable & {
    /** Resolves when what a crash left was removed: how many files. */
    swept: Promise<number>;
    /** Ends uploads that are too old; happens by itself every hour. */
    expireUploads(): Promise<void>;
    close(): Promise<void>;
  };

/** R2 in one SQLite file and a folder of immutable files; one process at a time. `now` is the clock. */
export async function openR2Store(options: { db: string; blobs: string; now?: () => number }): Promise<SqliteR2Store> {
  const db = await openDatabase(options.db, ["r2"]);
  const folder = await BlobFolder.open(options.blobs);
  return new LocalStore(db, folder, options.now ?? Date.now);
}

class LocalStore implements SqliteR2Store {
  readonly swept: Promise<number>;
  readonly #db: Database;
  readonly #folder: BlobFolder;
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;

  constructor(db: Database, folder: BlobFolder, now: () => number) {
    this.#db = db;
    this.#folder = folder;
    this.#now = now;
    this.swept = folder.sweep((file) => reads.hasRow(db, file));
    this.swept.catch((error: unknown) => log.error("files that a crash left could not be removed", { error }));
    const expire = () =>
      void this.expireUploads().catch((error: unknown) => log.error("old uploads could not be ended", { error }));
    this.#timer = setInterval(expire, expireEveryMs).unref();
    expire();
  }

  async createBucket(
    ref: BucketRef,
    { location, storageClass = "Standard" }: { location?: string; storageClass?: StorageClass } = {},
  ): Promise<Bucket> {
    if (!bucketName.test(ref.name)) throw r2Errors.bucketName();
    const bucket: Bucket = {
      id: newHexId(),
      accountId: ref.accountId,
      name: ref.name,
      jurisdiction: ref.jurisdiction,
      location,
      storageClass,
      created: this.#now(),
    };
    await this.#db.write(bucketWrites.createBucket, bucket);
    return bucket;
  }

  async getBucket(ref: BucketRef): Promise<Bucket> {
    return reads.readBucket(this.#db, ref);
  }

  async listBuckets(options: BucketListOptions): Promise<{ buckets: Bucket[]; more: boolean }> {
    return reads.readBuckets(this.#db, options);
  }

  async deleteBucket(ref: BucketRef): Promise<void> {
    await this.#db.write(bucketWrites.deleteBucket, ref);
  }

  async setStorageClass(ref: BucketRef, storageClass: StorageClass): Promise<Bucket> {
    await this.#db.write(bucketWrites.setStorageClass, { ref, storageClass });
    return reads.readBucket(this.#db, ref);
  }

  async head(bucketId: string, key: string): Promise<ObjectHead | undefined> {
    checkKey(key);
    const object = reads.readHead(this.#db, bucketId, key);
    if (!object) reads.requireBucket(this.#db, bucketId);
    return object;
  }

  async get(bucketId: string, key: string, options: GetOptions = {}): Promise<GetResult | undefined> {
    checkKey(key);
    for (;;) {
      const found = reads.readObject(this.#db, bucketId, key);
      if (!found) {
        reads.requireBucket(this.#db, bucketId);
        return undefined;
      }
      const { object, inline } = found;
      if (options.onlyIf && !holds(options.onlyIf, object)) return { object, content: undefined };
      const range = resolveRange(options.range, object.size) ?? { offset: 0, length: object.size };
      if (inline) {
        const bytes = inline.subarray(range.offset, range.offset + range.length);
        return { object, content: { range, bytes } };
      }
      if (range.length === 0) return { object, content: { range, bytes: new Uint8Array(0) } };
      const extents = reads.readExtentRows(this.#db, object.version, range);
      if (extents) return { object, content: { range, bytes: await this.#open(extents, range) } };
      // Replaced between the two reads: the next look sees what replaced it.
      if (reads.readHead(this.#db, bucketId, key)?.version === object.version) throw reads.incomplete(object);
    }
  }

  /** Nothing of `extents` is removed before the bytes were read or given up. */
  async #open(extents: Extent[], range: ByteRange): Promise<Bytes> {
    const atOnce = readAtOnce(this.#folder, extents, range);
    if (atOnce) return atOnce;
    const release = this.#folder.hold(extents.map(({ file }) => file));
    return heldBody(readExtents(this.#folder, extents, range), release);
  }

  async put(bucketId: string, key: string, body: Bytes, options: PutOptions = {}): Promise<ObjectHead> {
    checkKey(key);
    checkObjectOptions(options);
    const content = await upToInline(body);
    const version = newHexId();
    if (content instanceof Uint8Array) {
      const checksums = digestsOf(content, options.checksums);
      const data = { kind: "inline", bytes: exactBytes(content), crc: crc32(content) } as const;
      return this.#putObject({ bucketId, key, version, size: content.length, checksums, data }, options);
    }
    this.#checkEarly(bucketId, key, options);
    const { blob, checksums } = await writeBlob(this.#folder, content, new Digests(options.checksums));
    const data = { kind: "files" as const, blobs: [blob] };
    return this.#settled(blob.file, () =>
      this.#putObject({ bucketId, key, version, size: blob.size, checksums, data }, options),
    );
  }

  /** Spares the disk a large body that would be refused anyway. The transaction decides for those that pass. */
  #checkEarly(bucketId: string, key: string, { onlyIf }: PutOptions): void {
    reads.requireBucket(this.#db, bucketId);
    if (onlyIf && !holds(onlyIf, reads.readHead(this.#db, bucketId, key))) throw r2Errors.precondition();
  }

  async #putObject(
    given: Pick<objectWrites.NewObject, "bucketId" | "key" | "version" | "size" | "data"> & { checksums: Checksums },
    { httpMetadata, customMetadata, storageClass, onlyIf }: PutOptions,
  ): Promise<ObjectHead> {
    const { key, version, size } = given;
    const { md5: etag = "", ...others } = given.checksums;
    const uploaded = this.#now();
    const { storageClass: stored, removed } = await this.#db.write(objectWrites.putObject, {
      object: {
        ...given,
        etag,
        uploaded,
        checksums: reads.metadataText(others),
        http: reads.metadataText(httpMetadata),
        custom: reads.metadataText(customMetadata),
        storageClass,
      },
      onlyIf,
    });
    this.#folder.remove(removed);
    return {
      key,
      version,
      size,
      etag,
      uploaded,
      storageClass: stored,
      httpMetadata: httpMetadata ?? {},
      customMetadata: customMetadata ?? {},
      checksums: given.checksums,
    };
  }

  /** What `write` does to the rows decides about the file. */
  async #settled<T>(file: string, write: () => Promise<T>): Promise<T> {
    let kept = false;
    try {
      const result = await write();
      kept = true;
      return result;
    } finally {
      this.#folder.settle(file, kept);
    }
  }

  async delete(bucketId: string, keys: readonly string[]): Promise<number> {
    if (keys.length < 1 || keys.length > limits.deleteKeys) throw r2Errors.deleteKeys();
    for (const key of keys) checkKey(key);
    const { removed, deleted } = await this.#db.write(objectWrites.deleteObjects, { bucketId, keys: [...keys] });
    this.#folder.remove(removed);
    return deleted;
  }

  async list(bucketId: string, options: ListOptions = {}): Promise<ObjectList> {
    const include = { http: options.includeHttp ?? false, custom: options.includeCustom ?? false };
    const list = listObjects(options, (from, end, count) =>
      reads.readRows(this.#db, bucketId, include, { from, end, count }),
    );
    if (list.objects.length === 0) reads.requireBucket(this.#db, bucketId);
    return list;
  }

  async createMultipartUpload(bucketId: string, key: string, options: ObjectOptions = {}): Promise<string> {
    checkKey(key);
    checkObjectOptions(options);
    const uploadId = randomBytes(48).toString("base64url");
    await this.#db.write(uploadWrites.createUpload, {
      bucketId,
      key,
      uploadId,
      http: reads.metadataText(options.httpMetadata),
      custom: reads.metadataText(options.customMetadata),
      storageClass: options.storageClass,
      now: this.#now(),
    });
    return uploadId;
  }

  async uploadPart(bucketId: string, key: string, uploadId: string, part: number, body: Bytes): Promise<string> {
    checkKey(key);
    if (!(Number.isInteger(part) && part >= 1 && part <= limits.parts)) throw r2Errors.partNumber();
    if (!reads.uploadIsOpen(this.#db, { bucketId, key, uploadId })) throw r2Errors.noSuchUpload();
    const { blob, checksums } = await writeBlob(this.#folder, piecesOf(body), new Digests());
    return this.#settled(blob.file, async () => {
      const { md5: etag = "" } = checksums;
      const ref = { bucketId, key, uploadId };
      const { removed } = await this.#db.write(uploadWrites.putPart, { ref, part, etag, blob, now: this.#now() });
      this.#folder.remove(removed);
      return etag;
    });
  }

  async completeMultipartUpload(
    bucketId: string,
    key: string,
    uploadId: string,
    parts: readonly UploadedPart[],
  ): Promise<ObjectHead> {
    checkKey(key);
    if (parts.length > limits.parts) throw r2Errors.noSuchPart();
    const [version, uploaded] = [newHexId(), this.#now()];
    const done = await this.#db.write(uploadWrites.completeUpload, {
      ref: { bucketId, key, uploadId },
      parts: [...parts],
      version,
      now: uploaded,
    });
    this.#folder.remove(done.removed);
    return {
      key,
      version,
      size: done.size,
      etag: done.etag,
      uploaded,
      storageClass: done.storageClass,
      httpMetadata: reads.httpMetadataOf(done.http),
      customMetadata: reads.customMetadataOf(done.custom),
      checksums: {},
    };
  }

  async abortMultipartUpload(bucketId: string, key: string, uploadId: string): Promise<void> {
    checkKey(key);
    const { removed } = await this.#db.write(uploadWrites.abortUpload, { bucketId, key, uploadId });
    this.#folder.remove(removed);
  }

  async expireUploads(): Promise<void> {
    for (;;) {
      const { removed, more } = await this.#db.write(uploadWrites.expireUploads, { now: this.#now() });
      this.#folder.remove(removed);
      if (!more) return;
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#folder.close();
    await this.#db.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
