import type { SQLOutputValue } from "node:sqlite";
import { crc32 } from "node:zlib";
import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import type { Extent } from "#products/r2/blob-read.ts";
import { recordOf, type CustomerKeyRecord } from "#products/r2/customer-key.ts";
import { r2Errors } from "#products/r2/errors.ts";
import type { ListedRow, Position } from "#products/r2/listing.ts";
import type {
  Bucket,
  BucketListOptions,
  BucketRef,
  ByteRange,
  HttpMetadata,
  Jurisdiction,
  ListedObject,
  ObjectHead,
  StorageClass,
} from "#products/r2/schema.ts";
import type { LifecycleRule } from "#products/r2/settings.ts";
import type { StoredChecksums } from "#products/r2/writes-uploads.ts";

type Row = Record<string, SQLOutputValue>;

const log = createLogger("r2.store");

const bucketColumns = "id, account_id, jurisdiction, name, location, storage_class, created";
const headColumns = "version, size, etag, uploaded, storage_class, checksums, ssec";

export function readBucket(db: Database, { accountId, jurisdiction, name }: BucketRef): Bucket {
  const row = db
    .prepare(`SELECT ${bucketColumns} FROM r2_buckets WHERE account_id = ? AND jurisdiction = ? AND name = ?`)
    .get(accountId, jurisdiction, name);
  if (!row) throw r2Errors.noSuchBucket();
  return toBucket(row);
}

export function readBucketById(db: Database, id: string): Bucket | undefined {
  const row = db.prepare(`SELECT ${bucketColumns} FROM r2_buckets WHERE id = ?`).get(id);
  return row && toBucket(row);
}

/** The buckets that have lifecycle rules. */
export function readLifecycles(db: Database): { bucketId: string; rules: LifecycleRule[] }[] {
  const rows = db.prepare("SELECT bucket_id, value FROM r2_settings WHERE name = 'lifecycle'").all();
  return rows.map((row) => ({
    bucketId: String(row["bucket_id"]),
    rules: JSON.parse(String(row["value"])) as LifecycleRule[],
  }));
}

/** For calls that found nothing: whether that is because the bucket is gone. */
export function requireBucket(db: Database, bucketId: string): void {
  if (!db.prepare("SELECT 1 FROM r2_buckets WHERE id = ?").get(bucketId)) throw r2Errors.noSuchBucket();
}

export function readBuckets(db: Database, options: BucketListOptions): { buckets: Bucket[]; more: boolean } {
  const { accountId, jurisdiction, nameContains = "", startAfter = null, limit, descending = false } = options;
  const after = descending ? "name < ?3" : "name > ?3";
  const rows = db
    .prepare(
      `SELECT ${bucketColumns} FROM r2_buckets WHERE account_id = ?1 AND jurisdiction = ?2 AND (?3 IS NULL OR ${after}) AND instr(name, ?4) > 0 ORDER BY name ${descending ? "DESC" : "ASC"} LIMIT ?5`,
    )
    .all(accountId, jurisdiction, startAfter, nameContains, limit + 1);
  return { buckets: rows.slice(0, limit).map(toBucket), more: rows.length > limit };
}

/** An object, and its bytes when they are few enough to be in the database. One statement, so they belong together. */
export function readObject(
  db: Database,
  bucketId: string,
  key: string,
): { object: ObjectHead; inline: Uint8Array | undefined; keyRecord: CustomerKeyRecord | undefined } | undefined {
  const row = db
    .prepare(
      `SELECT ${headColumns}, http, custom, inline_id, crc, bytes FROM r2_objects LEFT JOIN r2_inline ON id = inline_id WHERE bucket_id = ? AND key = ?`,
    )
    .get(bucketId, Buffer.from(key));
  if (!row) return undefined;
  const object = toHead(key, row);
  const inline = row["inline_id"] === null ? undefined : checkedInline(object, row);
  return { object, inline, keyRecord: recordOf(row["ssec"]) };
}

export function readHead(db: Database, bucketId: string, key: string): ObjectHead | undefined {
  const row = db
    .prepare(`SELECT ${headColumns}, http, custom FROM r2_objects WHERE bucket_id = ? AND key = ?`)
    .get(bucketId, Buffer.from(key));
  return row && toHead(key, row);
}

/** The files that hold `range` of a version; undefined when they do not, because the version was replaced. */
export function readExtentRows(db: Database, version: string, { offset, length }: ByteRange): Extent[] | undefined {
  const rows = db
    .prepare(
      "SELECT start, file, size, crc FROM r2_extents WHERE version = ?1 AND start < ?3 AND start >= (SELECT max(start) FROM r2_extents WHERE version = ?1 AND start <= ?2) ORDER BY start",
    )
    .all(version, offset, offset + length);
  const extents = rows.map((row) => ({
    start: Number(row["start"]),
    file: String(row["file"]),
    size: Number(row["size"]),
    crc: Number(row["crc"]),
  }));
  const last = extents.at(-1);
  return last && last.start + last.size >= offset + length ? extents : undefined;
}

