import { Hono } from "hono";
import { csrf } from "hono/csrf";
import { secureHeaders } from "hono/secure-headers";
import { accounts } from "./accounts/routes.ts";
import { documents } from "./documents/routes.ts";
import { archives } from "./archives/routes.ts";
import { writeDigests } from "./digest/digest.ts";
import type { App, Env } from "./env.ts";
import { answerError, errors } from "./errors.ts";
import { notes } from "./notes/routes.ts";
import { costs } from "./questions/costs.ts";
import { questions } from "./questions/routes.ts";
import { readDocuments, type ToRead } from "./reading/queue.ts";

const api = new Hono<App>().basePath("/api");

api.use(secureHeaders());
api.use(csrf());
api.use(async (c, next) => {
  await next();
  // What people own is never kept by anyone in between. A download says more about itself.
  if (!c.res.headers.has("cache-control")) c.header("cache-control", "no-store");
});

api.get("/health", async (c) => {
  await c.env.DB.prepare("SELECT 1").run();
  return c.json({ status: "ok", environment: c.env.ENVIRONMENT });
});
api.route("/", accounts);
api.route("/documents", documents);
api.route("/imports", archives);
api.route("/notes", notes);
api.route("/questions", questions);
api.route("/costs", costs);

api.notFound(() => {
  throw errors.notFound("There is nothing at this address.");
});
api.onError(answerError);

export { ImportArchive } from "./archives/import-archive.ts";

export default { fetch: api.fetch, queue: readDocuments, scheduled: writeDigests } satisfies ExportedHandler<
  Env,
  ToRead
>;
