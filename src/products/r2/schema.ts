/** What R2 stores and what its calls take; shared by the store, REST, the binding and the dashboard. */

/** https://developers.cloudflare.com/r2/platform/limits/ unless said otherwise. */
export const limits = {
  /** Bytes of a key in UTF-8. */
  keyBytes: 1024,
  /** Custom metadata of an object, and its HTTP metadata, each: see `metadataSize` in `rules.ts` for how it is counted. */
  metadataBytes: 8192,
  /** One put or one part: 5 GiB less 5 MiB. */
  uploadBytes: 5 * 1024 ** 3 - 5 * 1024 ** 2,
  /** A whole object: 5 TiB less 5 GiB. */
  objectBytes: 5 * 1024 ** 4 - 5 * 1024 ** 3,
  /** Parts of a multipart upload. */
  parts: 10_000,
  /** Every part but the last. https://developers.cloudflare.com/r2/objects/multipart-objects/ */
  partBytesMin: 5 * 1024 ** 2,
  /** A multipart upload that is neither completed nor aborted. https://developers.cloudflare.com/r2/buckets/object-lifecycles/ */
  uploadLifeMs: 7 * 24 * 3600 * 1000,
  /** Keys of one `delete`. https://developers.cloudflare.com/r2/api/workers/workers-api-reference/ */
  deleteKeys: 1000,
  /** Objects and delimited prefixes of one `list`. */
  listKeys: 1000,
  /** JSON of one `list`, ours: workerd refuses a reply with more than 1 MiB of it (`r2-rpc.c++`). */
  listReplyBytes: 768 * 1024,
  buckets: 1_000_000,
  /** Buckets of one page of the REST list. https://developers.cloudflare.com/api/resources/r2/subresources/buckets/methods/list/ */
  bucketPage: 1000,
  /** Ours: bytes up to here live in the database, more in files (storage.md §3). */
  inlineBytes: 64 * 1024,
} as const;

/** 3 to 63 characters; https://developers.cloudflare.com/r2/buckets/create-buckets/. */
export const bucketName = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/;

export const jurisdictions = ["default", "eu", "us", "fedramp", "fedramp-high"] as const;
/** Part of a bucket's identity: buckets of one name in two jurisdictions are two buckets. */
export type Jurisdiction = (typeof jurisdictions)[number];

export const storageClasses = ["Standard", "InfrequentAccess"] as const;
export type StorageClass = (typeof storageClasses)[number];

export const locationHints = ["apac", "eeur", "enam", "weur", "wnam", "oc"] as const;

export type Bucket = {
  /** Opaque and stable; what a binding holds. A bucket made anew under an old name has another. */
  id: string;
  accountId: string;
  name: string;
  jurisdiction: Jurisdiction;
  /** The hint it was created with; undefined when there was none. */
  location: string | undefined;
  /** Of objects that do not name theirs. */
  storageClass: StorageClass;
  /** Milliseconds since the epoch, as all times here. */
  created: number;
};

/** Which bucket of an account. */
export type BucketRef = { accountId: string; name: string; jurisdiction: Jurisdiction };

export type BucketListOptions = {
  accountId: string;
  jurisdiction: Jurisdiction;
  nameContains?: string;
  /** Names after this one in the direction of the list. */
  startAfter?: string;
  limit: number;
  descending?: boolean;
};

export const httpFields = [
  "contentType",
  "contentLanguage",
  "contentDisposition",
  "contentEncoding",
  "cacheControl",
] as const;

/** Members with the names that workerd and the REST API give them. */
export type HttpMetadata = { [Name in (typeof httpFields)[number]]?: string } & { cacheExpiry?: number };

export const checksumAlgorithms = ["md5", "sha1", "sha256", "sha384", "sha512"] as const;
export type ChecksumAlgorithm = (typeof checksumAlgorithms)[number];
/** What only the S3 API knows. https://developers.cloudflare.com/r2/api/s3/api/ */
export const crcAlgorithms = ["crc32", "crc32c", "crc64nvme"] as const;
export type CrcAlgorithm = (typeof crcAlgorithms)[number];
export type DigestAlgorithm = ChecksumAlgorithm | CrcAlgorithm;
/** In hexadecimal, lower case. */
export type Checksums = { [Algorithm in DigestAlgorithm]?: string };

/** Checksums of a multipart upload in the S3 API: of the parts' checksums, or of all bytes as if they were one part. */
export type UploadChecksum = { algorithm: DigestAlgorithm; type: "COMPOSITE" | "FULL_OBJECT" };
/** S3's checksum of the parts' checksums: its algorithm, and base64 with a hyphen and the number of parts. */
export type CompositeChecksum = { algorithm: DigestAlgorithm; value: string };

