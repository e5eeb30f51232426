import { createHash } from "node:crypto";
import { transaction, type WriteConnection } from "#db/schema.ts";
import type { Blob } from "#products/r2/blob-write.ts";
import { combineCrcs } from "#products/r2/crc.ts";
import { compareDigests, digestsOf } from "#products/r2/digests.ts";
import { r2Errors } from "#products/r2/errors.ts";
import {
  crcAlgorithms,
  limits,
  type Checksums,
  type CompositeChecksum,
  type Conditions,
  type StorageClass,
  type UploadChecksum,
  type UploadedPart,
} from "#products/r2/schema.ts";
import type { UploadRef } from "#products/r2/store.ts";
import { noteEvent } from "#products/r2/events.ts";
import { bucketOf, createdEvent, replaceObject, type MetadataText, type Removed } from "#products/r2/writes-objects.ts";

export const createUpload = transaction(
  "r2.createUpload",
  (
    db,
    upload: UploadRef &
      MetadataText & { storageClass: StorageClass | undefined; ssec: string; checksum: string; now: number },
  ) => {
    const bucket = bucketOf(db, upload.bucketId);
    db.prepare(
      "INSERT INTO r2_uploads (id, account_id, bucket_id, key, state, created, storage_class, http, custom, ssec, checksum) VALUES (?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?)",
    ).run(
      upload.uploadId,
      bucket.accountId,
      upload.bucketId,
      Buffer.from(upload.key),
      upload.now,
      upload.storageClass ?? bucket.storageClass,
      upload.http,
      upload.custom,
      upload.ssec,
      upload.checksum,
    );
  },
);

