import { ApiError } from "#core/errors.ts";
import type { D1Store } from "#products/d1/store.ts";
import type { KvStore } from "#products/kv/store.ts";
import { jurisdictions, type Jurisdiction } from "#products/r2/schema.ts";
import type { QueueStore } from "#products/queues/store.ts";
import type { R2Store } from "#products/r2/store.ts";
import type { Resources } from "#products/workers/bindings.ts";
import type { VectorIndexes } from "#products/vectorize/remote.ts";
import type { ObjectStore } from "#products/durable-objects/store.ts";
import type { WorkflowStore } from "#products/workflows/store.ts";
import type { WorkerStore } from "#products/workers/store.ts";

/** What an upload may bind, asked of the products that have it. */
export function uploadResources(stores: {
  kv: KvStore;
  r2: R2Store;
  d1: D1Store;
  queues: QueueStore;
  workers: WorkerStore;
  objects: ObjectStore;
  vectors: VectorIndexes;
  workflows: WorkflowStore;
}): Resources {
  return {
    async hasKvNamespace(accountId, namespaceId) {
      return (await found(stores.kv.getNamespace(accountId, namespaceId))) !== undefined;
    },
    async findD1Host(accountId, databaseId) {
      const database = await found(stores.d1.get(accountId, databaseId));
      return database?.id === databaseId ? database.host : undefined;
    },
    async findBucketId(accountId, { name, jurisdiction = "default" }) {
      if (!isJurisdiction(jurisdiction)) return undefined;
      return (await found(stores.r2.getBucket({ accountId, name, jurisdiction })))?.id;
    },
    async findQueueId(accountId, name) {
      return (await stores.queues.list(accountId, { names: [name] }))[0]?.id;
    },
    findVectorIndexId: (accountId, name) => stores.vectors.findId(accountId, name),
    listWorkflows: (accountId) => stores.workflows.list(accountId),
    listNamespaces: (accountId) => stores.objects.list(accountId),
    async hasWorker(accountId, name) {
      return (await stores.workers.find(accountId, name)) !== undefined;
    },
  };
}

function isJurisdiction(text: string): text is Jurisdiction {
  return (jurisdictions as readonly string[]).includes(text);
}

/** Undefined where the product says that there is no such thing; other errors are errors. */
async function found<T>(lookup: Promise<T>): Promise<T | undefined> {
  try {
    return await lookup;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 400)) return undefined;
    throw error;
  }
}
