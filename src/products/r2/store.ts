import type {
  Bucket,
  BucketListOptions,
  BucketRef,
  ByteRange,
  GetOptions,
  ListOptions,
  ObjectHead,
  ObjectList,
  ObjectOptions,
  PutOptions,
  StorageClass,
  UploadedPart,
} from "#products/r2/schema.ts";

/** Bytes on their way in or out: all at once when they are few, else as they come. */
export type Bytes = Uint8Array | AsyncIterable<Uint8Array>;

/** An object that was asked for. */
export type GetResult = {
  object: ObjectHead;
  /** Undefined when the conditions do not hold. Nobody has to read a stream of it, but whoever begins it ends it. */
  content: { range: ByteRange; bytes: Bytes } | undefined;
};

/**
 * Buckets of objects: bytes under a key, whole or not there at all, replaced in one moment. What was answered is on the disk,
 * and is what every later call sees: reads after writes, and lists. Calls name a bucket by its id; one that is gone, like
 * anything else the caller can mend, is an ApiError of `errors.ts`.
 */
export interface R2Store {
  createBucket(ref: BucketRef, options?: { location?: string; storageClass?: StorageClass }): Promise<Bucket>;
  getBucket(ref: BucketRef): Promise<Bucket>;
  /** In the order of their names; `more` when the limit cut the list. */
  listBuckets(options: BucketListOptions): Promise<{ buckets: Bucket[]; more: boolean }>;
  /** Only an empty bucket, without uploads under way. */
  deleteBucket(ref: BucketRef): Promise<void>;
  /** For objects written from now on that do not name theirs. */
  setStorageClass(ref: BucketRef, storageClass: StorageClass): Promise<Bucket>;

  head(bucketId: string, key: string): Promise<ObjectHead | undefined>;
  get(bucketId: string, key: string, options?: GetOptions): Promise<GetResult | undefined>;
  /**
   * The object becomes visible when all its bytes are on the disk, their checksums are those given and the conditions hold of
   * what is there at that moment; of several puts that race for an absent key, one wins. A body that ends in an error leaves
   * everything as it was.
   */
  put(bucketId: string, key: string, body: Bytes, options?: PutOptions): Promise<ObjectHead>;
  /** All of these or none. How many there were. */
  delete(bucketId: string, keys: readonly string[]): Promise<number>;
  list(bucketId: string, options?: ListOptions): Promise<ObjectList>;

  /** The id of an upload, which lives for seven days. */
  createMultipartUpload(bucketId: string, key: string, options?: ObjectOptions): Promise<string>;
  /** The part's entity tag. Uploading a number again replaces the part. */
  uploadPart(bucketId: string, key: string, uploadId: string, part: number, body: Bytes): Promise<string>;
  /** Puts the object that these parts make, in the order of their numbers. */
  completeMultipartUpload(
    bucketId: string,
    key: string,
    uploadId: string,
    parts: readonly UploadedPart[],
  ): Promise<ObjectHead>;
  abortMultipartUpload(bucketId: string, key: string, uploadId: string): Promise<void>;
}
