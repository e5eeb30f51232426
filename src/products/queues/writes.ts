import { transaction, type DatabaseSchema } from "#db/schema.ts";
import { queueErrors } from "#products/queues/errors.ts";
import type { Queue } from "#products/queues/schema.ts";

export const createQueue = transaction("queues.create", (db, queue: Queue): void => {
  const taken = db.prepare("SELECT 1 FROM queues WHERE account_id = ? AND name = ?").get(queue.accountId, queue.name);
  if (taken) throw queueErrors.nameTaken(queue.name);
  db.prepare(
    "INSERT INTO queues (id, account_id, name, settings, created_on, modified_on) VALUES (?, ?, ?, ?, ?, ?)",
  ).run(queue.id, queue.accountId, queue.name, JSON.stringify(queue.settings), queue.createdOn, queue.modifiedOn);
});

export const deleteQueue = transaction(
  "queues.delete",
  (db, { accountId, id }: { accountId: string; id: string }): void => {
    const { changes } = db.prepare("DELETE FROM queues WHERE account_id = ? AND id = ?").run(accountId, id);
    if (changes === 0) throw queueErrors.notFound();
  },
);

export const queuesSchema: DatabaseSchema = {
  product: "queues",
  migrations: [
    `CREATE TABLE queues (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
       name TEXT NOT NULL,
       settings TEXT NOT NULL,
       created_on TEXT NOT NULL,
       modified_on TEXT NOT NULL,
       UNIQUE (account_id, name)
     ) STRICT;`,
  ],
  transactions: [createQueue, deleteQueue],
};
