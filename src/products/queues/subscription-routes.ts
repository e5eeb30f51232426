import { createRoutes, ok, type Api } from "#http/app.ts";
import { queueErrors } from "#products/queues/errors.ts";

/** Events of the platform that a queue gets: none here. Nobody has any, and a new one is refused by name. */
export function subscriptionRoutes(): Api {
  const app = createRoutes();
  app.get("/subscriptions", (c) => ok(c, [], { page: 1, per_page: 20, count: 0, total_count: 0 }));
  app.all("/subscriptions/*", () => {
    throw queueErrors.noSubscriptions();
  });
  app.post("/subscriptions", () => {
    throw queueErrors.noSubscriptions();
  });
  return app;
}
