import type { DatabaseSchema } from "#db/schema.ts";
import { queueTables } from "#products/queues/tables.ts";
import * as messages from "#products/queues/writes-messages.ts";
import * as queues from "#products/queues/writes-queues.ts";

export const queuesSchema: DatabaseSchema = {
  product: "queues",
  migrations: [queueTables],
  transactions: [
    queues.createQueue,
    queues.updateQueue,
    queues.deleteQueue,
    queues.purgeQueue,
    queues.putConsumer,
    queues.removeConsumer,
    queues.removeConsumersOf,
    messages.send,
    messages.finish,
    messages.lease,
    messages.settleLeases,
    messages.removeByUid,
    messages.move,
    messages.sweep,
  ],
};
