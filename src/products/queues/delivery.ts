import { once } from "node:events";
import { Agent, request, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { messageOf } from "#core/errors.ts";
import { encodeBatch, type BatchOutcome } from "#products/queues/event-batch.ts";
import type { QueueMetrics } from "#products/queues/schema.ts";
import type { Claimed, PushQueue } from "#products/queues/store.ts";

/**
 * How a delivery went. `unreached`: no process of the Worker has seen the batch, so it was no attempt. `lost`: one may have seen
 * it, and has not told how it ended.
 */
export type Delivered =
  | { kind: "done"; outcome: BatchOutcome }
  | { kind: "unreached"; why: string }
  | { kind: "lost"; why: string };

export type Deliver = (
  queue: PushQueue,
  batch: { messages: readonly Claimed[]; metrics: QueueMetrics; signal: AbortSignal },
) => Promise<Delivered>;

/** Hands batches to Workers by the ingress's own socket for events. `timeMs`: how long a consumer may take for one. */
export function deliverBy(options: { socket: string; timeMs: number }): { deliver: Deliver; close(): void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 1000 });
  return {
    close: () => agent.destroy(),
    async deliver({ accountId, name, consumer }, { messages, metrics, signal }) {
      const body = encodeBatch(name, metrics, messages);
      const timeout = AbortSignal.timeout(options.timeMs);
      const outgoing = request({
        socketPath: options.socket,
        agent,
        method: "POST",
        path: `/${accountId}/${consumer.script}/queue`,
        headers: { host: "events", "content-length": body.length },
        signal: AbortSignal.any([signal, timeout]),
      });
      outgoing.on("error", () => {}); // Whoever waits for the answer is told; an unheard event would end the process.
      try {
        const answered = once(outgoing, "response");
        outgoing.end(body);
        const [response] = (await answered) as [IncomingMessage];
        return readAnswer(response.statusCode ?? 0, await text(response));
      } catch (error) {
        if (timeout.aborted) return { kind: "lost", why: `the consumer took longer than ${options.timeMs} ms` };
        // The ingress is gone, and with it what it knew. Its end is no failure of the Worker.
        return { kind: "unreached", why: messageOf(error) };
      }
    },
  };
}

/** What the ingress says: a Worker's own answer is 200, everything else is a page of its own. */
function readAnswer(status: number, body: string): Delivered {
  if (status === 200) return { kind: "done", outcome: JSON.parse(body) as BatchOutcome };
  const [why = ""] = body.split("\n");
  // 1102: a process that was ended because it took too much. The other pages of this status say that none runs.
  const nobody = status === 404 || (status === 503 && !body.includes("error code: 1102"));
  return { kind: nobody ? "unreached" : "lost", why };
}
