import type { Version, Worker } from "#products/workers/schema.ts";
import type { WorkerStore } from "#products/workers/store.ts";

/** Who needs a Worker: what `wrangler delete` asks about before it deletes (wrangler-api §3.10). */
export type References = {
  /** Bindings of other Workers to this one, by the name of the binding. */
  incoming: { worker: Worker; binding: string }[];
  /** Bindings of this Worker to others. */
  outgoing: { service: string; binding: string }[];
  /** Workers that send their traces here. */
  tails: Worker[];
};

export async function referencesOf(store: WorkerStore, worker: Worker): Promise<References> {
  const others = (await store.list(worker.accountId)).filter(({ id }) => id !== worker.id);
  const incoming = await Promise.all(
    others.map(async (other) => {
      const bindings = (await versionsInUse(store, other)).flatMap(serviceBindings);
      const names = bindings.filter(({ service }) => service === worker.name).map(({ binding }) => binding);
      return [...new Set(names)].map((binding) => ({ worker: other, binding }));
    }),
  );
  const outgoing = (await versionsInUse(store, worker)).flatMap(serviceBindings);
  return {
    incoming: incoming.flat(),
    outgoing: [...new Map(outgoing.map((reference) => [reference.binding, reference])).values()],
    tails: others.filter((other) => consumersOf(other).includes(worker.name)),
  };
}

/** The versions that serve, and the latest one, which is likely to be next. */
export async function versionsInUse(store: WorkerStore, worker: Worker): Promise<Version[]> {
  const [deployment] = await store.listDeployments(worker, 1);
  const deployed = await Promise.all(
    (deployment?.versions ?? []).map(({ versionId }) => store.findVersion(worker, versionId)),
  );
  const all = [await store.latestVersion(worker), ...deployed].filter((version) => version !== undefined);
  return [...new Map(all.map((version) => [version.id, version])).values()];
}

function serviceBindings({ runnable }: Version): { service: string; binding: string }[] {
  return runnable.bindings.flatMap((binding) =>
    binding.type === "service" ? [{ service: binding.service, binding: binding.name }] : [],
  );
}

function consumersOf({ settings }: Worker): unknown[] {
  const consumers = [...(settings.tail_consumers ?? []), ...(settings.streaming_tail_consumers ?? [])];
  return consumers.map((consumer) => (consumer as { service?: unknown } | null)?.service);
}
