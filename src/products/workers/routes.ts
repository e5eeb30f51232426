import { createRoutes, type Api } from "#http/app.ts";
import { assetSessionRoutes } from "#products/workers/asset-routes.ts";
import type { AssetStore } from "#products/workers/assets.ts";
import { secretRoutes } from "#products/workers/secret-routes.ts";
import { scriptRoutes, type WorkerParts } from "#products/workers/script-routes.ts";
import { serviceRoutes } from "#products/workers/service-routes.ts";
import { versionRoutes } from "#products/workers/version-routes.ts";

/** Everything below `/accounts/:account_id` that is about Workers. */
export function workerRoutes(parts: WorkerParts & { assets: AssetStore; reservedNames: ReadonlySet<string> }): Api {
  const app = createRoutes();
  app.route("/workers", scriptRoutes(parts));
  app.route("/workers", serviceRoutes(parts));
  app.route("/workers", versionRoutes(parts));
  app.route("/workers", secretRoutes(parts));
  app.route("/workers", assetSessionRoutes(parts.assets, parts.reservedNames));
  return app;
}
