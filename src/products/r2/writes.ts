import type { DatabaseSchema } from "#db/schema.ts";
import * as buckets from "#products/r2/writes-buckets.ts";
import * as objects from "#products/r2/writes-objects.ts";
import * as uploads from "#products/r2/writes-uploads.ts";

/**
 * Keys are blobs: SQLite then compares and keeps their exact bytes. `version` names an object's bytes: one row of `r2_inline`
 * when they are few, else the files of `r2_extents` in order. Rows of metadata stay small, so a list reads few pages.
 */
const tables = `
CREATE TABLE r2_buckets (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  jurisdiction TEXT NOT NULL,
  name TEXT NOT NULL,
  location TEXT,
  storage_class TEXT NOT NULL,
  created INTEGER NOT NULL,
  UNIQUE (account_id, jurisdiction, name)
) WITHOUT ROWID, STRICT;

CREATE TABLE r2_objects (
  bucket_id TEXT NOT NULL,
  key BLOB NOT NULL,
  account_id TEXT NOT NULL,
  version TEXT NOT NULL,
  size INTEGER NOT NULL,
  etag TEXT NOT NULL,
  uploaded INTEGER NOT NULL,
  storage_class TEXT NOT NULL,
  inline_id INTEGER,
  http TEXT NOT NULL,
  custom TEXT NOT NULL,
  checksums TEXT NOT NULL,
  PRIMARY KEY (bucket_id, key)
) WITHOUT ROWID, STRICT;

CREATE TABLE r2_inline (
  id INTEGER PRIMARY KEY,
  account_id TEXT NOT NULL,
  crc INTEGER NOT NULL,
  bytes BLOB NOT NULL
) STRICT;

CREATE TABLE r2_extents (
  version TEXT NOT NULL,
  start INTEGER NOT NULL,
  account_id TEXT NOT NULL,
  file TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  PRIMARY KEY (version, start)
) WITHOUT ROWID, STRICT;

CREATE TABLE r2_uploads (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  bucket_id TEXT NOT NULL,
  key BLOB NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'completed', 'aborted')),
  created INTEGER NOT NULL,
  storage_class TEXT NOT NULL,
  http TEXT NOT NULL,
  custom TEXT NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX r2_uploads_of_bucket ON r2_uploads (bucket_id, key);
CREATE INDEX r2_uploads_by_age ON r2_uploads (created);

CREATE TABLE r2_parts (
  upload_id TEXT NOT NULL,
  part INTEGER NOT NULL,
  account_id TEXT NOT NULL,
  etag TEXT NOT NULL,
  uploaded INTEGER NOT NULL,
  file TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  PRIMARY KEY (upload_id, part)
) WITHOUT ROWID, STRICT;
`;

/** R2's tables and changes, for the writer thread of the file that holds them. */
export const r2Schema: DatabaseSchema = {
  product: "r2",
  migrations: [tables],
  transactions: [
    buckets.createBucket,
    buckets.deleteBucket,
    buckets.setStorageClass,
    objects.putObject,
    objects.deleteObjects,
    uploads.createUpload,
    uploads.putPart,
    uploads.completeUpload,
    uploads.abortUpload,
    uploads.expireUploads,
  ],
};
