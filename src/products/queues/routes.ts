import type { z } from "zod";
import { accountOf, createRoutes, ok, pageOf, param, readJson, type Api } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import { queueErrors } from "#products/queues/errors.ts";
import { messageRoutes } from "#products/queues/message-routes.ts";
import {
  changedQueue,
  limits,
  newConsumer,
  newQueue,
  pullSettings,
  purgeBody,
  queueSettings,
  someSettings,
  workerSettings,
  type Queue,
  type QueueConsumer,
} from "#products/queues/schema.ts";
import type { NewConsumer, QueueStore } from "#products/queues/store.ts";

export type QueueParts = {
  store: QueueStore;
  /** Names of the Workers that are deployed with a binding to a queue, by its id. */
  producers: (accountId: string) => Promise<ReadonlyMap<string, readonly string[]>>;
  /** Throws when there is no such Worker. */
  requireWorker: (accountId: string, script: string) => Promise<unknown>;
};

/** Below `/accounts/:account_id/queues` (wrangler-api §5, §9). */
export function queueRoutes(parts: QueueParts): Api {
  const { store, producers } = parts;
  const app = createRoutes();
  app.get("/", async (c) => {
    const names = c.req.queries("name");
    const all = await store.list(accountOf(c), names ? { names } : {});
    const sending = await producers(accountOf(c));
    const page = pageOf(c, { perPage: limits.queuesPerPage, perPageMax: 1000 });
    const { items, info } = paginate(all, page);
    return ok(
      c,
      items.map((queue) => queueJson(queue, sending)),
      info,
    );
  });
  app.post("/", async (c) => {
    const { queue_name: name, settings } = await readJson(c, newQueue);
    const queue = { name, settings: checked(queueSettings, settings ?? {}, queueErrors.invalidSettings) };
    return ok(c, queueJson(await store.create(accountOf(c), queue), new Map()));
  });
  app.get("/:queue_id", async (c) => {
    const queue = await store.get(accountOf(c), param(c, "queue_id"));
    return ok(c, queueJson(queue, await producers(accountOf(c))));
  });
  app.on(["PATCH", "PUT"], "/:queue_id", async (c) => {
    const { queue_name: name, settings } = await readJson(c, changedQueue);
    const change = { name, settings: checked(someSettings, settings ?? {}, queueErrors.invalidSettings) };
    const queue = await store.update(accountOf(c), param(c, "queue_id"), change);
    return ok(c, queueJson(queue, await producers(accountOf(c))));
  });
  app.delete("/:queue_id", async (c) => {
    await store.delete(accountOf(c), param(c, "queue_id"));
    return ok(c, null);
  });
  app.post("/:queue_id/purge", async (c) => {
    const { delete_messages_permanently: meant } = await readJson(c, purgeBody);
    if (meant !== true) throw queueErrors.purgeNotMeant();
    await store.purge(accountOf(c), param(c, "queue_id"));
    return ok(c, queueJson(await store.get(accountOf(c), param(c, "queue_id")), await producers(accountOf(c))));
  });
  app.get("/:queue_id/purge", async (c) => {
    const at = await store.lastPurge(accountOf(c), param(c, "queue_id"));
    // A purge is over at once.
    return ok(c, { started_at: at ?? "", completed: at ?? "" });
  });
  app.route("/:queue_id/consumers", consumerRoutes(parts));
  app.route("/", messageRoutes(store));
  return app;
}

function consumerRoutes({ store, requireWorker }: QueueParts): Api {
  const app = createRoutes();
  app.get("/", async (c) => {
    const queue = await store.get(accountOf(c), param(c, "queue_id"));
    return ok(
      c,
      queue.consumers.map((consumer) => consumerJson(consumer, queue)),
    );
  });
  app.get("/:consumer_id", async (c) => {
    const queue = await store.get(accountOf(c), param(c, "queue_id"));
    const consumer = queue.consumers.find(({ id }) => id === param(c, "consumer_id"));
    if (!consumer) throw queueErrors.consumerNotFound();
    return ok(c, consumerJson(consumer, queue));
  });
  app.post("/", async (c) => {
    const [accountId, queueId] = [accountOf(c), param(c, "queue_id")];
    const consumer = readConsumer(await readJson(c, newConsumer));
    if (consumer.type === "worker") await requireWorker(accountId, consumer.script);
    const made = await store.addConsumer(accountId, queueId, consumer);
    return ok(c, consumerJson(made, await store.get(accountId, queueId)));
  });
  app.put("/:consumer_id", async (c) => {
    const [accountId, queueId] = [accountOf(c), param(c, "queue_id")];
    const consumer = readConsumer(await readJson(c, newConsumer));
    if (consumer.type === "worker") await requireWorker(accountId, consumer.script);
    const changed = await store.updateConsumer(accountId, queueId, param(c, "consumer_id"), consumer);
    return ok(c, consumerJson(changed, await store.get(accountId, queueId)));
  });
  app.delete("/:consumer_id", async (c) => {
    await store.removeConsumer(accountOf(c), param(c, "queue_id"), param(c, "consumer_id"));
    return ok(c, null);
  });
  return app;
}

function readConsumer(body: z.infer<typeof newConsumer>): NewConsumer {
  const { type = "worker", script_name: script, settings = {} } = body;
  // wrangler sends none where none is set; an empty one is none.
  const deadLetterQueue = body.dead_letter_queue || undefined;
  const invalid = queueErrors.invalidConsumer;
  if (type === "http_pull") return { type, deadLetterQueue, settings: checked(pullSettings, settings, invalid) };
  if (type !== "worker") throw invalid(`type: ${JSON.stringify(type)} is neither "worker" nor "http_pull"`);
  if (!script) throw invalid("script_name: is missing");
  return { type, script, deadLetterQueue, settings: checked(workerSettings, settings, invalid) };
}

function checked<T extends z.ZodType>(schema: T, value: unknown, refuse: (why: string) => Error): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw refuse(`${issue?.path.join(".")}: ${issue?.message}`);
}

function queueJson(queue: Queue, producers: ReadonlyMap<string, readonly string[]>) {
  const sending = producers.get(queue.id) ?? [];
  return {
    queue_id: queue.id,
    queue_name: queue.name,
    created_on: queue.createdOn,
    modified_on: queue.modifiedOn,
    producers: sending.map((script) => ({ type: "worker", script })),
    producers_total_count: sending.length,
    consumers: queue.consumers.map((consumer) => consumerJson(consumer, queue)),
    consumers_total_count: queue.consumers.length,
    settings: queue.settings,
  };
}

function consumerJson(consumer: QueueConsumer, { id, name }: Queue) {
  const { deadLetterQueue, settings, type } = consumer;
  return {
    consumer_id: consumer.id,
    created_on: consumer.createdOn,
    queue_id: id,
    queue_name: name,
    type,
    ...(consumer.type === "worker" ? { script: consumer.script, script_name: consumer.script } : {}),
    ...(deadLetterQueue === undefined ? {} : { dead_letter_queue: deadLetterQueue }),
    settings,
  };
}
