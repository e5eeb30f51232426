import type { Database } from "#db/database.ts";
import { Scheduler } from "#products/cron/scheduler.ts";
import type { WorkerStore } from "#products/workers/store.ts";
import { workflowInstances } from "#products/workflows/instances.ts";
import type { WorkflowParts } from "#products/workflows/routes.ts";
import { workflowSchedules } from "#products/workflows/schedules.ts";
import { workflowStore } from "#products/workflows/store.ts";

/** Workflows: which there are is in the control database, their instances are in their Workers' own processes. */
export function openWorkflows(options: {
  db: Database;
  workers: WorkerStore;
  wakeOwner: (workerId: string) => Promise<string>;
  settle: () => Promise<void>;
}): { parts: WorkflowParts; start: () => Promise<void>; stop: () => void } {
  const store = workflowStore(options.db);
  const instances = workflowInstances(options.wakeOwner);
  const { slots, run } = workflowSchedules(store, instances);
  const scheduler = new Scheduler(slots, run);
  return {
    parts: {
      store,
      instances,
      settle: options.settle,
      refresh: async () => scheduler.refresh(),
      async findWorker(accountId, name) {
        const { workers } = options;
        const worker = await workers.find(accountId, name);
        if (!worker) return undefined;
        const [deployment] = await workers.listDeployments(worker, 1);
        const served = (deployment?.versions ?? []).filter(({ percentage }) => percentage > 0);
        const versions = await Promise.all(served.map(({ versionId }) => workers.findVersion(worker, versionId)));
        const [version] = versions.flatMap((one) => one ?? []).toSorted((a, b) => b.number - a.number);
        return { id: worker.id, versionId: version?.id, exports: version?.runnable.exports ?? [] };
      },
    },
    start: async () => scheduler.start(),
    stop() {
      scheduler.stop();
      instances.close();
    },
  };
}
