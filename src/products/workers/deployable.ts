import type { ErrorEntry } from "#core/errors.ts";
import { unseal } from "#core/seal.ts";
import { objectErrors } from "#products/durable-objects/errors.ts";
import type { Resources } from "#products/workers/bindings.ts";
import { workerErrors } from "#products/workers/errors.ts";
import type { ResolvedBinding } from "#products/workers/runnable.ts";
import { limits, type Version, type Worker } from "#products/workers/schema.ts";
import { secretContext } from "#products/workers/secret-context.ts";
import type { WorkerStore } from "#products/workers/store.ts";

type Parts = { store: WorkerStore; resources: Resources; sealKey: Buffer };

/**
 * Refuses to deploy what Cloudflare would refuse: a version past the last hundred, one whose bound resources are gone, and,
 * without `force`, the whole way back to other secrets. A version that is deployed already may stay whatever has become of all that
 * (workers/configuration/versions-and-deployments/rollbacks).
 */
export async function checkDeployable(
  parts: Parts,
  { worker, versions, force }: { worker: Worker; versions: readonly Version[]; force: boolean },
): Promise<void> {
  const deployed = await deployedVersions(parts.store, worker);
  const newest = deployed.toSorted((a, b) => b.number - a.number)[0];
  for (const version of versions) {
    if (deployed.some(({ id }) => id === version.id)) continue;
    if ((await parts.store.countNewerVersions(version)) >= limits.versionsDeployable)
      throw workerErrors.versionTooOld(version.id, limits.versionsDeployable);
    const isRollback = newest !== undefined && version.number < newest.number;
    await checkResources(parts.resources, { worker, version, isRollback });
    await checkMigrations(parts, worker, version);
    if (isRollback && versions.length === 1 && !force) await checkSecrets(parts, { worker, version, newest });
  }
}

/** A version runs with the classes that the Worker has now, or not at all. One that has moved to another Worker is that one's affair. */
async function checkMigrations({ store, resources }: Parts, worker: Worker, version: Version): Promise<void> {
  const all = await resources.listNamespaces(worker.accountId);
  const own = all.filter(({ workerId }) => workerId === worker.id);
  const then = await store.classesAtUpload(version);
  const moved = new Set(all.filter(({ workerId }) => workerId !== worker.id).map(({ id }) => id));
  const kept = [...then].filter(([id]) => !moved.has(id));
  const isSame = kept.length === own.length && own.every(({ id, className }) => then.get(id) === className);
  if (!isSame) throw objectErrors.migrationBetween(version.id);
}

async function deployedVersions(store: WorkerStore, worker: Worker): Promise<Version[]> {
  const [current] = await store.listDeployments(worker, 1);
  const found = await Promise.all(
    (current?.versions ?? []).map(({ versionId }) => store.findVersion(worker, versionId)),
  );
  return found.filter((version) => version !== undefined);
}

async function checkResources(
  resources: Resources,
  { worker, version, isRollback }: { worker: Worker; version: Version; isRollback: boolean },
): Promise<void> {
  const checks = version.runnable.bindings.map((binding) => goneResource(resources, worker, version, binding));
  const gone = (await Promise.all(checks)).filter((resource) => resource !== undefined);
  if (gone.length === 0) return;
  const entries = gone.flatMap(({ error }) => error.entries);
  throw isRollback
    ? workerErrors.rollbackResourcesGone(
        gone.map(({ what }) => what),
        entries,
      )
    : workerErrors.resourcesGone(entries);
}

/** The resource of a binding that does not exist any more, with the error that an upload of it would get. */
async function goneResource(
  resources: Resources,
  { accountId, name: self }: Worker,
  version: Version,
  binding: ResolvedBinding,
): Promise<{ what: string; error: { entries: readonly ErrorEntry[] } } | undefined> {
  switch (binding.type) {
    case "kv_namespace": {
      const { namespaceId } = binding;
      if (await resources.hasKvNamespace(accountId, namespaceId)) return undefined;
      return { what: `kv:${namespaceId}`, error: workerErrors.kvNotFound(namespaceId) };
    }
    case "d1": {
      const { databaseId } = binding;
      if ((await resources.findD1Host(accountId, databaseId)) !== undefined) return undefined;
      return { what: `d1:${databaseId}`, error: workerErrors.d1NotFound(binding.name, databaseId) };
    }
    case "r2_bucket": {
      const shown = version.bindings.find(({ name }) => name === binding.name);
      const bucket = String(shown?.["bucket_name"]);
      const jurisdiction = shown?.["jurisdiction"];
      const place = { name: bucket, ...(typeof jurisdiction === "string" ? { jurisdiction } : {}) };
      // One that was made anew under the same name is another bucket.
      if ((await resources.findBucketId(accountId, place)) === binding.bucketId) return undefined;
      return { what: `r2:${bucket}`, error: workerErrors.r2NotFound(bucket) };
    }
    case "queue": {
      const shown = version.bindings.find(({ name }) => name === binding.name);
      const queue = String(shown?.["queue_name"]);
      // One that was made anew under the same name is another queue.
      if ((await resources.findQueueId(accountId, queue)) === binding.queueId) return undefined;
      return { what: `queue:${queue}`, error: workerErrors.queueNotFound(queue) };
    }
    case "vectorize": {
      const shown = version.bindings.find(({ name }) => name === binding.name);
      const index = String(shown?.["index_name"]);
      // One that was made anew under the same name is another index.
      if ((await resources.findVectorIndexId(accountId, index)) === binding.indexId) return undefined;
      return { what: `vectorize:${index}`, error: workerErrors.vectorIndexNotFound(binding.name, index) };
    }
    case "service": {
      const { name, service } = binding;
      if (service === self || (await resources.hasWorker(accountId, service))) return undefined;
      return { what: `service:${service}`, error: workerErrors.serviceTargetNotFound(name, service) };
    }
    case "durable_object_namespace": {
      const { namespaceId, className } = binding;
      if ((await resources.listNamespaces(accountId)).some(({ id }) => id === namespaceId)) return undefined;
      return { what: `durable_object:${className}`, error: objectErrors.notConfigured(className) };
    }
    case "plain_text":
    case "json":
    case "secret_text":
    case "workflow":
    case "assets":
    case "version_metadata":
    case "ai":
    case "wasm_module":
    case "text_blob":
    case "data_blob":
    case "unsupported":
      return undefined;
  }
}

async function checkSecrets(
  { store, sealKey }: Parts,
  { worker, version, newest }: { worker: Worker; version: Version; newest: Version },
): Promise<void> {
  const open = async ({ id }: Version) => {
    const sealed = await store.secretsOf(id);
    const texts = [...sealed].map(
      ([name, bytes]) => [name, unseal(sealKey, secretContext(worker.accountId, worker.id, name), bytes)] as const,
    );
    return new Map(texts);
  };
  const [then, now] = await Promise.all([open(version), open(newest)]);
  const changed = [...new Set([...then.keys(), ...now.keys()])].filter((name) => then.get(name) !== now.get(name));
  if (changed.length > 0) throw workerErrors.secretsChanged(changed.toSorted());
}
