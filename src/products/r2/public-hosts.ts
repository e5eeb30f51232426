import { transaction, type DatabaseSchema, type WriteConnection } from "#db/schema.ts";
import type { Database } from "#db/database.ts";
import { r2Errors } from "#products/r2/errors.ts";

/**
 * Hosts of public buckets in the control database, where the supervisor reads what the ingress should send to R2. What a host
 * shows is in R2's own database: a host that is here alone leads to a page that says so.
 */
export interface PublicHosts {
  /** Refuses a host that is another bucket's or a Worker's. */
  claim(host: { host: string; accountId: string; bucketId: string }): Promise<void>;
  release(host: { host: string; bucketId: string }): Promise<void>;
}

const claimHost = transaction(
  "r2.claimHost",
  (db, { host, accountId, bucketId }: { host: string; accountId: string; bucketId: string }) => {
    const owner = db.prepare("SELECT bucket_id FROM r2_public_hosts WHERE host = ?").get(host);
    if (owner && owner["bucket_id"] !== bucketId) throw r2Errors.domainTaken();
    db.prepare("INSERT OR REPLACE INTO r2_public_hosts (host, account_id, bucket_id) VALUES (?, ?, ?)").run(
      host,
      accountId,
      bucketId,
    );
  },
);

const releaseHost = transaction("r2.releaseHost", (db, { host, bucketId }: { host: string; bucketId: string }) => {
  db.prepare("DELETE FROM r2_public_hosts WHERE host = ? AND bucket_id = ?").run(host, bucketId);
});

export const r2HostsSchema: DatabaseSchema = {
  product: "r2-hosts",
  migrations: [
    `CREATE TABLE r2_public_hosts (
       host TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       bucket_id TEXT NOT NULL
     ) WITHOUT ROWID, STRICT;`,
  ],
  transactions: [claimHost, releaseHost],
};

export function publicHosts(db: Database): PublicHosts {
  return {
    claim: async (host) => db.write(claimHost, host),
    release: async (host) => db.write(releaseHost, host),
  };
}

/** Whether a bucket has `host`, for a change of the control database that would give it to a Worker. */
export function bucketHasHost(db: WriteConnection, host: string): boolean {
  return db.prepare("SELECT 1 FROM r2_public_hosts WHERE host = ?").get(host) !== undefined;
}

/** All of them, for the routing table. */
export function readPublicHosts(db: Pick<Database, "prepare">): string[] {
  const rows = db.prepare("SELECT host FROM r2_public_hosts ORDER BY host").all();
  return rows.map((row) => String(row["host"]));
}
