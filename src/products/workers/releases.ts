import { KeyedLock } from "#core/keyed-lock.ts";
import { newHexId, newUuid } from "#core/ids.ts";
import { seal, unseal } from "#core/seal.ts";
import { objectErrors } from "#products/durable-objects/errors.ts";
import type { MigrationPlan } from "#products/durable-objects/migrations.ts";
import { queueErrors } from "#products/queues/errors.ts";
import type { QueueStore } from "#products/queues/store.ts";
import type { AssetStore } from "#products/workers/assets.ts";
import type { Resources } from "#products/workers/bindings.ts";
import type { BlobStore, Staged } from "#products/workers/blobs.ts";
import type { Deployer } from "#products/workers/deployer.ts";
import { secretContext } from "#products/workers/secret-context.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { draftVersion, refuseUnsupported, withSecrets, type Draft } from "#products/workers/draft.ts";
import { checkDeployable } from "#products/workers/deployable.ts";
import { checkPreviewAlias } from "#products/workers/previews.ts";
import { referencesOf } from "#products/workers/references.ts";
import { checkWorkerName } from "#products/workers/worker-name.ts";
import type { Deployment, Version, Worker } from "#products/workers/schema.ts";
import type { WorkerStore } from "#products/workers/store.ts";
import type { Upload } from "#products/workers/upload.ts";

/** Who does it and how it is to be shown: part of every version and deployment. */
export type Actor = { email: string; source: string };

/**
 * The one place where a Worker changes what it runs. Changes of one Worker happen one after the other. Each is tried out
 * in a real process first; what is refused leaves nothing behind, and what is answered is live.
 */
export interface Releases {
  /** A new version; with `deploy` it is live when this resolves. */
  upload(request: UploadRequest, signal: AbortSignal): Promise<{ worker: Worker; version: Version }>;
  deploy(request: DeployRequest, signal: AbortSignal): Promise<Deployment>;
  /** A new version with secrets set (text) or removed (null). */
  changeSecrets(request: SecretsRequest, signal: AbortSignal): Promise<Version>;
  /** Whether the Worker answers at its host of the app domain. */
  setSubdomain(worker: Worker, change: { subdomainEnabled: boolean; previewsEnabled: boolean }): Promise<void>;
  /** Refused while others need the Worker, unless it is forced. */
  remove(request: { accountId: string; name: string; force: boolean }): Promise<void>;
}

type UploadRequest = { accountId: string; name: string; upload: Upload; actor: Actor; deploy: boolean };
type DeployRequest = {
  accountId: string;
  name: string;
  actor: Actor;
  versions: { versionId: string; percentage: number }[];
  annotations: Record<string, string>;
  /** Goes back to a version with other secrets without asking. */
  force: boolean;
};
type SecretsRequest = {
  accountId: string;
  name: string;
  actor: Actor;
  changes: Record<string, string | null>;
  /** `true` for `secret put`: refused when the latest version is not the one that is live. */
  deploy: boolean;
  annotations?: Record<string, string>;
};

export type ReleaseParts = {
  store: WorkerStore;
  blobs: BlobStore;
  assets: AssetStore;
  resources: Resources;
  /** A Worker that consumes a queue is not deleted without being told to; then it does no longer. */
  queueConsumers: Pick<QueueStore, "list" | "removeConsumersOf">;
  deployer: Deployer;
  sealKey: Buffer;
  unsupportedBindings: "refuse" | "stub";
  /** How long files of a replaced deployment stay reachable when their names hold a hash of their contents. */
  keptAssetsMs: number;
  /** Host labels that no Worker may take. */
  reservedNames: ReadonlySet<string>;
};

