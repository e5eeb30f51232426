import { newHexId } from "#core/ids.ts";
import { transaction, type WriteConnection } from "#db/schema.ts";
import { queueErrors } from "#products/queues/errors.ts";
import {
  addToBacklog,
  insertMessage,
  messageColumns,
  messageTables,
  readMetrics,
  removeMessages,
  type MessageRow,
} from "#products/queues/message-rows.ts";
import { limits, queueSettings, type QueueMetrics } from "#products/queues/schema.ts";
import type { RetryRule } from "#products/queues/store.ts";
import { insertQueue } from "#products/queues/writes-queues.ts";

/** Numbers of queues that have more to deliver now. */
type Woken = number[];

export type QueueKey = { queueId: string; accountId: string | undefined };

export const send = transaction(
  "queues.send",
  (
    db,
    {
      key,
      messages,
      now,
    }: { key: QueueKey; messages: (MessageRow & { delaySeconds: number | undefined })[]; now: number },
  ): { num: number; metrics: QueueMetrics } => {
    const row = db.prepare("SELECT num, account_id, settings FROM queues WHERE id = ?").get(key.queueId);
    if (!row || (key.accountId !== undefined && row["account_id"] !== key.accountId)) throw queueErrors.noQueue();
    const num = Number(row["num"]);
    const { delivery_delay: usual } = queueSettings.parse(JSON.parse(String(row["settings"])));
    let bytes = 0;
    for (const { delaySeconds = usual, ...message } of messages) {
      insertMessage(db, message, { num, visibleAt: now + delaySeconds * 1000, now, sentAt: now });
      bytes += message.body.length;
    }
    addToBacklog(db, num, { count: messages.length, bytes });
    return { num, metrics: readMetrics(db, num) };
  },
);

/** How a delivery ended: what was acknowledged is gone, the rest waits for its next turn or has had its last. */
export const finish = transaction(
  "queues.finish",
  (
    db,
    given: {
      num: number;
      acks: readonly number[];
      retries: readonly { row: number; delaySeconds: number }[];
      rule: RetryRule;
      now: number;
    },
  ): Woken => {
    const { num, rule, now } = given;
    const { count, bytes } = removeMessages(db, num, given.acks);
    addToBacklog(db, num, { count: -count, bytes: -bytes });
    const dead: number[] = [];
    for (const { row, delaySeconds } of given.retries) {
      const after = db
        .prepare(
          "UPDATE queue_messages SET attempts = attempts + 1, visible_at = ?, lease = NULL WHERE id = ? AND queue = ? RETURNING attempts",
        )
        .get(now + delaySeconds * 1000, row, num);
      if (after && Number(after["attempts"]) > rule.maxRetries) dead.push(row);
    }
    return bury(db, { num, rows: dead, rule, now });
  },
);

/** Leases messages that nobody else has. One that has had all its tries is not given out once more. */
export const lease = transaction(
  "queues.lease",
  (
    db,
    given: { num: number; rows: readonly number[]; visibilityMs: number; rule: RetryRule; now: number },
  ): { leased: Record<string, unknown>[]; woken: Woken } => {
    const { num, now, rule } = given;
    const leased: Record<string, unknown>[] = [];
    const dead: number[] = [];
    const whole = db.prepare(`SELECT ${messageColumns} FROM ${messageTables} WHERE m.id = ? AND m.queue = ?`);
    for (const id of given.rows) {
      const row = whole.get(id, num);
      if (!row) continue;
      const attempts = Number(row["attempts"]) + 1;
      if (attempts > rule.maxRetries + 1) {
        dead.push(id);
        continue;
      }
      const leaseId = newHexId();
      db.prepare("UPDATE queue_messages SET attempts = ?, visible_at = ?, lease = ? WHERE id = ?").run(
        attempts,
        now + given.visibilityMs,
        leaseId,
        id,
      );
      leased.push({ ...row, attempts, lease: leaseId });
    }
    return { leased, woken: bury(db, { num, rows: dead, rule, now }) };
  },
);

/** Acknowledges and gives back leases that are still in force. */
export const settleLeases = transaction(
  "queues.settleLeases",
  (
    db,
    given: {
      num: number;
      acks: readonly string[];
      retries: readonly { leaseId: string; delaySeconds: number }[];
      rule: RetryRule;
      now: number;
    },
  ): { acked: number; retried: number; unknown: string[]; woken: Woken } => {
    const { num, rule, now } = given;
    const unknown: string[] = [];
    const held = (leaseId: string) => {
      const row = db
        .prepare("SELECT id, attempts FROM queue_messages WHERE lease = ? AND queue = ? AND visible_at > ?")
        .get(leaseId, num, now);
      if (!row) unknown.push(leaseId);
      return row && { id: Number(row["id"]), attempts: Number(row["attempts"]) };
    };
    const acked = given.acks.flatMap((leaseId) => held(leaseId)?.id ?? []);
    const { count, bytes } = removeMessages(db, num, acked);
    addToBacklog(db, num, { count: -count, bytes: -bytes });
    const dead: number[] = [];
    let retried = 0;
    for (const { leaseId, delaySeconds } of given.retries) {
      const message = held(leaseId);
      if (!message) continue;
      retried++;
      db.prepare("UPDATE queue_messages SET lease = NULL, visible_at = ? WHERE id = ?").run(
        now + delaySeconds * 1000,
        message.id,
      );
      if (message.attempts > rule.maxRetries) dead.push(message.id);
    }
    return { acked: count, retried, unknown, woken: bury(db, { num, rows: dead, rule, now }) };
  },
);

