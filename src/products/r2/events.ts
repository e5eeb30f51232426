import { transaction, type WriteConnection } from "#db/schema.ts";
import type { Database } from "#db/database.ts";
import type { NotificationRule, QueueNotifications } from "#products/r2/settings.ts";

/**
 * What happened to objects, for the queues that buckets' rules name (https://developers.cloudflare.com/r2/buckets/event-notifications/).
 * An event is written in the transaction of what it tells of, and taken away when its queue has it: it may come twice, never not.
 */
export type ObjectEvent = {
  action: NotificationRule["actions"][number];
  key: string;
  /** Of an object that there is now. */
  object?: { size: number; etag: string };
  copySource?: { bucket: string; key: string };
  /** Milliseconds since 1970. */
  now: number;
};

export type EventBucket = { accountId: string; name: string; notifications: QueueNotifications[] | undefined };

/** An event that waits for its queue; `body`: the message's JSON. */
export type PendingEvent = { id: number; body: Uint8Array };

/** Events under way to queues. */
export interface R2Events {
  /** Queues for which something waits. */
  queues(): string[];
  /** What waits for one of them, the oldest first. */
  pending(queueId: string, max: number): PendingEvent[];
  /** Their queues have them, or nobody wants them any more. */
  remove(ids: readonly number[]): Promise<void>;
  /** Leaves out the oldest beyond so many of a queue: how many. */
  trim(queueId: string, max: number): Promise<number>;
}

export function noteEvent(db: WriteConnection, bucket: EventBucket, event: ObjectEvent): void {
  for (const { queueId, rules } of bucket.notifications ?? []) {
    if (!rules.some((rule) => applies(rule, event))) continue;
    db.prepare("INSERT INTO r2_events (queue_id, account_id, body) VALUES (?, ?, ?)").run(
      queueId,
      bucket.accountId,
      JSON.stringify(messageOf(bucket, event)),
    );
  }
}

function applies({ actions, prefix = "", suffix = "" }: NotificationRule, { action, key }: ObjectEvent): boolean {
  return actions.includes(action) && key.startsWith(prefix) && key.endsWith(suffix);
}

function messageOf({ accountId, name }: EventBucket, { action, key, object, copySource, now }: ObjectEvent) {
  return {
    account: accountId,
    action,
    bucket: name,
    object: { key, ...(object ? { size: object.size, eTag: object.etag } : {}) },
    eventTime: new Date(now).toISOString(),
    ...(copySource ? { copySource: { bucket: copySource.bucket, object: copySource.key } } : {}),
  };
}

export const removeEvents = transaction("r2.removeEvents", (db, { ids }: { ids: number[] }): void => {
  const remove = db.prepare("DELETE FROM r2_events WHERE id = ?");
  for (const id of ids) remove.run(id);
});

export const trimEvents = transaction(
  "r2.trimEvents",
  (db, { queueId, max }: { queueId: string; max: number }): number => {
    const oldest = "SELECT id FROM r2_events WHERE queue_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?";
    const row = db.prepare(oldest).get(queueId, max);
    if (!row) return 0;
    const { changes } = db
      .prepare("DELETE FROM r2_events WHERE queue_id = ? AND id <= ?")
      .run(queueId, Number(row["id"]));
    return Number(changes);
  },
);

export function sqliteEvents(db: Database): R2Events {
  return {
    queues() {
      const rows = db.prepare("SELECT DISTINCT queue_id FROM r2_events").all();
      return rows.map((row) => String(row["queue_id"]));
    },
    pending(queueId, max) {
      const rows = db
        .prepare("SELECT id, body FROM r2_events WHERE queue_id = ? ORDER BY id LIMIT ?")
        .all(queueId, max);
      return rows.map((row) => ({ id: Number(row["id"]), body: Buffer.from(String(row["body"])) }));
    },
    trim: (queueId, max) => db.write(trimEvents, { queueId, max }),
    remove: (ids) => db.write(removeEvents, { ids: [...ids] }),
  };
}
