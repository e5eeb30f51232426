import type { Database } from "#db/database.ts";
import { eventCaller } from "#http/event-call.ts";
import type { CronParts } from "#products/cron/routes.ts";
import { cronRunner } from "#products/cron/runner.ts";
import { Scheduler } from "#products/cron/scheduler.ts";
import { cronStore } from "#products/cron/store.ts";

/** Cron triggers: kept in the control database, and fired from here by way of the ingress. */
export function openCron(options: { db: Database; socket: string; timeMs: number }): {
  parts: Omit<CronParts, "getWorker">;
  start: () => Promise<void>;
  stop: () => void;
} {
  const events = eventCaller(options);
  const store = cronStore(options.db);
  const run = cronRunner(events, Date.now);
  const scheduler = new Scheduler(store, run);
  return {
    parts: { store, run, refresh: async () => scheduler.refresh() },
    start: async () => scheduler.start(),
    stop() {
      scheduler.stop();
      events.close();
    },
  };
}
