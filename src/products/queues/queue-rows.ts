import type { Database } from "#db/database.ts";
import { queueErrors } from "#products/queues/errors.ts";
import {
  pullSettings,
  queueSettings,
  workerSettings,
  type Queue,
  type QueueConsumer,
  type QueueSettings,
} from "#products/queues/schema.ts";
import type { PushQueue } from "#products/queues/store.ts";
import type { QueueKey } from "#products/queues/writes-messages.ts";

type Row = Record<string, unknown>;
type Place = { num: number; settings: QueueSettings; purgedOn: string | undefined };

export type QueueRows = ReturnType<typeof queueRows>;

/** Reads queues and their consumers. */
export function queueRows(db: Database) {
  const columns = "id, num, account_id, name, settings, created_on, modified_on, purged_on";
  const all = db.prepare(`SELECT ${columns} FROM queues WHERE account_id = ? ORDER BY name`);
  const named = db.prepare(`SELECT ${columns} FROM queues WHERE account_id = ? AND name = ?`);
  const byId = db.prepare(`SELECT ${columns} FROM queues WHERE id = ?`);
  const byNum = db.prepare("SELECT settings FROM queues WHERE num = ?");
  // wrangler takes the first one for the one that pulls.
  const consumers = db.prepare("SELECT * FROM queue_consumers WHERE queue_id = ? ORDER BY type");
  const pushed = db.prepare(
    `SELECT queues.num, queues.name, queues.account_id, queues.settings AS queue_settings, queue_consumers.*
     FROM queue_consumers JOIN queues ON queues.id = queue_id WHERE type = 'worker'`,
  );
  const consumersOf = (queueId: string) => consumers.all(queueId).map(toConsumer);
  const toQueue = (row: Row): Queue => ({
    id: String(row["id"]),
    accountId: String(row["account_id"]),
    name: String(row["name"]),
    settings: readSettings(row["settings"]),
    createdOn: String(row["created_on"]),
    modifiedOn: String(row["modified_on"]),
    consumers: consumersOf(String(row["id"])),
  });
  const own = (accountId: string, id: string): Row => {
    const row = byId.get(id);
    if (!row || row["account_id"] !== accountId) throw queueErrors.notFound();
    return row;
  };
  const place = (accountId: string, id: string): Place => {
    const row = own(accountId, id);
    const purgedOn = row["purged_on"];
    return {
      num: Number(row["num"]),
      settings: readSettings(row["settings"]),
      purgedOn: typeof purgedOn === "string" ? purgedOn : undefined,
    };
  };

  return {
    list(accountId: string, names?: readonly string[]): Queue[] {
      if (!names) return all.all(accountId).map(toQueue);
      return [...new Set(names)].flatMap((name) => {
        const row = named.get(accountId, name);
        return row ? [toQueue(row)] : [];
      });
    },
    get: (accountId: string, id: string): Queue => toQueue(own(accountId, id)),
    place,
    numOf({ queueId, accountId }: QueueKey): number {
      const row = byId.get(queueId);
      if (!row || (accountId !== undefined && row["account_id"] !== accountId)) throw queueErrors.noQueue();
      return Number(row["num"]);
    },
    retentionMs(num: number): number {
      const row = byNum.get(num);
      return row ? retentionMsOf(readSettings(row["settings"])) : 0;
    },
    /** The queue as one who pulls from it sees it. */
    pulled(accountId: string, id: string) {
      const { num, settings } = place(accountId, id);
      const pull = consumersOf(id).find((consumer) => consumer.type === "http_pull");
      if (!pull) throw queueErrors.notPulled();
      return { num, pull, paused: settings.delivery_paused, retentionMs: retentionMsOf(settings) };
    },
    pushQueues: (): PushQueue[] =>
      pushed.all().flatMap((row) => {
        const consumer = toConsumer(row);
        if (consumer.type !== "worker") return [];
        return [
          {
            num: Number(row["num"]),
            name: String(row["name"]),
            accountId: String(row["account_id"]),
            paused: readSettings(row["queue_settings"]).delivery_paused,
            consumer,
          },
        ];
      }),
  };
}

function readSettings(text: unknown): QueueSettings {
  return queueSettings.parse(JSON.parse(String(text)));
}

function retentionMsOf({ message_retention_period: seconds }: QueueSettings): number {
  return seconds * 1000;
}

function toConsumer(row: Row): QueueConsumer {
  const settings: unknown = JSON.parse(String(row["settings"]));
  const deadLetterQueue = row["dead_letter_queue"];
  const common = {
    id: String(row["id"]),
    createdOn: String(row["created_on"]),
    deadLetterQueue: typeof deadLetterQueue === "string" ? deadLetterQueue : undefined,
  };
  return row["type"] === "worker"
    ? { ...common, type: "worker", script: String(row["script"]), settings: workerSettings.parse(settings) }
    : { ...common, type: "http_pull", settings: pullSettings.parse(settings) };
}
