import type { SQLOutputValue } from "node:sqlite";
import type { Database } from "#db/database.ts";
import { recordOf, type CustomerKeyRecord } from "#products/r2/customer-key.ts";
import { r2Errors } from "#products/r2/errors.ts";
import {
  limits,
  type Checksums,
  type PartList,
  type StorageClass,
  type UploadChecksum,
  type UploadHead,
  type UploadList,
  type UploadListOptions,
} from "#products/r2/schema.ts";
import type { UploadRef } from "#products/r2/store.ts";

export type OpenUpload = {
  storageClass: StorageClass;
  keyRecord: CustomerKeyRecord | undefined;
  checksum: UploadChecksum | undefined;
};

/** An upload that takes parts. */
export function readUpload(db: Database, { bucketId, key, uploadId }: UploadRef): OpenUpload {
  const row = db
    .prepare(
      "SELECT storage_class, ssec, checksum FROM r2_uploads WHERE id = ? AND bucket_id = ? AND key = ? AND state = 'open'",
    )
    .get(uploadId, bucketId, Buffer.from(key));
  if (!row) throw r2Errors.noSuchUpload();
  return {
    storageClass: row["storage_class"] as StorageClass,
    keyRecord: recordOf(row["ssec"]),
    checksum: row["checksum"] === "" ? undefined : (JSON.parse(String(row["checksum"])) as UploadChecksum),
  };
}

export function readParts(db: Database, ref: UploadRef, { after, limit }: { after: number; limit: number }): PartList {
  const { storageClass, checksum } = readUpload(db, ref);
  const rows = db
    .prepare(
      "SELECT part, etag, size, uploaded, checksums FROM r2_parts WHERE upload_id = ? AND part > ? ORDER BY part LIMIT ?",
    )
    .all(ref.uploadId, after, limit + 1);
  const parts = rows.slice(0, limit).map((row) => ({
    part: Number(row["part"]),
    etag: String(row["etag"]),
    size: Number(row["size"]),
    uploaded: Number(row["uploaded"]),
    checksums: row["checksums"] === "" ? {} : (JSON.parse(String(row["checksums"])) as Checksums),
  }));
  return { parts, more: rows.length > limit, storageClass, checksum };
}

/** In the order of keys, and of each key's uploads by their time. */
export function readUploads(db: Database, bucketId: string, options: UploadListOptions): UploadList {
  const { prefix = "", delimiter, limit } = options;
  const list: UploadList = { uploads: [], delimitedPrefixes: [], more: false };
  let after = { key: Buffer.from(options.keyMarker ?? ""), created: -1, id: "" };
  if (options.uploadIdMarker !== undefined) {
    const row = db.prepare("SELECT created FROM r2_uploads WHERE id = ?").get(options.uploadIdMarker);
    after = { ...after, created: Number(row?.["created"] ?? -1), id: options.uploadIdMarker };
  } else if (options.keyMarker !== undefined) after.created = Number.MAX_SAFE_INTEGER;
  for (;;) {
    const rows = db
      .prepare(
        "SELECT id, key, created, storage_class FROM r2_uploads WHERE bucket_id = ?1 AND state = 'open' AND (key, created, id) > (?2, ?3, ?4) ORDER BY key, created, id LIMIT ?5",
      )
      .all(bucketId, after.key, after.created, after.id, limits.listKeys);
    for (const row of rows) {
      const upload = toUpload(row);
      after = { key: Buffer.from(upload.key), created: upload.created, id: upload.uploadId };
      if (!upload.key.startsWith(prefix)) continue;
      const cut = delimiter ? upload.key.indexOf(delimiter, prefix.length) : -1;
      const folder = cut < 0 ? undefined : upload.key.slice(0, cut + (delimiter ?? "").length);
      // The folder that a page ended with is named by its marker.
      if (folder !== undefined && (folder === list.delimitedPrefixes.at(-1) || folder === options.keyMarker)) continue;
      if (list.uploads.length + list.delimitedPrefixes.length === limit) return { ...list, more: true };
      if (folder === undefined) list.uploads.push(upload);
      else list.delimitedPrefixes.push(folder);
    }
    if (rows.length < limits.listKeys) return list;
  }
}

/** Uploads of a bucket that began at `before` or earlier, below `prefix`. */
export function readOldUploads(
  db: Database,
  bucketId: string,
  { prefix, before, limit }: { prefix: string; before: number; limit: number },
): string[] {
  const rows = db
    .prepare(
      "SELECT id, key, created, storage_class FROM r2_uploads WHERE bucket_id = ? AND state = 'open' AND created <= ?",
    )
    .all(bucketId, before);
  return rows
    .map(toUpload)
    .filter(({ key }) => key.startsWith(prefix))
    .slice(0, limit)
    .map(({ uploadId }) => uploadId);
}

function toUpload(row: Record<string, SQLOutputValue>): UploadHead {
  const { key } = row;
  if (!(key instanceof Uint8Array)) throw new Error("a key that is not a blob");
  return {
    key: Buffer.from(key).toString(),
    uploadId: String(row["id"]),
    created: Number(row["created"]),
    storageClass: row["storage_class"] as StorageClass,
  };
}
