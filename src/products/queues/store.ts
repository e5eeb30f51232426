import { newHexId } from "#core/ids.ts";
import type { Database } from "#db/database.ts";
import { queueErrors } from "#products/queues/errors.ts";
import { queueName, queueSettings, type Queue, type QueueSettings } from "#products/queues/schema.ts";
import * as writes from "#products/queues/writes.ts";

/** The queues of each account, by name and id: what provisioning and deploys look at. */
export interface QueueStore {
  list(accountId: string, filter?: { name?: string }): Promise<Queue[]>;
  get(accountId: string, id: string): Promise<Queue>;
  create(accountId: string, queue: { name: string; settings: QueueSettings }): Promise<Queue>;
  delete(accountId: string, id: string): Promise<void>;
}

export function queueStore(db: Database): QueueStore {
  const columns = "SELECT id, account_id, name, settings, created_on, modified_on FROM queues";
  return {
    async list(accountId, { name } = {}) {
      const rows =
        name === undefined
          ? db.prepare(`${columns} WHERE account_id = ? ORDER BY name`).all(accountId)
          : db.prepare(`${columns} WHERE account_id = ? AND name = ?`).all(accountId, name);
      return rows.map(toQueue);
    },
    async get(accountId, id) {
      const row = db.prepare(`${columns} WHERE account_id = ? AND id = ?`).get(accountId, id);
      if (!row) throw queueErrors.notFound();
      return toQueue(row);
    },
    async create(accountId, { name, settings }) {
      if (!queueName.test(name)) throw queueErrors.invalidName();
      const now = new Date().toISOString();
      const queue = { id: newHexId(), accountId, name, settings, createdOn: now, modifiedOn: now };
      await db.write(writes.createQueue, queue);
      return queue;
    },
    async delete(accountId, id) {
      await db.write(writes.deleteQueue, { accountId, id });
    },
  };
}

function toQueue(row: Record<string, unknown>): Queue {
  return {
    id: String(row["id"]),
    accountId: String(row["account_id"]),
    name: String(row["name"]),
    settings: queueSettings.parse(JSON.parse(String(row["settings"]))),
    createdOn: String(row["created_on"]),
    modifiedOn: String(row["modified_on"]),
  };
}
