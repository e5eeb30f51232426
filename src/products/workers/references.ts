import type { Version, Worker } from "#products/workers/schema.ts";
import type { WorkerStore } from "#products/workers/store.ts";

/** Who needs a Worker: what `wrangler delete` asks about before it deletes (wrangler-api §3.10). */
export type References = {
  /** Bindings of other Workers to this one, by the name of the binding. */
  incoming: { worker: Worker; binding: string }[];
  /** Bindings of this Worker to others. */
  outgoing: { service: string; binding: string }[];
  /** Bindings of other Workers to this one's Durable Objects. */
  objects: { worker: Worker; binding: string; namespaceId: string; className: string }[];
  /** Workers that send their traces here. */
  tails: Worker[];
};

export async function referencesOf(store: WorkerStore, worker: Worker): Promise<References> {
  const others = (await store.list(worker.accountId)).filter(({ id }) => id !== worker.id);
  const users = await Promise.all(
    others.map(async (other) => {
      const versions = await versionsInUse(store, other);
      const names = versions
        .flatMap(serviceBindings)
        .filter(({ service }) => service === worker.name)
        .map(({ binding }) => binding);
      const objects = versions.flatMap((version) => objectBindings(version, worker.id));
      return {
        incoming: [...new Set(names)].map((binding) => ({ worker: other, binding })),
        objects: [...new Map(objects.map((object) => [object.binding, { worker: other, ...object }])).values()],
      };
    }),
  );
  const outgoing = (await versionsInUse(store, worker)).flatMap(serviceBindings);
  return {
    incoming: users.flatMap(({ incoming }) => incoming),
    objects: users.flatMap(({ objects }) => objects),
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

function objectBindings({ runnable }: Version, owner: string) {
  return runnable.bindings.flatMap((binding) =>
    binding.type === "durable_object_namespace" && binding.owner === owner
      ? [{ binding: binding.name, namespaceId: binding.namespaceId, className: binding.className }]
      : [],
  );
}

function consumersOf({ settings }: Worker): unknown[] {
  const consumers = [...(settings.tail_consumers ?? []), ...(settings.streaming_tail_consumers ?? [])];
  return consumers.map((consumer) => (consumer as { service?: unknown } | null)?.service);
}
