import { newHexId } from "#core/ids.ts";
import { transaction, type WriteConnection } from "#db/schema.ts";
import { queueErrors } from "#products/queues/errors.ts";
import { queueSettings, type QueueSettings, type SomeSettings } from "#products/queues/schema.ts";
import type { NewConsumer } from "#products/queues/store.ts";

type Key = { accountId: string; id: string };

export const createQueue = transaction(
  "queues.create",
  (db, queue: Key & { name: string; settings: QueueSettings; now: string }): void => {
    refuseTakenName(db, queue);
    insertQueue(db, queue);
  },
);

export const updateQueue = transaction(
  "queues.update",
  (db, change: Key & { name: string | undefined; settings: SomeSettings; now: string }): void => {
    const row = requireQueue(db, change);
    const name = change.name ?? String(row["name"]);
    refuseTakenName(db, { ...change, name });
    const settings = { ...(JSON.parse(String(row["settings"])) as QueueSettings), ...change.settings };
    db.prepare("UPDATE queues SET name = ?, settings = ?, modified_on = ? WHERE id = ?").run(
      name,
      JSON.stringify(settings),
      change.now,
      change.id,
    );
  },
);

export const deleteQueue = transaction("queues.delete", (db, key: Key): void => {
  const row = requireQueue(db, key);
  db.prepare("DELETE FROM queues WHERE id = ?").run(key.id);
  drop(db, Number(row["num"]));
});

/** Every message is gone at once: the queue gets another number. */
export const purgeQueue = transaction("queues.purge", (db, { now, ...key }: Key & { now: string }): void => {
  const row = requireQueue(db, key);
  db.prepare("UPDATE queues SET num = ?, purged_on = ? WHERE id = ?").run(newGeneration(db), now, key.id);
  drop(db, Number(row["num"]));
});

export const putConsumer = transaction(
  "queues.putConsumer",
  (
    db,
    given: {
      accountId: string;
      queueId: string;
      consumerId: string;
      replaces: boolean;
      consumer: NewConsumer;
      now: string;
    },
  ): void => {
    const { accountId, queueId, consumerId, replaces, consumer, now } = given;
    const queue = requireQueue(db, { accountId, id: queueId });
    const { type, settings, deadLetterQueue } = consumer;
    if (deadLetterQueue !== undefined) {
      if (deadLetterQueue === queue["name"])
        throw queueErrors.invalidConsumer("dead_letter_queue: a queue cannot be its own dead letter queue");
      const there = db
        .prepare("SELECT 1 FROM queues WHERE account_id = ? AND name = ?")
        .get(accountId, deadLetterQueue);
      if (!there) insertQueue(db, { accountId, name: deadLetterQueue, now });
    }
    const values = [
      type,
      type === "worker" ? consumer.script : null,
      deadLetterQueue ?? null,
      JSON.stringify(settings),
    ] as const;
    const other = db
      .prepare("SELECT 1 FROM queue_consumers WHERE queue_id = ? AND type = ? AND id <> ?")
      .get(queueId, type, consumerId);
    if (other) throw queueErrors.consumerExists(String(queue["name"]));
    if (!replaces)
      db.prepare(
        `INSERT INTO queue_consumers (id, queue_id, created_on, type, script, dead_letter_queue, settings)
         VALUES (?, ?, ?, ?, ?, ?, ?)`,
      ).run(consumerId, queueId, now, ...values);
    else {
      const { changes } = db
        .prepare(
          "UPDATE queue_consumers SET type = ?, script = ?, dead_letter_queue = ?, settings = ? WHERE id = ? AND queue_id = ?",
        )
        .run(...values, consumerId, queueId);
      if (changes === 0) throw queueErrors.consumerNotFound();
    }
  },
);

export const removeConsumer = transaction(
  "queues.removeConsumer",
  (db, { accountId, queueId, consumerId }: { accountId: string; queueId: string; consumerId: string }): void => {
    requireQueue(db, { accountId, id: queueId });
    const { changes } = db
      .prepare("DELETE FROM queue_consumers WHERE id = ? AND queue_id = ?")
      .run(consumerId, queueId);
    if (changes === 0) throw queueErrors.consumerNotFound();
  },
);

export const removeConsumersOf = transaction(
  "queues.removeConsumersOf",
  (db, { accountId, script }: { accountId: string; script: string }): void => {
    db.prepare(
      "DELETE FROM queue_consumers WHERE script = ? AND queue_id IN (SELECT id FROM queues WHERE account_id = ?)",
    ).run(script, accountId);
  },
);

/** A new queue; answers its number. */
export function insertQueue(
  db: WriteConnection,
  queue: { accountId: string; name: string; now: string; id?: string; settings?: QueueSettings },
): number {
  const num = newGeneration(db);
  const settings = queue.settings ?? queueSettings.parse({});
  db.prepare(
    "INSERT INTO queues (id, num, account_id, name, settings, created_on, modified_on) VALUES (?, ?, ?, ?, ?, ?, ?)",
  ).run(queue.id ?? newHexId(), num, queue.accountId, queue.name, JSON.stringify(settings), queue.now, queue.now);
  return num;
}

function newGeneration(db: WriteConnection): number {
  return Number(db.prepare("INSERT INTO queue_generations DEFAULT VALUES").run().lastInsertRowid);
}

function drop(db: WriteConnection, num: number): void {
  db.prepare("UPDATE queue_generations SET dropped = 1 WHERE num = ?").run(num);
}

function requireQueue(db: WriteConnection, { accountId, id }: Key): Record<string, unknown> {
  const row = db.prepare("SELECT num, name, settings FROM queues WHERE id = ? AND account_id = ?").get(id, accountId);
  if (!row) throw queueErrors.notFound();
  return row;
}

function refuseTakenName(db: WriteConnection, { accountId, id, name }: Key & { name: string }): void {
  const other = db.prepare("SELECT id FROM queues WHERE account_id = ? AND name = ?").get(accountId, name);
  if (other && other["id"] !== id) throw queueErrors.nameTaken(name);
}
