import type { Database } from "#db/database.ts";
import { checkPrefix } from "#products/kv/checks.ts";
import { kvErrors } from "#products/kv/errors.ts";
import { limits, type KvKey } from "#products/kv/schema.ts";
import type { KvPage } from "#products/kv/store.ts";

export type ListQuery = { prefix?: string; limit?: number; cursor?: string | undefined };

/** Reads pages of keys. A page goes on from a key, not from a count, so writes in between neither repeat nor skip one. */
export function keyLister(db: Database): (namespace: number, query: ListQuery, now: number) => KvPage {
  const columns = "SELECT key, expires, metadata FROM kv_entries WHERE namespace = ?";
  const from = db.prepare(`${columns} AND key >= ? ORDER BY key LIMIT ${limits.listScan}`);
  const after = db.prepare(`${columns} AND key > ? ORDER BY key LIMIT ${limits.listScan}`);
  from.setReturnArrays(true);
  after.setReturnArrays(true);

  return (namespace, { prefix = "", limit = limits.listKeys, cursor }, now) => {
    checkPrefix(prefix);
    checkLimit(limit);
    const last = cursor ? readCursor(cursor) : undefined;
    const rows =
      last !== undefined && Buffer.compare(Buffer.from(last), Buffer.from(prefix)) >= 0
        ? after.iterate(namespace, last)
        : from.iterate(namespace, prefix);
    const keys: KvKey[] = [];
    let scanned = 0;
    let position = last ?? prefix;
    for (const row of rows) {
      const [name, expires, metadata] = row as unknown as [string, number | null, string | null];
      if (!name.startsWith(prefix)) return { keys, cursor: undefined };
      scanned++;
      const live = expires === null || expires > now;
      if (live && keys.length === limit) return { keys, cursor: cursorAfter(position) };
      position = name;
      if (live) keys.push(toKey(name, expires, metadata));
    }
    return { keys, cursor: scanned === limits.listScan ? cursorAfter(position) : undefined };
  };
}

function checkLimit(limit: number): void {
  if (!(Number.isInteger(limit) && limit >= 1)) throw kvErrors.listLimitTooSmall(limit, 1);
  if (limit > limits.listKeys) throw kvErrors.listLimitTooLarge(limit);
}

function toKey(name: string, expires: number | null, metadata: string | null): KvKey {
  const key: KvKey = { name };
  if (expires !== null) key.expiration = expires;
  if (metadata !== null) key.metadata = metadata;
  return key;
}

/** What a cursor's text begins with; tells ours from anything else that decodes. */
const cursorMark = "k1:";

function cursorAfter(key: string): string {
  return Buffer.from(cursorMark + key).toString("base64url");
}

function readCursor(cursor: string): string {
  const text = Buffer.from(cursor, "base64url").toString();
  if (!text.startsWith(cursorMark) || text.includes("\ufffd")) throw kvErrors.cursorInvalid();
  return text.slice(cursorMark.length);
}
