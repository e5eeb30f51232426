import type { Reader } from "#db/schema.ts";
import type { Database } from "#db/database.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { limits, type Deployment, type Version, type Worker } from "#products/workers/schema.ts";
import { withPlaces } from "#products/workers/places.ts";
import * as writes from "#products/workers/writes.ts";

/** Workers, versions and deployments. Every look-up takes the account: what another one owns does not exist. */
export interface WorkerStore {
  find(accountId: string, name: string): Promise<Worker | undefined>;
  /** The Worker, or error 10007. */
  get(accountId: string, name: string): Promise<Worker>;
  list(accountId: string): Promise<Worker[]>;
  latestVersion(worker: Worker): Promise<Version | undefined>;
  findVersion(worker: Worker, versionId: string): Promise<Version | undefined>;
  /** The version, or error 10025. */
  getVersion(worker: Worker, versionId: string): Promise<Version>;
  /** The classes of the Worker's own Durable Objects as the version was uploaded with them, by the id of their namespace. */
  classesAtUpload(version: Version): Promise<Map<string, string>>;
  /** Newest first. */
  listVersions(worker: Worker, page: { offset: number; max: number }): Promise<Version[]>;
  countVersions(worker: Worker): Promise<number>;
  /** How many versions its Worker got since. */
  countNewerVersions(version: Version): Promise<number>;
  /** Sealed secrets of a version, by name. */
  secretsOf(versionId: string): Promise<Map<string, Uint8Array>>;
  /** Newest first; the first one is in force. */
  listDeployments(worker: Worker, max: number, offset?: number): Promise<Deployment[]>;
  /** False when there is no such deployment; the one in force is not to be deleted. */
  deleteDeployment(worker: Worker, deploymentId: string): Promise<boolean>;
  /** Sets of assets of the versions that were deployed at any time since then, the latest first. */
  assetTreesSince(worker: Worker, since: string): Promise<string[]>;
  commitVersion(change: writes.NewVersion): Promise<number>;
  /** `versions`: those that are deployed, as they are to run. */
  commitDeployment(change: writes.NewDeployment): Promise<void>;
  update(
    change: { id: string } & Partial<Pick<Worker, "settings" | "subdomainEnabled" | "previewsEnabled">>,
  ): Promise<void>;
  delete(accountId: string, name: string): Promise<void>;
}

