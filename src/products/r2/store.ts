import type {
  Bucket,
  BucketListOptions,
  BucketRef,
  ByteRange,
  Checksums,
  Conditions,
  CopyOptions,
  GetOptions,
  ListOptions,
  ObjectHead,
  ObjectList,
  PartList,
  PartOptions,
  PutOptions,
  StorageClass,
  UploadList,
  UploadListOptions,
  UploadOptions,
  UploadedPart,
} from "#products/r2/schema.ts";

/** Bytes on their way in or out: all at once when they are few, else as they come. */
export type Bytes = Uint8Array | AsyncIterable<Uint8Array>;

/** Which object. */
export type ObjectRef = { bucketId: string; key: string };
/** Which upload; one of another bucket or key does not exist. */
export type UploadRef = ObjectRef & { uploadId: string };

/** What must hold of the object that is there, and checksums that the new one must have. */
export type CompleteOptions = { onlyIf?: Conditions; checksums?: Checksums };

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
  /** The object under another name or with other metadata, without moving its bytes where it can. */
  copy(from: ObjectRef, to: ObjectRef, options?: CopyOptions): Promise<ObjectHead>;
  /** All of these or none. How many there were. */
  delete(bucketId: string, keys: readonly string[]): Promise<number>;
  list(bucketId: string, options?: ListOptions): Promise<ObjectList>;

  /** The id of an upload, which lives for seven days. */
  createMultipartUpload(bucketId: string, key: string, options?: UploadOptions): Promise<string>;
  /** The part's entity tag. Uploading a number again replaces the part. */
  uploadPart(
    bucketId: string,
    key: string,
    uploadId: string,
    part: number,
    body: Bytes,
    options?: PartOptions,
  ): Promise<string>;
  /** Puts the object that these parts make, in the order of their numbers. */
  completeMultipartUpload(
    bucketId: string,
    key: string,
    uploadId: string,
    parts: readonly UploadedPart[],
    options?: CompleteOptions,
  ): Promise<ObjectHead>;
  /** Parts with numbers above `after`. */
  listParts(ref: UploadRef, page: { after: number; limit: number }): Promise<PartList>;
  listUploads(bucketId: string, options: UploadListOptions): Promise<UploadList>;
  abortMultipartUpload(bucketId: string, key: string, uploadId: string): Promise<void>;
}
