import { answerGraphql } from "#http/analytics.ts";
import { createApi, createRoutes, type Api } from "#http/app.ts";
import { requireAccount, requireToken } from "#http/auth.ts";
import { forwardTo } from "#http/forward.ts";
import { accountRoutes, identityRoutes } from "#products/accounts/routes.ts";
import type { AccountStore } from "#products/accounts/store.ts";
import { cronRoutes, type CronParts } from "#products/cron/routes.ts";
import type { D1Analytics } from "#products/d1/analytics.ts";
import type { D1Exports } from "#products/d1/exports.ts";
import type { D1Imports } from "#products/d1/imports.ts";
import { d1DownloadRoutes, d1Routes, d1UploadRoutes } from "#products/d1/routes.ts";
import type { D1Store } from "#products/d1/store.ts";
import { objectRoutes, type ObjectParts } from "#products/durable-objects/routes.ts";
import { kvRoutes } from "#products/kv/routes.ts";
import type { KvStore } from "#products/kv/store.ts";
import { logsRoutes, type FindWorker } from "#products/logs/routes.ts";
import type { LogStore } from "#products/logs/store.ts";
import { tailRoutes } from "#products/logs/tail-routes.ts";
import type { Tails } from "#products/logs/tails.ts";
import { queueRoutes, type QueueParts } from "#products/queues/routes.ts";
import { subscriptionRoutes } from "#products/queues/subscription-routes.ts";
import { r2Datasets } from "#products/r2/analytics.ts";
import { r2Routes } from "#products/r2/routes.ts";
import { catalogRoutes, notificationRoutes, type SettingParts } from "#products/r2/routes-settings.ts";
import { tokenRoutes } from "#products/r2/routes-tokens.ts";
import { assetUploadRoutes } from "#products/workers/asset-routes.ts";
import type { AssetStore } from "#products/workers/assets.ts";
import { workerRoutes } from "#products/workers/routes.ts";
import type { WorkerParts } from "#products/workers/script-routes.ts";
import { workflowRoutes, type WorkflowParts } from "#products/workflows/routes.ts";
import { zoneRoutes, type ZoneParts } from "#products/zones/routes.ts";
import { workerZoneRoutes } from "#products/zones/worker-routes.ts";

export type ApiParts = {
  accounts: AccountStore;
  workers: WorkerParts & { assets: AssetStore; reservedNames: ReadonlySet<string> };
  kv: KvStore;
  r2: SettingParts;
  objects: ObjectParts;
  d1: D1Store;
  d1Imports: D1Imports;
  d1Exports: D1Exports;
  d1Analytics: D1Analytics;
  queues: QueueParts;
  logs: LogStore;
  workflows: WorkflowParts;
  cron: Omit<CronParts, "getWorker">;
  zones: Pick<ZoneParts, "store" | "settle">;
  tails: { store: Tails; socketUrl: (key: string) => string };
  /** The AI process: its socket, and how it is started when it does not run. */
  ai: { socket: string; start: () => Promise<void> };
  /** The process that has Vectorize indexes, the same. */
  vectors: { socket: string; start: () => Promise<void> };
};

/** Where files for D1 imports are put. */
export const d1UploadPath = "/d1/imports";
/** Where exports of D1 databases are fetched. */
export const d1DownloadPath = "/d1/exports";

/** The whole API, as a table of contents. What stands before the guards has tokens of its own. */
export function buildApi(parts: ApiParts): Api {
  const v4 = createRoutes();
  v4.route("/", assetUploadRoutes(parts.workers.assets));
  v4.route(d1UploadPath, d1UploadRoutes(parts.d1Imports));
  v4.route(d1DownloadPath, d1DownloadRoutes(parts.d1Exports));

  v4.use(
    "*",
    requireToken((token) => parts.accounts.principalOf(token)),
  );
  v4.route("/", identityRoutes(parts.accounts));
  v4.post("/graphql", answerGraphql({ ...parts.d1Analytics.datasets, ...r2Datasets(parts.r2.settings) }));
  const { store } = parts.workers;
  const zones = {
    ...parts.zones,
    findWorker: (accountId: string, name: string) => store.find(accountId, name),
    getWorker: (accountId: string, name: string) => store.get(accountId, name),
    accountName: async (accountId: string) => (await parts.accounts.get(accountId))?.name ?? "",
  };
  v4.route("/zones", zoneRoutes(zones));

  v4.use("/accounts/:account_id", requireAccount());
  v4.use("/accounts/:account_id/*", requireAccount());
  v4.route("/accounts/:account_id", accountRoutes(parts.accounts));
  v4.route("/accounts/:account_id", workerRoutes(parts.workers));
  v4.route("/accounts/:account_id/workers", workerZoneRoutes(zones));
  v4.route("/accounts/:account_id/workers/durable_objects", objectRoutes(parts.objects));
  v4.route("/accounts/:account_id/storage/kv", kvRoutes(parts.kv));
  v4.route("/accounts/:account_id/r2", r2Routes(parts.r2));
  v4.route("/accounts/:account_id/r2-catalog", catalogRoutes());
  v4.route("/accounts/:account_id/event_notifications/r2/:bucket/configuration", notificationRoutes(parts.r2));
  v4.route("/accounts/:account_id/tokens", tokenRoutes(parts.r2.settings));
  v4.route("/accounts/:account_id/d1", d1Routes(parts.d1, parts.d1Imports, parts.d1Exports));
  v4.route("/accounts/:account_id/queues", queueRoutes(parts.queues));
  v4.route("/accounts/:account_id/event_subscriptions", subscriptionRoutes());
  const findWorker: FindWorker = async (accountId, name) => (await store.find(accountId, name))?.id;
  v4.route("/accounts/:account_id/workflows", workflowRoutes(parts.workflows));
  const ofScript = "/accounts/:account_id/workers/scripts/:script_name";
  const getWorker = async (accountId: string, name: string) => store.get(accountId, name);
  v4.route(`${ofScript}/schedules`, cronRoutes({ ...parts.cron, getWorker }));
  v4.route(`${ofScript}/logs`, logsRoutes(parts.logs, findWorker));
  v4.route(`${ofScript}/tails`, tailRoutes(parts.tails.store, findWorker, parts.tails.socketUrl));
  v4.all("/accounts/:account_id/vectorize/*", forwardTo(parts.vectors.socket, parts.vectors.start));
  const toAi = forwardTo(parts.ai.socket, parts.ai.start);
  v4.all("/accounts/:account_id/ai-gateway/*", toAi);
  v4.all("/accounts/:account_id/ai/*", toAi);

  const app = createApi();
  app.get("/ready", (c) => c.text("ready"));
  app.route("/client/v4", v4);
  return app;
}
