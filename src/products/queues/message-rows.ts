import { crc32 } from "node:zlib";
import type { WriteConnection } from "#db/schema.ts";
import { contentTypes, limits, type ContentType, type QueueMetrics } from "#products/queues/schema.ts";
import type { StoredMessage } from "#products/queues/store.ts";

/** A message on its way into a row. */
export type MessageRow = { uid: string; contentType: ContentType; body: Uint8Array; crc: number };

/** Columns that make a StoredMessage; `from` is `queue_messages` joined with its bodies. */
export const messageColumns =
  "m.id, m.uid, m.sent_at, m.attempts, m.content_type, m.crc, coalesce(m.body, b.body) AS body";
export const messageTables = "queue_messages AS m LEFT JOIN queue_bodies AS b ON b.id = m.id";

/** The message of a row; undefined when its bytes are not those that were written. */
export function toMessage(row: Record<string, unknown>): StoredMessage | undefined {
  const body = row["body"];
  if (!(body instanceof Uint8Array) || crc32(body) !== row["crc"]) return undefined;
  const contentType = contentTypes.find((known) => known === row["content_type"]);
  if (contentType === undefined) return undefined;
  return {
    id: String(row["uid"]),
    timestamp: Number(row["sent_at"]),
    attempts: Number(row["attempts"]),
    contentType,
    body,
  };
}

export function insertMessage(
  db: WriteConnection,
  message: Omit<MessageRow, "contentType"> & { contentType: string },
  place: { num: number; visibleAt: number; now: number; sentAt: number },
): void {
  const { uid, contentType, body, crc } = message;
  const inRow = body.length <= limits.rowBytes;
  const { lastInsertRowid } = db
    .prepare(
      `INSERT INTO queue_messages (queue, visible_at, arrived_at, attempts, uid, sent_at, content_type, size, crc, body)
       VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?)`,
    )
    .run(place.num, place.visibleAt, place.now, uid, place.sentAt, contentType, body.length, crc, inRow ? body : null);
  if (!inRow) db.prepare("INSERT INTO queue_bodies (id, body) VALUES (?, ?)").run(lastInsertRowid, body);
}

/** Removes messages of a queue; how many were there, and their bytes. */
export function removeMessages(
  db: WriteConnection,
  num: number,
  rows: readonly number[],
): { count: number; bytes: number } {
  let [count, bytes] = [0, 0];
  for (const id of rows) {
    const row = db.prepare("DELETE FROM queue_messages WHERE id = ? AND queue = ? RETURNING size").get(id, num);
    if (!row) continue;
    const size = Number(row["size"]);
    if (size > limits.rowBytes) db.prepare("DELETE FROM queue_bodies WHERE id = ?").run(id);
    count++;
    bytes += size;
  }
  return { count, bytes };
}

export function addToBacklog(
  db: WriteConnection,
  num: number,
  { count, bytes }: { count: number; bytes: number },
): void {
  db.prepare(
    "UPDATE queue_generations SET backlog_count = backlog_count + ?, backlog_bytes = backlog_bytes + ? WHERE num = ?",
  ).run(count, bytes, num);
}

export function readMetrics(db: WriteConnection, num: number): QueueMetrics {
  const counts = db.prepare("SELECT backlog_count, backlog_bytes FROM queue_generations WHERE num = ?").get(num);
  const oldest = db.prepare("SELECT sent_at FROM queue_messages WHERE queue = ? ORDER BY id LIMIT 1").get(num);
  return {
    backlogCount: Number(counts?.["backlog_count"] ?? 0),
    backlogBytes: Number(counts?.["backlog_bytes"] ?? 0),
    oldestMessageTimestamp: Number(oldest?.["sent_at"] ?? 0),
  };
}