export function releases(parts: ReleaseParts): Releases {
  const { store, deployer, queueConsumers } = parts;
  const locks = new KeyedLock();
  const inOrder = <T>(accountId: string, name: string, work: () => Promise<T>) =>
    locks.run(`${accountId}/${name}`, work);

  return {
    upload: (request, signal) =>
      inOrder(request.accountId, request.name, async () => {
        checkWorkerName(request.name, parts.reservedNames);
        const { accountId, name, upload, actor } = request;
        const alias = upload.metadata.annotations["workers/alias"];
        if (alias) checkPreviewAlias(alias, name);
        await refuseUnsupported(upload, parts);
        if (upload.metadata.migrations && !request.deploy) throw objectErrors.notWithVersionUpload();
        const existing = await store.find(accountId, name);
        const previous = existing && (await store.latestVersion(existing));
        const now = new Date().toISOString();
        const worker = existing ?? newWorker(accountId, name, now);
        const staged = await parts.blobs.stage([
          ...upload.modules.map(({ bytes }) => bytes),
          ...upload.parts.values(),
          ...upload.sourceMaps.map(({ bytes }) => bytes),
        ]);
        try {
          const recentTrees = existing ? await recentAssetTrees(parts, existing) : [];
          const draft = await draftVersion(parts, { worker, previous, upload, staged, now, recentTrees });
          const trigger = request.deploy ? "upload" : "version_upload";
          const version = await tryOut(parts, { draft, worker, actor, trigger, previous, staged, now, signal });
          signal.throwIfAborted();
          await staged.accept();
          const message = "Automatic deployment on upload.";
          return await commit(parts, {
            worker: touched(worker, upload, actor, now),
            version,
            deploy: request.deploy ? message : undefined,
          });
        } finally {
          await staged.discard();
        }
      }),

    deploy: (request, signal) => inOrder(request.accountId, request.name, () => deployVersions(parts, request, signal)),

    changeSecrets: (request, signal) =>
      inOrder(request.accountId, request.name, async () => {
        const worker = await store.get(request.accountId, request.name);
        const latest = await store.latestVersion(worker);
        if (!latest) throw workerErrors.noVersions();
        if (request.deploy && !(await isLive(store, worker, latest))) throw workerErrors.latestNotDeployed();
        const now = new Date().toISOString();
        const draft = withSecrets(latest, request.changes, now);
        const version = await tryOut(parts, {
          draft,
          worker,
          actor: request.actor,
          trigger: "secret",
          previous: latest,
          now,
          signal,
          annotations: request.annotations,
        });
        signal.throwIfAborted();
        return (
          await commit(parts, {
            worker: { ...worker, modifiedOn: now },
            version,
            deploy: request.deploy ? "" : undefined,
          })
        ).version;
      }),

    setSubdomain: (worker, change) =>
      inOrder(worker.accountId, worker.name, async () => {
        await store.update({ id: worker.id, ...change });
        await deployer.settle();
      }),

    remove: ({ accountId, name, force }) =>
      inOrder(accountId, name, async () => {
        const worker = await store.get(accountId, name);
        if (!force) await refuseInUse(parts, worker);
        await queueConsumers.removeConsumersOf(accountId, name);
        await store.delete(accountId, name);
        await deployer.settle();
      }),
  };
}

async function deployVersions(parts: ReleaseParts, request: DeployRequest, signal: AbortSignal): Promise<Deployment> {
  const { store, deployer } = parts;
  const worker = await store.get(request.accountId, request.name);
  checkSplit(request.versions);
  const wanted = await Promise.all(request.versions.map(({ versionId }) => store.getVersion(worker, versionId)));
  await checkDeployable(parts, { worker, versions: wanted, force: request.force });
  const versions = await withRecentAssets(parts, worker, wanted);
  // All of them are ready before the first request can go to one.
  for (const version of versions) await startAgain(parts, version, signal);
  signal.throwIfAborted();
  const deployment = newDeployment(worker, request.actor, request.versions, {
    ...request.annotations,
    "workers/triggered_by": "deployment",
  });
  await store.commitDeployment({ accountId: worker.accountId, deployment, versions });
  await deployer.settle();
  return deployment;
}

/** Sets of assets that pages still open may have come from. */
async function recentAssetTrees({ store, keptAssetsMs }: ReleaseParts, worker: Worker): Promise<string[]> {
  if (keptAssetsMs === 0) return [];
  return store.assetTreesSince(worker, new Date(Date.now() - keptAssetsMs).toISOString());
}

