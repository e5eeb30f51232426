import type { QueueParts } from "#products/queues/routes.ts";
import type { QueueStore } from "#products/queues/store.ts";
import { queueProducers } from "#products/workers/queue-producers.ts";
import type { WorkerStore } from "#products/workers/store.ts";

/** The API of queues: messages and consumers in the state process, Workers in the control database. */
export function queueParts(store: QueueStore, workers: WorkerStore): QueueParts {
  return {
    store,
    producers: (accountId) => queueProducers(workers, accountId),
    requireWorker: (accountId, script) => workers.get(accountId, script),
  };
}