/** An object without its bytes. */
export type ObjectHead = {
  key: string;
  version: string;
  size: number;
  /** MD5 of the bytes; of a multipart object the MD5 of its parts' MD5s, a hyphen and their number. Without quotes. */
  etag: string;
  uploaded: number;
  storageClass: StorageClass;
  httpMetadata: HttpMetadata;
  customMetadata: Record<string, string>;
  /** MD5 unless it was a multipart upload, and the checksums that the put gave or asked for. */
  checksums: Checksums;
  compositeChecksum?: CompositeChecksum;
  /** MD5 of the key that the customer gave to encrypt it with (SSE-C), in base64 as S3 shows it. */
  customerKeyMd5?: string;
};

/** An entity tag to compare with, the way workerd sends it. */
export type EtagCondition = { type: "strong" | "weak"; value: string } | { type: "wildcard" };

/** What must hold of the object that is there; RFC 9110 §13.1 under R2's names. */
export type Conditions = {
  etagMatches?: EtagCondition[];
  etagDoesNotMatch?: EtagCondition[];
  uploadedBefore?: number;
  uploadedAfter?: number;
  /** Compare times as HTTP dates do, in whole seconds. */
  secondsGranularity?: boolean;
};

/** A part of the bytes as it was asked for: offset and length, or a suffix, or the text of a `Range` header. */
export type RangeRequest = { offset?: number; length?: number } | { suffix: number } | { header: string };

/** A part of the bytes as it was found. */
export type ByteRange = { offset: number; length: number };

/** `customerKey`: 32 bytes in hexadecimal (SSE-C); needed to read what was written with it, and kept nowhere. */
export type GetOptions = { range?: RangeRequest; onlyIf?: Conditions; customerKey?: string };

/** What an object is given besides its bytes. */
export type ObjectOptions = {
  httpMetadata?: HttpMetadata;
  customMetadata?: Record<string, string>;
  /** Default: the bucket's. */
  storageClass?: StorageClass;
  customerKey?: string;
};

/** `digests`: checksums to make and keep besides those that are given. */
export type PutOptions = ObjectOptions & {
  onlyIf?: Conditions;
  checksums?: Checksums;
  digests?: readonly DigestAlgorithm[];
};

export type UploadOptions = ObjectOptions & { checksum?: UploadChecksum };
export type PartOptions = { checksums?: Checksums; digests?: readonly DigestAlgorithm[]; customerKey?: string };

export type ListOptions = {
  prefix?: string;
  delimiter?: string;
  /** Keys after this one. */
  startAfter?: string;
  /** Where the last page ended. */
  cursor?: string;
  limit?: number;
  includeHttp?: boolean;
  includeCustom?: boolean;
};

/** An object in a list: metadata is there only when it was asked for. */
export type ListedObject = Omit<ObjectHead, "httpMetadata" | "customMetadata"> & {
  httpMetadata?: HttpMetadata;
  customMetadata?: Record<string, string>;
};

/** Objects and prefixes in the order of their bytes. Go on with `cursor` while `truncated`, however many there are here. */
export type ObjectList = {
  objects: ListedObject[];
  delimitedPrefixes: string[];
  truncated: boolean;
  cursor?: string;
};

/** A part as its uploader names it when completing; checksums that are given must be the part's. */
export type UploadedPart = { part: number; etag: string; checksums?: Checksums };

/** A part that was uploaded. */
export type PartHead = { part: number; etag: string; size: number; uploaded: number; checksums: Checksums };

export type PartList = {
  parts: PartHead[];
  more: boolean;
  storageClass: StorageClass;
  checksum: UploadChecksum | undefined;
};

/** A multipart upload that is under way. */
export type UploadHead = { key: string; uploadId: string; created: number; storageClass: StorageClass };

export type UploadListOptions = {
  prefix?: string;
  delimiter?: string;
  /** Keys after this one; with `uploadIdMarker` also later uploads of this key. */
  keyMarker?: string;
  uploadIdMarker?: string;
  limit: number;
};

export type UploadList = { uploads: UploadHead[]; delimitedPrefixes: string[]; more: boolean };

/** What `copy` makes of an object: what is undefined is as it was. */
export type CopyOptions = ObjectOptions & {
  /** Must hold of the source. */
  sourceOnlyIf?: Conditions;
  sourceCustomerKey?: string;
  /** Must hold of what is there. */
  onlyIf?: Conditions;
};