/**
 * Versions about to be deployed, their assets with what pages of the deployments since may still ask for. It is all that ever
 * changes of a version, and only of one that does not serve: a rollback must not lose the files of what it replaces.
 */
async function withRecentAssets(parts: ReleaseParts, worker: Worker, versions: readonly Version[]): Promise<Version[]> {
  const [current] = await parts.store.listDeployments(worker, 1);
  const serving = new Set(current?.versions.map(({ versionId }) => versionId));
  const recentTrees = await recentAssetTrees(parts, worker);
  return Promise.all(
    versions.map(async (version) => {
      const { assets } = version.runnable;
      if (!assets || serving.has(version.id)) return version;
      const tree = await parts.assets.renew(assets.tree, recentTrees);
      return { ...version, runnable: { ...version.runnable, assets: { ...assets, tree } } };
    }),
  );
}

type TryOut = {
  draft: Draft;
  worker: Worker;
  actor: Actor;
  trigger: string;
  previous: Version | undefined;
  staged?: Staged;
  now: string;
  signal: AbortSignal;
  annotations?: Record<string, string> | undefined;
};
type Tried = {
  version: Omit<Version, "number">;
  secrets: { name: string; sealed: Uint8Array }[];
  migrations?: MigrationPlan;
};

/** Starts the draft once. What comes back can be committed as it is. */
async function tryOut(
  parts: ReleaseParts,
  { draft, worker, actor, trigger, previous, staged, now, signal, annotations }: TryOut,
): Promise<Tried> {
  const { newSecrets, keptSecrets, migrations, ...shown } = draft;
  const before = previous ? await parts.store.secretsOf(previous.id) : new Map<string, Uint8Array>();
  const secrets = [
    ...[...newSecrets].map(([name, text]) => ({
      name,
      sealed: seal(parts.sealKey, secretContext(worker.accountId, worker.id, name), text) as Uint8Array,
    })),
    ...[...keptSecrets].map(([name, from]) => ({
      name,
      sealed: keptSecret(parts, worker, { name, from, sealed: before.get(from) }),
    })),
  ];
  const outcome = await parts.deployer.trial(
    {
      version: draft.runnable,
      secrets: Object.fromEntries(secrets.map(({ name, sealed }) => [name, Buffer.from(sealed).toString("base64")])),
      ...(staged ? { stagingFolder: staged.folder } : {}),
    },
    signal,
  );
  const version: Omit<Version, "number"> = {
    ...shown,
    ...outcome,
    id: draft.runnable.versionId,
    workerId: worker.id,
    createdOn: now,
    source: actor.source,
    authorEmail: actor.email,
    annotations: { ...draft.annotations, ...annotations, "workers/triggered_by": trigger },
  };
  return { version, secrets, ...(migrations ? { migrations } : {}) };
}

/** A kept secret's bytes. They are bound to their name, so one that was renamed is sealed anew. */
function keptSecret(
  parts: ReleaseParts,
  worker: Worker,
  { name, from, sealed }: { name: string; from: string; sealed: Uint8Array | undefined },
): Uint8Array {
  if (!sealed) throw workerErrors.inheritInvalid([name]);
  if (name === from) return sealed;
  return seal(
    parts.sealKey,
    secretContext(worker.accountId, worker.id, name),
    unseal(parts.sealKey, secretContext(worker.accountId, worker.id, from), sealed),
  );
}

async function commit(
  parts: ReleaseParts,
  {
    worker,
    version: { version, secrets, migrations },
    deploy,
  }: { worker: Worker; version: Tried; deploy: string | undefined },
): Promise<{ worker: Worker; version: Version }> {
  const actor = { email: version.authorEmail, source: version.source };
  const trigger = version.annotations["workers/triggered_by"] ?? "upload";
  const annotations = { "workers/triggered_by": trigger, ...(deploy ? { "workers/message": deploy } : {}) };
  const deployment =
    deploy === undefined
      ? undefined
      : newDeployment(worker, actor, [{ versionId: version.id, percentage: 100 }], annotations);
  const previewAlias = version.annotations["workers/alias"];
  const number = await parts.store.commitVersion({
    worker,
    version,
    secrets,
    ...(migrations ? { migrations } : {}),
    ...(deployment ? { deployment } : {}),
    ...(previewAlias === undefined ? {} : { previewAlias }),
  });
  // An alias in use moves to this version.
  if (deployment || previewAlias !== undefined) await parts.deployer.settle();
  const migrated = migrations ? { ...worker, migrationTag: migrations.tag } : worker;
  return { worker: migrated, version: { ...version, number } };
}

