import { z } from "zod";
import { accountOf, createRoutes, ok, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { ApiError } from "#core/errors.ts";
import { workerErrors } from "#products/workers/errors.ts";
import type { WorkerStore } from "#products/workers/store.ts";

/**
 * What wrangler sets or looks up beside the script itself, for features that are not here yet: an empty list is accepted,
 * since there is nothing to do; a request for the feature is refused by name (wrangler-api §3.7).
 */
export function triggerRoutes(store: WorkerStore): Api {
  const app = createRoutes();
  const emptyOnly = async (c: ApiContext, what: string) => {
    await store.get(accountOf(c), param(c, "name"));
    const wanted = await readJson(c, z.array(z.unknown()));
    if (wanted.length > 0) throw workerErrors.unsupported(what);
  };

  app.put("/workers/scripts/:name/schedules", async (c) => {
    await emptyOnly(c, "A cron trigger");
    return ok(c, { schedules: [] });
  });
  app.get("/workers/scripts/:name/schedules", async (c) => {
    await store.get(accountOf(c), param(c, "name"));
    return ok(c, { schedules: [] });
  });
  app.get("/workflows/:name", () => {
    // Required before a first deploy that has a Workflow (wrangler-api §1.4).
    throw new ApiError(404, 10200, "workflow.not_found");
  });
  return app;
}
