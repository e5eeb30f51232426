import { transaction, type WriteConnection } from "#db/schema.ts";
import { limits } from "#products/ai-gateway/schema.ts";

export type CachedAnswer = {
  key: string;
  accountId: string;
  gatewayId: string;
  /** Milliseconds since 1970. */
  expiresAt: number;
  usedAt: number;
  /** JSON of what is known besides the body. */
  about: string;
  body: Uint8Array;
};

/** When an answer was last given to somebody. */
export type Use = { key: string; usedAt: number };

/** Keeps an answer, and lets the ones go that are over or were not used longest. `used`: since the last one was kept. */
const keepAnswer = transaction(
  "ai-gateway.keepAnswer",
  (db, { answer, used }: { answer: CachedAnswer; used: Use[] }): void => {
    const touch = db.prepare("UPDATE cached SET used_at = ? WHERE key = ?");
    for (const { key, usedAt } of used) touch.run(usedAt, key);
    const { key, accountId, gatewayId, expiresAt, usedAt, about, body } = answer;
    db.prepare("DELETE FROM cached WHERE expires_at <= ?").run(usedAt);
    db.prepare("INSERT OR REPLACE INTO cached VALUES (?, ?, ?, ?, ?, ?, ?, ?)").run(
      key,
      accountId,
      gatewayId,
      expiresAt,
      usedAt,
      about,
      body.length,
      body,
    );
    makeRoom(db);
  },
);

function makeRoom(db: WriteConnection): void {
  let over = Number(db.prepare("SELECT sum(size) AS bytes FROM cached").get()?.["bytes"] ?? 0) - limits.cacheBytes;
  if (over <= 0) return;
  for (const row of db.prepare("SELECT key, size FROM cached ORDER BY used_at LIMIT 1000").all()) {
    if (over <= 0) return;
    db.prepare("DELETE FROM cached WHERE key = ?").run(String(row["key"]));
    over -= Number(row["size"]);
  }
}

export const cacheWrites = { keepAnswer };
export const cacheTransactions = [keepAnswer];
