import { createRoutes, type Api } from "#http/app.ts";
import { ApiError } from "#core/errors.ts";

/** What wrangler looks up before a first deploy, for features that are not here yet (wrangler-api §3.7). */
export function triggerRoutes(): Api {
  const app = createRoutes();
  app.get("/workflows/:name", () => {
    // Required before a first deploy that has a Workflow (wrangler-api §1.4).
    throw new ApiError(404, 10200, "workflow.not_found");
  });
  return app;
}
