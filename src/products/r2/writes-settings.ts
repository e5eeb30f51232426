import { transaction, type WriteConnection } from "#db/schema.ts";
import { r2Errors } from "#products/r2/errors.ts";
import type { BucketRef } from "#products/r2/schema.ts";
import type { CustomDomain, SettingName } from "#products/r2/settings.ts";
import { findBucket } from "#products/r2/writes-buckets.ts";

/** `value`: JSON; undefined takes the setting away. */
export const setSetting = transaction(
  "r2.setSetting",
  (db, { ref, name, value }: { ref: BucketRef; name: SettingName; value: string | undefined }) => {
    const id = requireBucket(db, ref);
    if (name === "lock") db.prepare("UPDATE r2_buckets SET lock_rules = ? WHERE id = ?").run(value ?? "", id);
    if (name === "notifications")
      db.prepare("UPDATE r2_buckets SET notification_rules = ? WHERE id = ?").run(value ?? "", id);
    if (value === undefined) {
      db.prepare("DELETE FROM r2_settings WHERE bucket_id = ? AND name = ?").run(id, name);
    } else {
      db.prepare("INSERT OR REPLACE INTO r2_settings (bucket_id, name, account_id, value) VALUES (?, ?, ?, ?)").run(
        id,
        name,
        ref.accountId,
        value,
      );
    }
  },
);

type DomainChange = { ref: BucketRef; domain: CustomDomain };

export const addDomain = transaction("r2.addDomain", (db, { ref, domain }: DomainChange) => {
  const id = requireBucket(db, ref);
  const there = db.prepare("SELECT bucket_id FROM r2_domains WHERE host = ?").get(domain.domain);
  if (there && there["bucket_id"] !== id) throw r2Errors.domainTaken();
  db.prepare("INSERT OR REPLACE INTO r2_domains (host, account_id, bucket_id, value) VALUES (?, ?, ?, ?)").run(
    domain.domain,
    ref.accountId,
    id,
    JSON.stringify(domain),
  );
});

export const updateDomain = transaction("r2.updateDomain", (db, { ref, domain }: DomainChange) => {
  const { changes } = db
    .prepare("UPDATE r2_domains SET value = ? WHERE host = ? AND bucket_id = ?")
    .run(JSON.stringify(domain), domain.domain, requireBucket(db, ref));
  if (changes === 0) throw r2Errors.noSuchDomain();
});

export const removeDomain = transaction("r2.removeDomain", (db, { ref, host }: { ref: BucketRef; host: string }) => {
  const { changes } = db
    .prepare("DELETE FROM r2_domains WHERE host = ? AND bucket_id = ?")
    .run(host, requireBucket(db, ref));
  if (changes === 0) throw r2Errors.noSuchDomain();
});

type KeyRow = { id: string; accountId: string; secret: Uint8Array; value: string; created: number };

export const addAccessKey = transaction("r2.addAccessKey", (db, key: KeyRow) => {
  db.prepare("INSERT INTO r2_access_keys (id, account_id, secret, value, created) VALUES (?, ?, ?, ?, ?)").run(
    key.id,
    key.accountId,
    key.secret,
    key.value,
    key.created,
  );
});

/** `secret` when it was rolled. */
export const updateAccessKey = transaction(
  "r2.updateAccessKey",
  (db, { id, accountId, value, secret }: Pick<KeyRow, "id" | "accountId" | "value"> & { secret?: Uint8Array }) => {
    const { changes } = db
      .prepare("UPDATE r2_access_keys SET value = ?, secret = coalesce(?, secret) WHERE id = ? AND account_id = ?")
      .run(value, secret ?? null, id, accountId);
    if (changes === 0) throw r2Errors.noSuchToken();
  },
);

export const removeAccessKey = transaction(
  "r2.removeAccessKey",
  (db, { id, accountId }: { id: string; accountId: string }) => {
    const { changes } = db.prepare("DELETE FROM r2_access_keys WHERE id = ? AND account_id = ?").run(id, accountId);
    if (changes === 0) throw r2Errors.noSuchToken();
  },
);

function requireBucket(db: WriteConnection, ref: BucketRef): string {
  const id = findBucket(db, ref);
  if (id === undefined) throw r2Errors.noSuchBucket();
  return id;
}