export function workerStore(db: Database): WorkerStore {
  const store: WorkerStore = {
    async find(accountId, name) {
      const row = db.prepare("SELECT * FROM workers WHERE account_id = ? AND name = ?").get(accountId, name);
      return row && toWorker(row);
    },
    async get(accountId, name) {
      const worker = await store.find(accountId, name);
      if (!worker) throw workerErrors.scriptNotFound();
      return worker;
    },
    async list(accountId) {
      return db.prepare("SELECT * FROM workers WHERE account_id = ? ORDER BY name").all(accountId).map(toWorker);
    },
    async latestVersion(worker) {
      const row = db.prepare("SELECT * FROM versions WHERE worker_id = ? ORDER BY number DESC LIMIT 1").get(worker.id);
      return row && toVersion(db, row);
    },
    async findVersion(worker, versionId) {
      const row = db.prepare("SELECT * FROM versions WHERE worker_id = ? AND id = ?").get(worker.id, versionId);
      return row && toVersion(db, row);
    },
    async getVersion(worker, versionId) {
      const version = await store.findVersion(worker, versionId);
      if (!version) throw workerErrors.versionNotFound();
      return version;
    },
    async classesAtUpload({ id }) {
      const row = db.prepare("SELECT * FROM versions WHERE id = ?").get(id);
      const own = row ? asUploaded(row).runnable.ownNamespaces : [];
      return new Map(own.map(({ namespaceId, className }) => [namespaceId, className]));
    },
    async listVersions(worker, { offset, max }) {
      return db
        .prepare("SELECT * FROM versions WHERE worker_id = ? ORDER BY number DESC LIMIT ? OFFSET ?")
        .all(worker.id, max, offset)
        .map((row) => toVersion(db, row));
    },
    async countVersions(worker) {
      return Number(db.prepare("SELECT count(*) AS count FROM versions WHERE worker_id = ?").get(worker.id)?.["count"]);
    },
    async countNewerVersions({ workerId, number }) {
      const count = db.prepare("SELECT count(*) AS count FROM versions WHERE worker_id = ? AND number > ?");
      return Number(count.get(workerId, number)?.["count"]);
    },
    async secretsOf(versionId) {
      return readSecrets(db, versionId);
    },
    async listDeployments(worker, max, offset = 0) {
      const rows = db
        .prepare("SELECT deployment FROM deployments WHERE worker_id = ? ORDER BY sequence DESC LIMIT ? OFFSET ?")
        .all(worker.id, max, offset);
      return rows.map(toDeployment);
    },
    async assetTreesSince(worker, since) {
      const deployments = await store.listDeployments(worker, limits.deploymentsKnown);
      // One served until the next one was made, so the first one from before `since` still counts.
      const before = deployments.findIndex(({ createdOn }) => createdOn <= since);
      const recent = before < 0 ? deployments : deployments.slice(0, before + 1);
      const ids = new Set(recent.flatMap(({ versions }) => versions.map(({ versionId }) => versionId)));
      const versions = await Promise.all([...ids].map((id) => store.findVersion(worker, id)));
      return [...new Set(versions.flatMap((version) => version?.runnable.assets?.tree ?? []))];
    },
    deleteDeployment: (worker, deploymentId) =>
      db.write(writes.deleteDeployment, { workerId: worker.id, id: deploymentId }),
    commitVersion: (change) => db.write(writes.commitVersion, change),
    commitDeployment: (change) => db.write(writes.commitDeployment, change),
    update: (change) => db.write(writes.updateWorker, change),
    delete: (accountId, name) => db.write(writes.deleteWorker, { accountId, name, now: new Date().toISOString() }),
  };
  return store;
}

/** Sealed secrets of a version, by name. */
export function readSecrets(db: Reader, versionId: string): Map<string, Uint8Array> {
  const rows = db.prepare("SELECT name, sealed FROM version_secrets WHERE version_id = ?").all(versionId);
  return new Map(rows.map((row) => [String(row["name"]), row["sealed"] as Uint8Array]));
}

export function toWorker(row: Record<string, unknown>): Worker {
  return {
    id: String(row["id"]),
    accountId: String(row["account_id"]),
    name: String(row["name"]),
    createdOn: String(row["created_on"]),
    modifiedOn: String(row["modified_on"]),
    subdomainEnabled: row["subdomain_enabled"] === 1,
    previewsEnabled: row["previews_enabled"] === 1,
    settings: JSON.parse(String(row["settings"])),
    lastDeployedFrom: String(row["last_deployed_from"]),
    migrationTag: row["migration_tag"] === null ? undefined : (row["migration_tag"] as string),
  };
}

export function toVersion(db: Reader, row: Record<string, unknown>): Version {
  const version = asUploaded(row);
  return { ...version, runnable: withPlaces(db, version.runnable) };
}

function asUploaded(row: Record<string, unknown>): Version {
  return {
    id: String(row["id"]),
    number: Number(row["number"]),
    // One of before there were objects has none; its Workflows are those that its Worker has now.
    runnable: { ownNamespaces: [], ownWorkflows: [], ...JSON.parse(String(row["runnable"])) },
    bindings: JSON.parse(String(row["bindings"])),
    annotations: JSON.parse(String(row["annotations"])),
    ...JSON.parse(String(row["rest"])),
  };
}

export function toDeployment(row: Record<string, unknown>): Deployment {
  return JSON.parse(String(row["deployment"])) as Deployment;
}