export const removeByUid = transaction(
  "queues.remove",
  (
    db,
    { num, ids }: { num: number; ids: readonly { row: number; uid: string; id: string }[] },
  ): { unknown: string[] } => {
    const there = db.prepare("SELECT 1 FROM queue_messages WHERE id = ? AND queue = ? AND uid = ?");
    const [found, unknown] = [[] as number[], [] as string[]];
    for (const { row, uid, id } of ids) {
      if (there.get(row, num, uid)) found.push(row);
      else unknown.push(id);
    }
    const { count, bytes } = removeMessages(db, num, found);
    addToBacklog(db, num, { count: -count, bytes: -bytes });
    return { unknown };
  },
);

/** One step of the clean-up: messages that outlived their queue's retention, then those that a purge or a deletion left. */
export const sweep = transaction("queues.sweep", (db, { now }: { now: number }): { more: boolean } => {
  for (const row of db.prepare("SELECT num, settings FROM queues").all()) {
    const num = Number(row["num"]);
    const { message_retention_period: seconds } = queueSettings.parse(JSON.parse(String(row["settings"])));
    const expired = db
      .prepare("SELECT id, arrived_at FROM queue_messages WHERE queue = ? ORDER BY id LIMIT ?")
      .all(num, limits.sweepRows)
      .filter((message) => Number(message["arrived_at"]) <= now - seconds * 1000)
      .map((message) => Number(message["id"]));
    if (expired.length === 0) continue;
    const { count, bytes } = removeMessages(db, num, expired);
    addToBacklog(db, num, { count: -count, bytes: -bytes });
    return { more: true };
  }
  const dropped = db.prepare("SELECT num FROM queue_generations WHERE dropped = 1 LIMIT 1").get();
  if (!dropped) return { more: false };
  const num = Number(dropped["num"]);
  const rows = db.prepare("SELECT id FROM queue_messages WHERE queue = ? LIMIT ?").all(num, limits.sweepRows);
  removeMessages(
    db,
    num,
    rows.map((row) => Number(row["id"])),
  );
  if (rows.length === 0) db.prepare("DELETE FROM queue_generations WHERE num = ?").run(num);
  return { more: true };
});

/** Moves messages to another queue of the account, where they are as new as any other. */
export const move = transaction(
  "queues.move",
  (
    db,
    { num, rows, to, now }: { num: number; rows: readonly number[]; to: number; now: number },
  ): { count: number } => {
    const there = db.prepare("SELECT 1 FROM queue_messages WHERE id = ? AND queue = ?");
    const found = rows.filter((id) => there.get(id, num));
    const { count, bytes } = removeMessages(db, num, copyMessages(db, { rows: found, to, now }));
    addToBacklog(db, num, { count: -count, bytes: -bytes });
    return { count };
  },
);

/**
 * Puts copies of messages into the queue `to`: which ones, for their bytes may be gone. Each keeps its id and its time; retention
 * and tries begin anew.
 */
function copyMessages(
  db: WriteConnection,
  { rows, to, now }: { rows: readonly number[]; to: number; now: number },
): number[] {
  const copied: number[] = [];
  const whole = db.prepare(`SELECT ${messageColumns} FROM ${messageTables} WHERE m.id = ?`);
  for (const id of rows) {
    const row = whole.get(id);
    const body = row?.["body"];
    if (!row || !(body instanceof Uint8Array)) continue;
    const message = {
      uid: String(row["uid"]),
      contentType: String(row["content_type"]),
      body,
      crc: Number(row["crc"]),
    };
    insertMessage(db, message, { num: to, visibleAt: now, now, sentAt: Number(row["sent_at"]) });
    addToBacklog(db, to, { count: 1, bytes: body.length });
    copied.push(id);
  }
  return copied;
}

/** Moves messages to the dead letter queue, which is made when it is missing; without one they are dropped. */
function bury(
  db: WriteConnection,
  { num, rows, rule, now }: { num: number; rows: readonly number[]; rule: RetryRule; now: number },
): Woken {
  if (rows.length === 0) return [];
  const to =
    rule.deadLetterQueue === undefined ? undefined : deadLetterQueue(db, { num, name: rule.deadLetterQueue, now });
  if (to !== undefined) copyMessages(db, { rows, to, now });
  const { count, bytes } = removeMessages(db, num, rows);
  addToBacklog(db, num, { count: -count, bytes: -bytes });
  return to === undefined ? [] : [to];
}

function deadLetterQueue(
  db: WriteConnection,
  { num, name, now }: { num: number; name: string; now: number },
): number | undefined {
  const owner = db.prepare("SELECT account_id FROM queues WHERE num = ?").get(num);
  if (!owner) return undefined;
  const accountId = String(owner["account_id"]);
  const there = db.prepare("SELECT num FROM queues WHERE account_id = ? AND name = ?").get(accountId, name);
  return there ? Number(there["num"]) : insertQueue(db, { accountId, name, now: new Date(now).toISOString() });
}
