import type { ContentType, QueueMetrics } from "#products/queues/schema.ts";

/**
 * A batch on its way into a Worker's process: four bytes with the length of the JSON, the JSON, the bodies one after the other.
 * Written here by the state process and read in workerd by the router.
 */
export type BatchMessage = {
  id: string;
  /** Milliseconds since 1970. */
  timestamp: number;
  attempts: number;
  contentType: ContentType;
  body: Uint8Array;
};

type Head = {
  queue: string;
  metrics: QueueMetrics;
  messages: (Omit<BatchMessage, "body"> & { bytes: number })[];
};

/** How a Worker left a batch; workerd's `FetcherQueueResult`. */
export type BatchOutcome = {
  outcome: string;
  ackAll: boolean;
  retryBatch: { retry: boolean; delaySeconds?: number };
  explicitAcks: string[];
  retryMessages: { msgId: string; delaySeconds?: number }[];
};

export function encodeBatch(queue: string, metrics: QueueMetrics, messages: readonly BatchMessage[]): Uint8Array {
  const head: Head = {
    queue,
    metrics,
    messages: messages.map(({ body, ...message }) => ({ ...message, bytes: body.length })),
  };
  const json = new TextEncoder().encode(JSON.stringify(head));
  const size = messages.reduce((sum, { body }) => sum + body.length, 4 + json.length);
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, json.length);
  bytes.set(json, 4);
  let at = 4 + json.length;
  for (const { body } of messages) {
    bytes.set(body, at);
    at += body.length;
  }
  return bytes;
}

/** The arguments of workerd's `Fetcher.queue`. */
export function decodeBatch(bytes: Uint8Array) {
  const end = 4 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  const { queue, metrics, messages } = JSON.parse(new TextDecoder().decode(bytes.subarray(4, end))) as Head;
  let at = end;
  const decoded = messages.map(({ id, timestamp, attempts, contentType, bytes: size }) => {
    const body = bytes.slice(at, at + size);
    at += size;
    return { id, timestamp: new Date(timestamp), attempts, ...bodyOf(contentType, body) };
  });
  const { oldestMessageTimestamp: oldest, ...counts } = metrics;
  const times = oldest === 0 ? {} : { oldestMessageTimestamp: new Date(oldest) };
  return { queue, messages: decoded, metadata: { metrics: { ...counts, ...times } } };
}

function bodyOf(
  contentType: ContentType,
  body: Uint8Array<ArrayBuffer>,
): { body: unknown } | { serializedBody: Uint8Array } {
  switch (contentType) {
    case "json":
      return { body: JSON.parse(new TextDecoder().decode(body)) as unknown };
    case "text":
      return { body: new TextDecoder("utf-8", { fatal: false, ignoreBOM: true }).decode(body) };
    case "bytes":
      // A Worker gets a message of bytes as an ArrayBuffer; queues/configuration/javascript-apis#queuescontenttype.
      return { body: body.buffer };
    case "v8":
      return { serializedBody: body };
  }
}
