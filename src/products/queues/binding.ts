import { bindHeader, externalService, type BindingPiece } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { ApiError } from "#core/errors.ts";
import type { WireHandler, WireRequest, WireResponse } from "#http/wire/server.ts";
import { readBatchDelay, readContentType, readDelay } from "#products/queues/checks.ts";
import { queueErrors } from "#products/queues/errors.ts";
import { boundBatch, limits } from "#products/queues/schema.ts";
import type { NewMessage, QueueStore } from "#products/queues/store.ts";

const kind = "queue";

/** So much of a refused body is read for the sake of an exact error. */
const refusedBytes = 256 * 1024 * 1024;

/** What a queue binding adds to a version's configuration. */
export function queuePiece(options: {
  /** Name of the binding. */
  name: string;
  queueId: string;
  workerId: string;
  /** Path of the Worker's own socket to the state process. */
  socket: string;
  capabilityKey: Buffer;
}): BindingPiece {
  const { name, queueId, workerId, socket, capabilityKey } = options;
  const service = `queue:${name}`;
  const capability = signCapability(capabilityKey, { kind, scope: workerId, resource: queueId });
  return {
    bindings: [{ name, queue: service }],
    services: [externalService({ name: service, socket, capability })],
  };
}

/** Whether a request is for `queueBindingHandler`. Says nothing about whether it is allowed. */
export function isQueueRequest(request: WireRequest): boolean {
  return request.header(bindHeader)?.startsWith(`${kind}:`) ?? false;
}

/** Answers what workerd's queue binding asks (workerd-runtime §1; workerd's `src/workerd/api/queue.c++`). */
export function queueBindingHandler({
  store,
  reader,
}: {
  store: QueueStore;
  /** The `capabilityReader` of the Worker whose socket this is: the queue is what the capability names. */
  reader: (token: string | undefined, kind: string) => string | undefined;
}): WireHandler {
  return async (request) => {
    const boundQueueId = reader(request.header(bindHeader), kind);
    if (boundQueueId === undefined) return { status: 403, reason: "Forbidden" };
    try {
      return await answer(store, { boundQueueId }, request);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // The runtime answers "Network connection lost." when its request ends before it has sent all of it.
      let bytes = 0;
      for await (const piece of request.stream()) if ((bytes += piece.length) > refusedBytes) break;
      const headers = { "CF-Queues-Error-Code": String(error.code), "CF-Queues-Error-Cause": error.message };
      return { status: error.status, headers };
    }
  };
}

async function answer(store: QueueStore, queue: { boundQueueId: string }, request: WireRequest): Promise<WireResponse> {
  const { method, target } = request;
  if (method === "GET" && target === "/metrics") return json(await store.metrics(queue));
  const sent = async (messages: NewMessage[]) => json({ metadata: { metrics: await store.send(queue, messages) } });
  if (method === "POST" && target === "/message") return sent([await readMessage(request)]);
  if (method === "POST" && target === "/batch") return sent(await readMessages(request));
  throw queueErrors.bodyInvalid(`${method} ${target} is not known`);
}

async function readMessage(request: WireRequest): Promise<NewMessage> {
  const { contentLength } = request;
  if (contentLength !== undefined && contentLength > limits.messageBytes)
    throw queueErrors.messageTooLarge(contentLength);
  return {
    // What the oldest runtimes sent without saying so.
    contentType: readContentType(request.header("x-msg-fmt"), "v8"),
    delaySeconds: readDelay(request.header("x-msg-delay-secs")),
    body: await request.bytes(limits.messageBytes),
  };
}

async function readMessages(request: WireRequest): Promise<NewMessage[]> {
  const told = (name: string) => Number(request.header(name) ?? 0);
  const [count, largest, bytes] = [
    told("cf-queue-batch-count"),
    told("cf-queue-largest-msg"),
    told("cf-queue-batch-bytes"),
  ];
  if (count > limits.batchMessages) throw queueErrors.batchTooLong(count);
  if (largest > limits.messageBytes) throw queueErrors.messageTooLarge(largest);
  if (bytes > limits.batchBytes) throw queueErrors.batchTooLarge(bytes);
  const usualDelay = readBatchDelay(request.header("x-msg-delay-secs"));
  const parsed = boundBatch.safeParse(parseJson(await request.bytes(limits.requestBytes)));
  if (!parsed.success) throw queueErrors.bodyInvalid("Request JSON body does not match expected schema");
  return parsed.data.messages.map(({ body, contentType, delaySecs }) => ({
    body: Buffer.from(body, "base64"),
    contentType: readContentType(contentType, "v8"),
    delaySeconds: readDelay(delaySecs) ?? usualDelay,
  }));
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw queueErrors.bodyMalformed();
  }
}

function json(value: unknown): WireResponse {
  return { status: 200, headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
}
