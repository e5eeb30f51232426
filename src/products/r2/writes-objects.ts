import { transaction, type WriteConnection } from "#db/schema.ts";
import type { Blob } from "#products/r2/blob-write.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { isLocked } from "#products/r2/locks.ts";
import { holds } from "#products/r2/rules.ts";
import type { Conditions, StorageClass } from "#products/r2/schema.ts";
import { noteEvent, type EventBucket } from "#products/r2/events.ts";
import type { LockRule, QueueNotifications } from "#products/r2/settings.ts";

/** Metadata as its columns hold it: JSON, or nothing for an empty object, which is most of them. */
export type MetadataText = { http: string; custom: string };

/** Where an object's bytes are. */
export type NewData = { kind: "inline"; bytes: Uint8Array; crc: number } | { kind: "files"; blobs: Blob[] };

export type NewObject = MetadataText & {
  bucketId: string;
  key: string;
  version: string;
  size: number;
  etag: string;
  uploaded: number;
  /** Checksums besides the MD5. */
  checksums: string;
  ssec: string;
  storageClass: StorageClass | undefined;
  data: NewData;
};

/** Files whose rows are gone: the caller removes them after the commit. */
export type Removed = { removed: string[] };

/** Replaces the object when the conditions hold of the one that is there: this is where puts race, one after another. */
export const putObject = transaction(
  "r2.putObject",
  (db, { object, onlyIf }: { object: NewObject; onlyIf: Conditions | undefined }) => {
    const bucket = bucketOf(db, object.bucketId);
    const storageClass = object.storageClass ?? bucket.storageClass;
    const replaced = replaceObject(db, bucket, { ...object, storageClass }, onlyIf);
    noteEvent(db, bucket, { action: "PutObject", ...createdEvent(object) });
    return { storageClass, ...replaced };
  },
);

/**
 * Puts another name to the bytes of `from` when it still has the version that was looked at. `files`: new names, made on the
 * disk already, of its files, in their order; bytes in the database are copied here.
 */
export const copyObject = transaction(
  "r2.copyObject",
  (
    db,
    args: {
      from: { bucketId: string; key: string; version: string };
      files: string[];
      object: Omit<NewObject, "data">;
      onlyIf: Conditions | undefined;
    },
  ): Removed & { storageClass: StorageClass } => {
    const { from, files, object, onlyIf } = args;
    const source = db
      .prepare(
        "SELECT inline_id, crc, bytes FROM r2_objects LEFT JOIN r2_inline ON id = inline_id WHERE bucket_id = ? AND key = ? AND version = ?",
      )
      .get(from.bucketId, Buffer.from(from.key), from.version);
    if (!source) throw r2Errors.noSuchKey();
    const { bytes } = source;
    const data: NewData =
      bytes instanceof Uint8Array
        ? { kind: "inline", bytes, crc: Number(source["crc"]) }
        : { kind: "files", blobs: blobsOf(db, from.version, files) };
    const bucket = bucketOf(db, object.bucketId);
    const storageClass = object.storageClass ?? bucket.storageClass;
    const replaced = replaceObject(db, bucket, { ...object, data, storageClass }, onlyIf);
    if (bucket.notifications) {
      const copySource = { bucket: bucketOf(db, from.bucketId).name, key: from.key };
      noteEvent(db, bucket, { action: "CopyObject", ...createdEvent(object), copySource });
    }
    return { storageClass, ...replaced };
  },
);

function blobsOf(db: WriteConnection, version: string, files: readonly string[]): Blob[] {
  const rows = db.prepare("SELECT size, crc FROM r2_extents WHERE version = ? ORDER BY start").all(version);
  if (rows.length !== files.length) throw r2Errors.noSuchKey();
  return rows.map((row, at) => ({ file: files[at] ?? "", size: Number(row["size"]), crc: Number(row["crc"]) }));
}

/** One object that a lifecycle rule has come to; nothing happens when it was replaced since. */
export type LifecycleStep = { key: Uint8Array; version: string; action: "delete" | "InfrequentAccess" };

/** Deletes or moves objects whose time has come, but none that is locked. How many of each. */
export const applyLifecycle = transaction(
  "r2.applyLifecycle",
  (db, { bucketId, steps, now }: { bucketId: string; steps: LifecycleStep[]; now: number }) => {
    const bucket = bucketOf(db, bucketId);
    const { lockRules } = bucket;
    const removed: string[] = [];
    let [deleted, moved] = [0, 0];
    for (const { key, version, action } of steps) {
      const row = db
        .prepare("SELECT version, inline_id, uploaded FROM r2_objects WHERE bucket_id = ? AND key = ? AND version = ?")
        .get(bucketId, key, version);
      if (!row) continue;
      if (action === "InfrequentAccess") {
        db.prepare("UPDATE r2_objects SET storage_class = ? WHERE bucket_id = ? AND key = ?").run(
          action,
          bucketId,
          key,
        );
        moved++;
        continue;
      }
      const there = { key: Buffer.from(key).toString(), uploaded: Number(row["uploaded"]) };
      if (lockRules && isLocked(lockRules, there, now)) continue;
      db.prepare("DELETE FROM r2_objects WHERE bucket_id = ? AND key = ?").run(bucketId, key);
      removed.push(...dropData(db, toOld(row)));
      noteEvent(db, bucket, { action: "LifecycleDeletion", key: there.key, now });
      deleted++;
    }
    return { removed, deleted, moved };
  },
);

