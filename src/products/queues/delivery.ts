import type { EventAnswer, EventCaller } from "#http/event-call.ts";
import { encodeBatch, type BatchOutcome } from "#products/queues/event-batch.ts";
import type { QueueMetrics } from "#products/queues/schema.ts";
import type { Claimed, PushQueue } from "#products/queues/store.ts";

/** How a delivery went. One that was not reached was no attempt. */
export type Delivered = { kind: "done"; outcome: BatchOutcome } | Exclude<EventAnswer, { kind: "done" }>;

export type Deliver = (
  queue: PushQueue,
  batch: { messages: readonly Claimed[]; metrics: QueueMetrics; signal: AbortSignal },
) => Promise<Delivered>;

/** Hands batches to the Workers that consume them. */
export function deliverBy(events: EventCaller): Deliver {
  return async ({ accountId, name, consumer: { script } }, { messages, metrics, signal }) => {
    const body = encodeBatch(name, metrics, messages);
    const answer = await events.call({ accountId, script, event: "queue", body }, signal);
    return answer.kind === "done" ? { kind: "done", outcome: JSON.parse(answer.body) as BatchOutcome } : answer;
  };
}
