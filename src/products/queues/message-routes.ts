import type { z } from "zod";
import { accountOf, createRoutes, ok, param, readBody, type Api, type ApiContext } from "#http/app.ts";
import { readBatchDelay, readContentType, readDelay } from "#products/queues/checks.ts";
import { queueErrors } from "#products/queues/errors.ts";
import {
  ackBody,
  peekBody,
  pullBody,
  purgeRefsBody,
  pushBatchBody,
  pushBody,
  limits,
  redriveBody,
  type Queue,
  type QueueMetrics,
} from "#products/queues/schema.ts";
import type { NewMessage, QueueStore, StoredMessage } from "#products/queues/store.ts";

/** Body bytes of a request: a batch as JSON, each byte of it escaped. */
const jsonBytesMax = 2 * 1024 * 1024;

/**
 * Messages of a queue over HTTP (https://developers.cloudflare.com/api/resources/queues/subresources/messages/), and dead letters on
 * their way back in one call of ours.
 */
export function messageRoutes(store: QueueStore): Api {
  const app = createRoutes();
  const refOf = (c: ApiContext) => ({ accountId: accountOf(c), queueId: param(c, "queue_id") });

  app.get("/:queue_id/metrics", async (c) => ok(c, metricsJson(await store.metrics(refOf(c)))));
  app.post("/:queue_id/messages", async (c) => {
    const message = readMessage(await readBodyAs(c, pushBody), undefined);
    return ok(c, sentJson(await store.send(refOf(c), [message])));
  });
  app.post("/:queue_id/messages/batch", async (c) => {
    const { messages, delay_seconds: given } = await readBodyAs(c, pushBatchBody);
    const delay = readBatchDelay(given);
    const metrics = await store.send(
      refOf(c),
      messages.map((message) => readMessage(message, delay)),
    );
    return ok(c, sentJson(metrics));
  });
  app.post("/:queue_id/messages/pull", async (c) => {
    const given = await readBodyAs(c, pullBody);
    const { accountId, queueId } = refOf(c);
    const { messages, metrics } = await store.pull(accountId, queueId, {
      batchSize: given.batch_size ?? undefined,
      visibilityMs: given.visibility_timeout_ms ?? given.visibility_timeout ?? undefined,
    });
    return ok(c, {
      message_backlog_count: metrics.backlogCount,
      metadata: { metrics: metricsJson(metrics) },
      messages: messages.map(({ leaseId, ...message }) => ({ ...messageJson(message), lease_id: leaseId })),
    });
  });
  app.post("/:queue_id/messages/ack", async (c) => {
    const { acks, retries } = await readBodyAs(c, ackBody);
    const { accountId, queueId } = refOf(c);
    const { acked, retried, unknown } = await store.settle(accountId, queueId, {
      acks: (acks ?? []).map(({ lease_id: leaseId }) => leaseId),
      retries: (retries ?? []).map(({ lease_id: leaseId, delay_seconds: delay }) => ({
        leaseId,
        delaySeconds: delay ?? undefined,
      })),
    });
    const warnings = Object.fromEntries(unknown.map((leaseId) => [leaseId, "the lease is not known, or it is over"]));
    return ok(c, { ackCount: acked, retryCount: retried, warnings });
  });
  app.post("/:queue_id/messages/peek", async (c) => {
    const { batch_size: size } = await readBodyAs(c, peekBody);
    const { accountId, queueId } = refOf(c);
    const messages = await store.peek(accountId, queueId, size ?? 10);
    return ok(c, { messages: messages.map(({ ref, ...message }) => ({ ...messageJson(message), ref })) });
  });
  app.post("/:queue_id/messages/redrive", async (c) => {
    const { target_queue_id: given, max_messages: max } = await readBodyAs(c, redriveBody);
    const { accountId, queueId } = refOf(c);
    const to = given ?? (await sourceOf(store, accountId, queueId)).id;
    let left = max ?? limits.moved;
    let moved = 0;
    for (;;) {
      const step = await store.move(accountId, queueId, { queueId: to, max: left });
      moved += step.moved;
      left -= step.moved;
      if (step.moved === 0 || left === 0 || c.req.raw.signal.aborted) break;
    }
    return ok(c, { moved_count: moved, target_queue_id: to });
  });
  app.post("/:queue_id/messages/purge", async (c) => {
    const { refs } = await readBodyAs(c, purgeRefsBody);
    const { accountId, queueId } = refOf(c);
    const { unknown } = await store.remove(
      accountId,
      queueId,
      refs.map(({ ref }) => ref),
    );
    return ok(c, { errors: [], warnings: Object.fromEntries(unknown.map((ref) => [ref, "there is no such message"])) });
  });
  return app;
}

/** The queue whose dead letters come here, for a call that does not say where they go back to. */
async function sourceOf(store: QueueStore, accountId: string, queueId: string): Promise<Queue> {
  const { name } = await store.get(accountId, queueId);
  const sources = (await store.list(accountId)).filter(({ consumers }) =>
    consumers.some(({ deadLetterQueue }) => deadLetterQueue === name),
  );
  const [source] = sources;
  if (!source || sources.length > 1) throw queueErrors.noSource(sources.map((queue) => queue.name));
  return source;
}

/** The API takes text and JSON; JSON is what is meant where nothing is said. */
function readMessage(
  { body, content_type: type, delay_seconds: delay }: z.infer<typeof pushBody>,
  batchDelay: number | undefined,
): NewMessage {
  const contentType = readContentType(type, "json");
  const delaySeconds = readDelay(delay) ?? batchDelay;
  if (contentType === "json") return { contentType, delaySeconds, body: Buffer.from(JSON.stringify(body ?? null)) };
  if (contentType !== "text") throw queueErrors.invalidContentType(contentType);
  if (typeof body !== "string") throw queueErrors.bodyInvalid("body: must be a string, as content_type is text");
  return { contentType, delaySeconds, body: Buffer.from(body) };
}

/** Queues have codes of their own for bodies that are no good. An empty one is an empty object: nothing in it need be said. */
async function readBodyAs<T extends z.ZodType>(c: ApiContext, schema: T): Promise<z.output<T>> {
  const text = Buffer.from(await readBody(c.req.raw, jsonBytesMax)).toString();
  let json: unknown;
  try {
    json = text === "" ? {} : JSON.parse(text);
  } catch {
    throw queueErrors.bodyMalformed();
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw queueErrors.bodyInvalid(`${issue?.path.join(".")}: ${issue?.message}`);
}

/**
 * Bodies of JSON and bytes are base64, text is text; what a type is stands in the metadata
 * (https://developers.cloudflare.com/queues/configuration/pull-consumers/#content-types).
 */
function messageJson({ id, timestamp, attempts, contentType, body }: StoredMessage) {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return {
    id,
    timestamp_ms: timestamp,
    attempts,
    body: bytes.toString(contentType === "text" ? "utf8" : "base64"),
    metadata: { "CF-Content-Type": contentType },
  };
}

function metricsJson({ backlogCount, backlogBytes, oldestMessageTimestamp }: QueueMetrics) {
  return {
    backlog_count: backlogCount,
    backlog_bytes: backlogBytes,
    oldest_message_timestamp_ms: oldestMessageTimestamp,
  };
}

function sentJson(metrics: QueueMetrics) {
  return { metadata: { metrics: metricsJson(metrics) } };
}
