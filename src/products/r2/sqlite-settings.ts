import { createHash } from "node:crypto";
import { seal, unseal } from "#core/seal.ts";
import type { Database } from "#db/database.ts";
import { r2Errors } from "#products/r2/errors.ts";
import * as reads from "#products/r2/reads.ts";
import type { Bucket, BucketRef } from "#products/r2/schema.ts";
import type { AccessKey, BucketSettings, CustomDomain, SettingName } from "#products/r2/settings.ts";
import type { BucketUsage, R2Lookups, R2Settings } from "#products/r2/settings-store.ts";
import * as writes from "#products/r2/writes-settings.ts";

/** Settings in the tables of R2's database file. */
export function sqliteSettings(parts: { db: Database; sealKey: Buffer; now: () => number }): R2Settings & R2Lookups {
  const { db, sealKey, now } = parts;
  return { ...bucketSettings(db), ...domains(db), ...accessKeys(db, sealKey, now), ...lookups(db, sealKey) };
}

function bucketSettings(db: Database): Pick<R2Settings, "get" | "set" | "usage"> {
  return {
    async get<Name extends SettingName>(ref: BucketRef, name: Name) {
      return readSetting(db, reads.readBucket(db, ref).id, name);
    },
    async set<Name extends SettingName>(ref: BucketRef, name: Name, value?: BucketSettings[Name]) {
      await db.write(writes.setSetting, { ref, name, value: value === undefined ? undefined : JSON.stringify(value) });
    },
    async usage(ref): Promise<BucketUsage> {
      const { id } = reads.readBucket(db, ref);
      const row = db
        .prepare(
          "SELECT count(*) AS objects, coalesce(sum(size), 0) AS bytes, coalesce(sum(length(key) + length(http) + length(custom)), 0) AS metadata FROM r2_objects WHERE bucket_id = ?",
        )
        .get(id);
      const open = db
        .prepare("SELECT count(*) AS uploads FROM r2_uploads WHERE bucket_id = ? AND state = 'open'")
        .get(id);
      return {
        objects: Number(row?.["objects"]),
        bytes: Number(row?.["bytes"]),
        metadataBytes: Number(row?.["metadata"]),
        uploads: Number(open?.["uploads"]),
      };
    },
  };
}

function domains(db: Database): Pick<R2Settings, "addDomain" | "listDomains" | "updateDomain" | "removeDomain"> {
  return {
    async addDomain(ref, domain) {
      await db.write(writes.addDomain, { ref, domain });
    },
    async listDomains(ref) {
      const rows = db
        .prepare("SELECT value FROM r2_domains WHERE bucket_id = ? ORDER BY host")
        .all(reads.readBucket(db, ref).id);
      return rows.map((row) => JSON.parse(String(row["value"])) as CustomDomain);
    },
    async updateDomain(ref, domain) {
      await db.write(writes.updateDomain, { ref, domain });
    },
    async removeDomain(ref, host) {
      await db.write(writes.removeDomain, { ref, host });
    },
  };
}

type KeyMethods = "addAccessKey" | "listAccessKeys" | "getAccessKey" | "updateAccessKey" | "removeAccessKey";

function accessKeys(db: Database, sealKey: Buffer, now: () => number): Pick<R2Settings, KeyMethods> {
  const sealed = (id: string, value: string) => seal(sealKey, contextOf(id), secretOf(value));
  return {
    async addAccessKey(key, value) {
      const { id, accountId } = key;
      const row = { id, accountId, secret: sealed(id, value), value: JSON.stringify(key), created: now() };
      await db.write(writes.addAccessKey, row);
    },
    async listAccessKeys(accountId) {
      const rows = db
        .prepare("SELECT value FROM r2_access_keys WHERE account_id = ? ORDER BY created, id")
        .all(accountId);
      return rows.map((row) => JSON.parse(String(row["value"])) as AccessKey);
    },
    async getAccessKey(accountId, id) {
      const row = db.prepare("SELECT value FROM r2_access_keys WHERE account_id = ? AND id = ?").get(accountId, id);
      if (!row) throw r2Errors.noSuchToken();
      return JSON.parse(String(row["value"])) as AccessKey;
    },
    async updateAccessKey(key, value) {
      const { id, accountId } = key;
      const secret = value === undefined ? {} : { secret: sealed(id, value) };
      await db.write(writes.updateAccessKey, { id, accountId, value: JSON.stringify(key), ...secret });
    },
    async removeAccessKey(accountId, id) {
      await db.write(writes.removeAccessKey, { id, accountId });
    },
  };
}

/** Keys whose secrets are kept open, ours: opening one anew takes 30 µs of each request. */
const openKeysMax = 1024;

type OpenKey = { value: string; sealed: Buffer; found: { key: AccessKey; secret: string } };

function lookups(db: Database, sealKey: Buffer): R2Lookups {
  const open = new Map<string, OpenKey>();
  return {
    accessKey(id) {
      // The row is looked at with every request, so that a key is over as soon as it is revoked.
      const row = db.prepare("SELECT secret, value FROM r2_access_keys WHERE id = ?").get(id);
      const [secret, value] = [row?.["secret"], String(row?.["value"])];
      if (!(secret instanceof Uint8Array)) {
        open.delete(id);
        return undefined;
      }
      const before = open.get(id);
      if (before?.value === value && before.sealed.equals(secret)) return before.found;
      const found = { key: JSON.parse(value) as AccessKey, secret: unseal(sealKey, contextOf(id), secret) };
      if (open.size >= openKeysMax) open.clear();
      open.set(id, { value, sealed: Buffer.from(secret), found });
      return found;
    },
    bucketOfDomain(host) {
      const row = db.prepare("SELECT bucket_id, value FROM r2_domains WHERE host = ?").get(host);
      if (!row || !(JSON.parse(String(row["value"])) as CustomDomain).enabled) return undefined;
      return reads.readBucketById(db, String(row["bucket_id"]));
    },
    publicBucket(id): Bucket | undefined {
      return readSetting(db, id, "devUrl") ? reads.readBucketById(db, id) : undefined;
    },
    cors: (bucketId) => readSetting(db, bucketId, "cors") ?? [],
    corsOfName(name, accountId = "") {
      const rows = db
        .prepare(
          "SELECT value FROM r2_buckets AS b JOIN r2_settings AS s ON bucket_id = id WHERE b.name = ?1 AND s.name = 'cors' AND (?2 = '' OR b.account_id = ?2)",
        )
        .all(name, accountId);
      return rows.flatMap((row) => JSON.parse(String(row["value"])) as BucketSettings["cors"]);
    },
  };
}

function readSetting<Name extends SettingName>(
  db: Database,
  bucketId: string,
  name: Name,
): BucketSettings[Name] | undefined {
  const row = db.prepare("SELECT value FROM r2_settings WHERE bucket_id = ? AND name = ?").get(bucketId, name);
  return row && (JSON.parse(String(row["value"])) as BucketSettings[Name]);
}

/** https://developers.cloudflare.com/r2/api/tokens/: the secret access key is the SHA-256 of the token. */
function secretOf(value: string): string {
  return createHash("sha256").update(value).digest("hex");
}

function contextOf(id: string): string {
  return `r2-access-key/${id}`;
}
