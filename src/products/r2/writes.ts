import type { DatabaseSchema } from "#db/schema.ts";
import { removeEvents, trimEvents } from "#products/r2/events.ts";
import * as buckets from "#products/r2/writes-buckets.ts";
import * as settingWrites from "#products/r2/writes-settings.ts";
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

/**
 * `ssec`: what is kept of a customer's key (`customer-key.ts`). `checksum`: an upload's `UploadChecksum`. `lock_rules` stand in
 * the bucket's row because every write reads that anyway.
 */
const settings = `
ALTER TABLE r2_buckets ADD COLUMN lock_rules TEXT NOT NULL DEFAULT '';
ALTER TABLE r2_objects ADD COLUMN ssec TEXT NOT NULL DEFAULT '';
ALTER TABLE r2_uploads ADD COLUMN ssec TEXT NOT NULL DEFAULT '';
ALTER TABLE r2_uploads ADD COLUMN checksum TEXT NOT NULL DEFAULT '';
ALTER TABLE r2_parts ADD COLUMN checksums TEXT NOT NULL DEFAULT '';

CREATE TABLE r2_settings (
  bucket_id TEXT NOT NULL,
  name TEXT NOT NULL,
  account_id TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (bucket_id, name)
) WITHOUT ROWID, STRICT;

CREATE TABLE r2_domains (
  host TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  bucket_id TEXT NOT NULL,
  value TEXT NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX r2_domains_of_bucket ON r2_domains (bucket_id);

CREATE TABLE r2_access_keys (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  secret BLOB NOT NULL,
  value TEXT NOT NULL,
  created INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX r2_access_keys_of_account ON r2_access_keys (account_id, created, id);
`;

/**
 * Events that wait for their queues. `notification_rules` stand in the bucket's row because every write reads that anyway.
 */
const events = `
ALTER TABLE r2_buckets ADD COLUMN notification_rules TEXT NOT NULL DEFAULT '';
UPDATE r2_buckets SET notification_rules =
  coalesce((SELECT value FROM r2_settings WHERE bucket_id = r2_buckets.id AND r2_settings.name = 'notifications'), '');

CREATE TABLE r2_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  queue_id TEXT NOT NULL,
  account_id TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX r2_events_of_queue ON r2_events (queue_id, id);
`;

/** R2's tables and changes, for the writer thread of the file that holds them. */
export const r2Schema: DatabaseSchema = {
  product: "r2",
  migrations: [tables, settings, events],
  transactions: [
    buckets.createBucket,
    buckets.deleteBucket,
    buckets.setStorageClass,
    objects.putObject,
    objects.deleteObjects,
    objects.copyObject,
    objects.applyLifecycle,
    uploads.createUpload,
    uploads.putPart,
    uploads.completeUpload,
    uploads.abortUpload,
    uploads.abortUploads,
    uploads.expireUploads,
    removeEvents,
    trimEvents,
    settingWrites.setSetting,
    settingWrites.addDomain,
    settingWrites.updateDomain,
    settingWrites.removeDomain,
    settingWrites.addAccessKey,
    settingWrites.updateAccessKey,
    settingWrites.removeAccessKey,
  ],
};