/** A part of the same number is replaced. */
export const putPart = transaction(
  "r2.putPart",
  (db, args: { ref: UploadRef; part: number; etag: string; checksums: string; blob: Blob; now: number }) => {
    const { ref, part, etag, checksums, blob, now } = args;
    const { accountId } = openUpload(db, ref, now);
    const old = db.prepare("SELECT file FROM r2_parts WHERE upload_id = ? AND part = ?").get(ref.uploadId, part);
    db.prepare(
      "INSERT OR REPLACE INTO r2_parts (upload_id, part, account_id, etag, uploaded, file, size, crc, checksums) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ).run(ref.uploadId, part, accountId, etag, now, blob.file, blob.size, blob.crc, checksums);
    return { removed: old ? [String(old["file"])] : [] } satisfies Removed;
  },
);

type CompleteArgs = {
  ref: UploadRef;
  parts: UploadedPart[];
  version: string;
  now: number;
  onlyIf: Conditions | undefined;
  /** Of the whole object, to compare with. */
  checksums: Checksums | undefined;
};

/** What the checksums column of an object holds. */
export type StoredChecksums = Checksums & { composite?: CompositeChecksum };

/** The object takes over the files of its parts; no byte is copied. */
export const completeUpload = transaction(
  "r2.completeUpload",
  (db, { ref, parts, version, now, onlyIf, checksums: given }: CompleteArgs) => {
    const upload = openUpload(db, ref, now);
    const there = partsOf(db, ref.uploadId);
    const chosen = choose(parts, there);
    const size = chosen.reduce((sum, part) => sum + part.size, 0);
    if (size > limits.objectBytes) throw r2Errors.tooLarge();
    const digest = createHash("md5");
    for (const part of chosen) digest.update(part.etag, "hex");
    const etag = `${digest.digest("hex")}-${chosen.length}`;
    const blobs = chosen.filter((part) => part.size > 0);
    const { storageClass, http, custom, ssec } = upload;
    const checksums = checksumsOfAll(upload.checksum, chosen);
    compareDigests(given, checksums);
    const object = { bucketId: ref.bucketId, key: ref.key, version, size, etag, uploaded: now, storageClass } as const;
    const bucket = bucketOf(db, ref.bucketId);
    const { removed } = replaceObject(
      db,
      bucket,
      {
        ...object,
        http,
        custom,
        ssec,
        checksums: Object.keys(checksums).length > 0 ? JSON.stringify(checksums) : "",
        data: { kind: "files", blobs },
      },
      onlyIf,
    );
    const kept = new Set(blobs.map((blob) => blob.file));
    for (const { file } of there.values()) if (!kept.has(file)) removed.push(file);
    close(db, ref.uploadId, "completed");
    noteEvent(db, bucket, { action: "CompleteMultipartUpload", ...createdEvent(object) });
    return { removed, size, etag, storageClass, http, custom, ssec, checksums };
  },
);

/** Aborting what is completed or aborted already does nothing. */
export const abortUpload = transaction("r2.abortUpload", (db, ref: UploadRef): Removed => {
  const upload = findUpload(db, ref);
  if (!upload) throw r2Errors.noSuchUpload();
  return { removed: upload.state === "open" ? abandon(db, ref.uploadId) : [] };
});

/** Aborts uploads of one bucket that a lifecycle rule has come to. */
export const abortUploads = transaction("r2.abortUploads", (db, { uploadIds }: { uploadIds: string[] }): Removed => {
  const open = uploadIds.filter(
    (id) => db.prepare("SELECT 1 FROM r2_uploads WHERE id = ? AND state = 'open'").get(id) !== undefined,
  );
  return { removed: open.flatMap((id) => abandon(db, id)) };
});

/** Uploads that one change ends and forgets, so that no other waits long for it: an upload can have 10,000 parts. */
const expireAtOnce = 4;
const forgetAtOnce = 200;

/**
 * Aborts uploads that are too old, and forgets those that ended long ago: until then a late call is told that its upload is
 * over rather than unknown. `more`: there are others.
 */
export const expireUploads = transaction(
  "r2.expireUploads",
  (db, { now }: { now: number }): Removed & { more: boolean } => {
    const old = db
      .prepare("SELECT id FROM r2_uploads WHERE created <= ? AND state = 'open' LIMIT ?")
      .all(now - limits.uploadLifeMs, expireAtOnce);
    const removed = old.flatMap((row) => abandon(db, String(row["id"])));
    const { changes } = db
      .prepare(
        "DELETE FROM r2_uploads WHERE id IN (SELECT id FROM r2_uploads WHERE created <= ? AND state <> 'open' LIMIT ?)",
      )
      .run(now - 2 * limits.uploadLifeMs, forgetAtOnce);
    return { removed, more: old.length === expireAtOnce || changes === forgetAtOnce };
  },
);

function abandon(db: WriteConnection, uploadId: string): string[] {
  const files = [...partsOf(db, uploadId).values()].map(({ file }) => file);
  close(db, uploadId, "aborted");
  return files;
}

function close(db: WriteConnection, uploadId: string, state: "completed" | "aborted"): void {
  db.prepare("DELETE FROM r2_parts WHERE upload_id = ?").run(uploadId);
  db.prepare("UPDATE r2_uploads SET state = ? WHERE id = ?").run(state, uploadId);
}

type Part = Blob & { part: number; etag: string; checksums: Checksums };

function partsOf(db: WriteConnection, uploadId: string): Map<number, Part> {
  const rows = db
    .prepare("SELECT part, etag, file, size, crc, checksums FROM r2_parts WHERE upload_id = ?")
    .all(uploadId);
  return new Map(
    rows.map((row) => [
      Number(row["part"]),
      {
        part: Number(row["part"]),
        etag: String(row["etag"]),
        file: String(row["file"]),
        size: Number(row["size"]),
        crc: Number(row["crc"]),
        checksums: row["checksums"] === "" ? {} : (JSON.parse(String(row["checksums"])) as Checksums),
      },
    ]),
  );
}

/**
 * The parts that the uploader names, in the order of their numbers, which need not be that of the list. Checks in the order
 * in which R2 makes them: existence, least size by the list, equal sizes by number.
 */
function choose(wanted: readonly UploadedPart[], there: ReadonlyMap<number, Part>): Part[] {
  const chosen = wanted.map(({ part, etag, checksums = {} }) => {
    const found = there.get(part);
    if (found?.etag !== etag) throw r2Errors.noSuchPart();
    for (const [algorithm, sum] of Object.entries(checksums)) {
      const actual = found.checksums[algorithm as keyof Checksums];
      if (actual !== undefined && actual !== sum) throw r2Errors.noSuchPart();
    }
    return found;
  });
  if (new Set(chosen).size < chosen.length) throw r2Errors.noSuchPart();
  if (chosen.slice(0, -1).some((part) => part.size < limits.partBytesMin)) throw r2Errors.partTooSmall();
  const sorted = chosen.toSorted((a, b) => a.part - b.part);
  const size = sorted[0]?.size ?? 0;
  const last = sorted.at(-1);
  if (sorted.some((part) => (part === last ? part.size > size : part.size !== size))) throw r2Errors.partSizes();
  return sorted;
}

/** The object's checksum, when every part has one of the upload's algorithm. */
function checksumsOfAll(checksum: UploadChecksum | undefined, parts: readonly Part[]): StoredChecksums {
  if (!checksum) return {};
  const { algorithm, type } = checksum;
  const sums = parts.flatMap((part) => {
    const crc = part.checksums[algorithm];
    return crc === undefined ? [] : [{ crc, size: part.size }];
  });
  if (sums.length < parts.length) return {};
  const crcAlgorithm = crcAlgorithms.find((name) => name === algorithm);
  if (type === "FULL_OBJECT") return crcAlgorithm ? { [crcAlgorithm]: combineCrcs(crcAlgorithm, sums) } : {};
  const all = Buffer.from(sums.map(({ crc }) => crc).join(""), "hex");
  const sum = Buffer.from(digestsOf(all, [algorithm])[algorithm] ?? "", "hex").toString("base64");
  return { composite: { algorithm, value: `${sum}-${parts.length}` } };
}

type Upload = MetadataText & {
  accountId: string;
  state: string;
  created: number;
  storageClass: StorageClass;
  ssec: string;
  checksum: UploadChecksum | undefined;
};

function findUpload(db: WriteConnection, { bucketId, key, uploadId }: UploadRef): Upload | undefined {
  const row = db
    .prepare(
      "SELECT account_id, state, created, storage_class, http, custom, ssec, checksum FROM r2_uploads WHERE id = ? AND bucket_id = ? AND key = ?",
    )
    .get(uploadId, bucketId, Buffer.from(key));
  return (
    row && {
      accountId: String(row["account_id"]),
      state: String(row["state"]),
      created: Number(row["created"]),
      storageClass: row["storage_class"] as StorageClass,
      http: String(row["http"]),
      custom: String(row["custom"]),
      ssec: String(row["ssec"]),
      checksum: row["checksum"] === "" ? undefined : (JSON.parse(String(row["checksum"])) as UploadChecksum),
    }
  );
}

function openUpload(db: WriteConnection, ref: UploadRef, now: number): Upload {
  const upload = findUpload(db, ref);
  if (upload?.state !== "open" || upload.created + limits.uploadLifeMs <= now) throw r2Errors.noSuchUpload();
  return upload;
}
