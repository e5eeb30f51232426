import { versionsInUse } from "#products/workers/references.ts";
import type { WorkerStore } from "#products/workers/store.ts";

/** Which Workers of an account send to a queue, by the queue's id: those whose deployed or latest version binds it. */
export async function queueProducers(store: WorkerStore, accountId: string): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const worker of await store.list(accountId)) {
    const bindings = (await versionsInUse(store, worker)).flatMap(({ runnable }) => runnable.bindings);
    for (const queueId of new Set(bindings.flatMap((binding) => (binding.type === "queue" ? binding.queueId : []))))
      found.set(queueId, [...(found.get(queueId) ?? []), worker.name]);
  }
  return found;
}
