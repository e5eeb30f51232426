import { accountOf, createRoutes, ok, pageOf, param, readJson, type Api } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import { newQueue, type Queue } from "#products/queues/schema.ts";
import type { QueueStore } from "#products/queues/store.ts";

/** Below `/accounts/:account_id/queues` (wrangler-api §5, §9). */
export function queueRoutes(queues: QueueStore): Api {
  const app = createRoutes();
  app.get("/", async (c) => {
    const name = c.req.query("name");
    const all = await queues.list(accountOf(c), name === undefined ? {} : { name });
    const { items, info } = paginate(all.map(queueJson), pageOf(c, { perPage: 100, perPageMax: 1000 }));
    return ok(c, items, info);
  });
  app.post("/", async (c) => {
    const { queue_name: name, settings } = await readJson(c, newQueue);
    return ok(c, queueJson(await queues.create(accountOf(c), { name, settings })));
  });
  app.get("/:queue_id", async (c) => ok(c, queueJson(await queues.get(accountOf(c), param(c, "queue_id")))));
  app.delete("/:queue_id", async (c) => {
    await queues.delete(accountOf(c), param(c, "queue_id"));
    return ok(c, null);
  });
  return app;
}

function queueJson(queue: Queue) {
  return {
    queue_id: queue.id,
    queue_name: queue.name,
    created_on: queue.createdOn,
    modified_on: queue.modifiedOn,
    producers: [],
    producers_total_count: 0,
    consumers: [],
    consumers_total_count: 0,
    settings: queue.settings,
  };
}