export function readRows(
  db: Database,
  bucketId: string,
  include: { http: boolean; custom: boolean },
  page: { from: Position; end: Buffer | undefined; count: number },
): ListedRow[] {
  const { from, end, count } = page;
  const columns = `key, ${headColumns}${include.http ? ", http" : ""}${include.custom ? ", custom" : ""}`;
  const before = end ? "AND key < ?" : "";
  return db
    .prepare(
      `SELECT ${columns} FROM r2_objects WHERE bucket_id = ? AND key ${from.inclusive ? ">=" : ">"} ? ${before} ORDER BY key LIMIT ?`,
    )
    .all(bucketId, from.key, ...(end ? [end] : []), count)
    .map(toListedRow);
}

/** An object whose files have no rows, or not all: nothing of it can be served. */
export function incomplete({ version, size }: ObjectHead): Error {
  log.error("an object without all of its files", { version, size });
  return r2Errors.corrupt();
}

/** Whether a file belongs to an object or a part. */
export function hasRow(db: Database, file: string): boolean {
  return (
    db
      .prepare("SELECT 1 FROM r2_extents WHERE file = ?1 UNION ALL SELECT 1 FROM r2_parts WHERE file = ?1")
      .get(file) !== undefined
  );
}

/** Metadata the way its column holds it, and back. */
export function metadataText(metadata: object | undefined): string {
  if (metadata === undefined) return "";
  const text = JSON.stringify(metadata);
  return text === "{}" ? "" : text;
}

/** An object from what was just written of it. */
export function headOf(
  object: Omit<ObjectHead, "httpMetadata" | "customMetadata" | "checksums" | "compositeChecksum" | "customerKeyMd5"> & {
    http: string;
    custom: string;
    checksums: string;
    ssec: string;
  },
): ObjectHead {
  const { key, storageClass, ...rest } = object;
  return toHead(key, { ...rest, storage_class: storageClass });
}

function httpMetadataOf(text: SQLOutputValue | undefined): HttpMetadata {
  return text === "" ? {} : (JSON.parse(String(text)) as HttpMetadata);
}

function customMetadataOf(text: SQLOutputValue | undefined): Record<string, string> {
  return text === "" ? {} : (JSON.parse(String(text)) as Record<string, string>);
}

/** An object's checksums: those kept beside the tag, and the MD5, which is the tag unless it was a multipart upload. */
function checksumsOf(
  etag: string,
  { composite, ...checksums }: StoredChecksums,
): Pick<ObjectHead, "checksums" | "compositeChecksum"> {
  return {
    checksums: etag.includes("-") ? checksums : { md5: etag, ...checksums },
    ...(composite && { compositeChecksum: composite }),
  };
}

function checkedInline(object: ObjectHead, row: Row): Uint8Array {
  const { bytes } = row;
  if (bytes instanceof Uint8Array && bytes.length === object.size && crc32(bytes) === row["crc"]) return bytes;
  log.error("the bytes of an object are not those that were written", { version: object.version, size: object.size });
  throw r2Errors.corrupt();
}

function toBucket(row: Row): Bucket {
  return {
    id: String(row["id"]),
    accountId: String(row["account_id"]),
    name: String(row["name"]),
    jurisdiction: row["jurisdiction"] as Jurisdiction,
    location: row["location"] === null ? undefined : String(row["location"]),
    storageClass: row["storage_class"] as StorageClass,
    created: Number(row["created"]),
  };
}

function toHead(key: string, row: Row): ObjectHead {
  return {
    ...fixedMembers(key, row),
    httpMetadata: httpMetadataOf(row["http"]),
    customMetadata: customMetadataOf(row["custom"]),
  };
}

/** Bytes of an object's JSON without key and metadata, at most: all members, a SHA-512 among the checksums. */
const fixedJsonBytes = 480;

function toListedRow(row: Row): ListedRow {
  const key = bufferOf(row["key"]);
  const text = key.toString();
  const object: ListedObject = fixedMembers(text, row);
  let jsonBytes = fixedJsonBytes + Buffer.byteLength(JSON.stringify(text));
  if (row["http"] !== undefined) {
    object.httpMetadata = httpMetadataOf(row["http"]);
    jsonBytes += Buffer.byteLength(String(row["http"]));
  }
  if (row["custom"] !== undefined) {
    object.customMetadata = customMetadataOf(row["custom"]);
    // `{"k":"a","v":"b"},` for `"a":"b",`: at most two and a half times as long.
    jsonBytes += 2.5 * Buffer.byteLength(String(row["custom"]));
  }
  return { key, object, jsonBytes };
}

function fixedMembers(key: string, row: Row) {
  const etag = String(row["etag"]);
  const stored = row["checksums"] === "" ? {} : (JSON.parse(String(row["checksums"])) as StoredChecksums);
  const keyRecord = recordOf(row["ssec"]);
  return {
    key,
    version: String(row["version"]),
    size: Number(row["size"]),
    etag,
    uploaded: Number(row["uploaded"]),
    storageClass: row["storage_class"] as StorageClass,
    ...checksumsOf(etag, stored),
    ...(keyRecord && { customerKeyMd5: keyRecord.md5 }),
  };
}

function bufferOf(value: SQLOutputValue | undefined): Buffer {
  if (!(value instanceof Uint8Array)) throw new Error("a key that is not a blob");
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}
