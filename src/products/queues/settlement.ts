import type { BatchOutcome } from "#products/queues/event-batch.ts";

type Settled = { acks: number[]; retries: { row: number; delaySeconds: number }[] };

/**
 * What becomes of each message of a batch. A word about a message goes before one about the batch; without either, a handler that
 * ended well has acknowledged and one that threw has not. The first word counts, which workerd sees to itself
 * (https://developers.cloudflare.com/queues/configuration/batching-retries/). `outcome` is undefined when the Worker's process
 * ended before it could tell: then all are tried again.
 */
export function settlement(
  messages: readonly { id: string; row: number }[],
  outcome: BatchOutcome | undefined,
  retryDelay: number,
): Settled {
  const acked = new Set(outcome?.explicitAcks);
  const retried = new Map(outcome?.retryMessages.map(({ msgId, delaySeconds }) => [msgId, delaySeconds]));
  const settled: Settled = { acks: [], retries: [] };
  const retryRest = !outcome || (!outcome.ackAll && (outcome.retryBatch.retry || outcome.outcome !== "ok"));
  for (const { id, row } of messages) {
    if (retried.has(id)) settled.retries.push({ row, delaySeconds: retried.get(id) ?? retryDelay });
    else if (retryRest && !acked.has(id))
      settled.retries.push({ row, delaySeconds: outcome?.retryBatch.delaySeconds ?? retryDelay });
    else settled.acks.push(row);
  }
  return settled;
}