/** All of them or none. */
export const deleteObjects = transaction(
  "r2.deleteObjects",
  (db, { bucketId, keys, now }: { bucketId: string; keys: string[]; now: number }): Removed & { deleted: number } => {
    const bucket = bucketOf(db, bucketId);
    const { lockRules } = bucket;
    const removed: string[] = [];
    let deleted = 0;
    for (const key of keys) {
      if (lockRules) refuseLocked(db, bucketId, key, lockRules, now);
      const row = db
        .prepare("DELETE FROM r2_objects WHERE bucket_id = ? AND key = ? RETURNING version, inline_id")
        .get(bucketId, Buffer.from(key));
      if (!row) continue;
      deleted++;
      removed.push(...dropData(db, toOld(row)));
      noteEvent(db, bucket, { action: "DeleteObject", key, now });
    }
    return { removed, deleted };
  },
);

/** What a write needs to know of its bucket. */
export type WriteBucket = EventBucket & { storageClass: StorageClass; lockRules: LockRule[] | undefined };

export function bucketOf(db: WriteConnection, id: string): WriteBucket {
  const row = db
    .prepare("SELECT account_id, name, storage_class, lock_rules, notification_rules FROM r2_buckets WHERE id = ?")
    .get(id);
  if (!row) throw r2Errors.noSuchBucket();
  const rules = String(row["lock_rules"]);
  const notifications = String(row["notification_rules"]);
  return {
    accountId: String(row["account_id"]),
    name: String(row["name"]),
    notifications: notifications === "" ? undefined : (JSON.parse(notifications) as QueueNotifications[]),
    storageClass: row["storage_class"] as StorageClass,
    lockRules: rules === "" ? undefined : (JSON.parse(rules) as LockRule[]),
  };
}

/** What an event tells of an object that was just written. */
export function createdEvent({ key, size, etag, uploaded }: Pick<NewObject, "key" | "size" | "etag" | "uploaded">) {
  return { key, object: { size, etag }, now: uploaded };
}

function refuseLocked(db: WriteConnection, bucketId: string, key: string, rules: LockRule[], now: number): void {
  const row = db
    .prepare("SELECT uploaded FROM r2_objects WHERE bucket_id = ? AND key = ?")
    .get(bucketId, Buffer.from(key));
  if (row && isLocked(rules, { key, uploaded: Number(row["uploaded"]) }, now)) throw r2Errors.locked();
}

/** Writes the object's rows in place of those of the object that is there. */
export function replaceObject(
  db: WriteConnection,
  { accountId, lockRules }: WriteBucket,
  object: NewObject & { storageClass: StorageClass },
  onlyIf?: Conditions,
): Removed {
  const key = Buffer.from(object.key);
  const row = db
    .prepare("SELECT version, inline_id, etag, uploaded FROM r2_objects WHERE bucket_id = ? AND key = ?")
    .get(object.bucketId, key);
  if (onlyIf) {
    const there = row && { etag: String(row["etag"]), uploaded: Number(row["uploaded"]) };
    if (!holds(onlyIf, there)) throw r2Errors.precondition();
  }
  const old = row && toOld(row);
  if (row && lockRules) {
    const there = { key: object.key, uploaded: Number(row["uploaded"]) };
    if (isLocked(lockRules, there, object.uploaded)) throw r2Errors.locked();
  }
  const { data } = object;
  // The usual overwrite of a small object by a small one: its row of bytes is used again.
  const reused = data.kind === "inline" ? old?.inlineId : undefined;
  const removed = old && reused === undefined ? dropData(db, old) : [];
  const inlineId = data.kind === "inline" ? writeInline(db, accountId, data, reused) : null;
  if (data.kind === "files") writeExtents(db, accountId, object.version, data.blobs);
  db.prepare(
    "INSERT OR REPLACE INTO r2_objects (bucket_id, key, account_id, version, size, etag, uploaded, storage_class, inline_id, http, custom, checksums, ssec) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
  ).run(
    object.bucketId,
    key,
    accountId,
    object.version,
    object.size,
    object.etag,
    object.uploaded,
    object.storageClass,
    inlineId,
    object.http,
    object.custom,
    object.checksums,
    object.ssec,
  );
  return { removed };
}

function writeInline(
  db: WriteConnection,
  accountId: string,
  { bytes, crc }: { bytes: Uint8Array; crc: number },
  reused: number | undefined,
): number {
  if (reused !== undefined) {
    db.prepare("UPDATE r2_inline SET crc = ?, bytes = ? WHERE id = ?").run(crc, bytes, reused);
    return reused;
  }
  const { lastInsertRowid } = db
    .prepare("INSERT INTO r2_inline (account_id, crc, bytes) VALUES (?, ?, ?)")
    .run(accountId, crc, bytes);
  return Number(lastInsertRowid);
}

function writeExtents(db: WriteConnection, accountId: string, version: string, blobs: readonly Blob[]): void {
  const insert = db.prepare(
    "INSERT INTO r2_extents (version, start, account_id, file, size, crc) VALUES (?, ?, ?, ?, ?, ?)",
  );
  let start = 0;
  for (const { file, size, crc } of blobs) {
    insert.run(version, start, accountId, file, size, crc);
    start += size;
  }
}

type Old = { version: string; inlineId: number | undefined };

function toOld(row: Record<string, unknown>): Old {
  return {
    version: String(row["version"]),
    inlineId: row["inline_id"] === null ? undefined : Number(row["inline_id"]),
  };
}

/** The files that held the bytes, if it was files. */
function dropData(db: WriteConnection, { version, inlineId }: Old): string[] {
  if (inlineId !== undefined) {
    db.prepare("DELETE FROM r2_inline WHERE id = ?").run(inlineId);
    return [];
  }
  const rows = db.prepare("DELETE FROM r2_extents WHERE version = ? RETURNING file").all(version);
  return rows.map((row) => String(row["file"]));
}