/** Starts a version that was accepted before: a rollback must not find out too late that it cannot run. */
async function startAgain(parts: ReleaseParts, version: Version, signal: AbortSignal): Promise<void> {
  const sealed = await parts.store.secretsOf(version.id);
  const secrets = Object.fromEntries([...sealed].map(([name, bytes]) => [name, Buffer.from(bytes).toString("base64")]));
  await parts.deployer.trial({ version: version.runnable, secrets }, signal);
}

async function refuseInUse({ store, queueConsumers }: ReleaseParts, worker: Worker): Promise<void> {
  const consumers = (await queueConsumers.list(worker.accountId)).flatMap((queue) => queue.consumers);
  if (consumers.some((consumer) => consumer.type === "worker" && consumer.script === worker.name))
    throw queueErrors.scriptIsConsumer();
  const { incoming, objects, tails } = await referencesOf(store, worker);
  const users = [
    ...incoming.map((reference) => `the Worker ${reference.worker.name} (service binding ${reference.binding})`),
    ...objects.map((object) => `the Worker ${object.worker.name} (Durable Object binding ${object.binding})`),
    ...tails.map((producer) => `the Worker ${producer.name} (tail consumer)`),
  ];
  if (users.length > 0) throw workerErrors.inUse(worker.name, users);
}

async function isLive(store: WorkerStore, worker: Worker, version: Version): Promise<boolean> {
  const [current] = await store.listDeployments(worker, 1);
  // A Worker that was never deployed has nothing that could go live by surprise; one that is rolling out has.
  return (
    current === undefined ||
    current.versions.some(({ versionId, percentage }) => versionId === version.id && percentage === 100)
  );
}

function checkSplit(versions: readonly { versionId: string; percentage: number }[]): void {
  const total = versions.reduce((sum, { percentage }) => sum + percentage, 0);
  const distinct = new Set(versions.map(({ versionId }) => versionId)).size === versions.length;
  if (Math.abs(total - 100) > 0.001 || !distinct)
    throw workerErrors.invalidUpload("The percentages of a deployment's versions add up to 100, each version once.");
}

function newWorker(accountId: string, name: string, now: string): Worker {
  return {
    id: newHexId(),
    accountId,
    name,
    createdOn: now,
    modifiedOn: now,
    subdomainEnabled: false,
    previewsEnabled: false,
    settings: {},
    lastDeployedFrom: "wrangler",
    migrationTag: undefined,
  };
}

function touched(worker: Worker, { metadata }: Upload, actor: Actor, now: string): Worker {
  const given = {
    ...(metadata.tags === undefined ? {} : { tags: metadata.tags }),
    ...(metadata.logpush == null ? {} : { logpush: metadata.logpush }),
    ...(metadata.observability === undefined ? {} : { observability: metadata.observability }),
    ...(metadata.tail_consumers === undefined ? {} : { tail_consumers: metadata.tail_consumers }),
    ...(metadata.streaming_tail_consumers === undefined
      ? {}
      : { streaming_tail_consumers: metadata.streaming_tail_consumers }),
  };
  return { ...worker, modifiedOn: now, settings: { ...worker.settings, ...given }, lastDeployedFrom: actor.source };
}

function newDeployment(
  worker: Worker,
  actor: Actor,
  versions: Deployment["versions"],
  annotations: Record<string, string>,
): Deployment {
  return {
    id: newUuid(),
    workerId: worker.id,
    createdOn: new Date().toISOString(),
    source: actor.source,
    authorEmail: actor.email,
    annotations,
    versions,
  };
}
