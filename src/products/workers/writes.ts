import { transaction, type DatabaseSchema, type WriteConnection } from "#db/schema.ts";
import { applyMigrations, deleteObjectsOf, type ObjectChanges } from "#products/durable-objects/writes.ts";
import { registerWorkflows } from "#products/workflows/writes.ts";
import type { RunnableVersion } from "#products/workers/runnable.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { limits, type Deployment, type ScriptSettings, type Version, type Worker } from "#products/workers/schema.ts";

/** A version as it is committed: its number is given here, and secrets are already sealed. */
export type NewVersion = {
  worker: Worker;
  version: Omit<Version, "number">;
  secrets: { name: string; sealed: Uint8Array }[];
  /** What the version's migrations do, and the Worker's tag after them. */
  migrations?: ObjectChanges & { tag: string | undefined };
  /** Present when the version goes live with this change. */
  deployment?: Deployment;
  /** Name that the version's preview gets; whatever version had it gives it up. */
  previewAlias?: string;
};

/** Makes the Worker when it is new, adds the version, and deploys it when asked to: all or nothing. Answers its number. */
export const commitVersion = transaction(
  "workers.commitVersion",
  (db, { worker, version, secrets, migrations, deployment, previewAlias }: NewVersion): number => {
    db.prepare(
      `INSERT INTO workers (id, account_id, name, created_on, modified_on, subdomain_enabled, previews_enabled, settings, last_deployed_from, next_number)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
     ON CONFLICT (id) DO UPDATE SET modified_on = excluded.modified_on, settings = excluded.settings, last_deployed_from = excluded.last_deployed_from`,
    ).run(
      worker.id,
      worker.accountId,
      worker.name,
      worker.createdOn,
      worker.modifiedOn,
      Number(worker.subdomainEnabled),
      Number(worker.previewsEnabled),
      JSON.stringify(worker.settings),
      worker.lastDeployedFrom,
    );
    if (migrations) {
      applyMigrations(db, migrations, version.createdOn);
      db.prepare("UPDATE workers SET migration_tag = ? WHERE id = ?").run(migrations.tag ?? null, worker.id);
    }
    const row = db
      .prepare("UPDATE workers SET next_number = next_number + 1 WHERE id = ? RETURNING next_number - 1 AS number")
      .get(worker.id);
    const number = Number(row?.["number"]);
    const { id, runnable, bindings, annotations, ...rest } = version;
    db.prepare(
      "INSERT INTO versions (id, account_id, worker_id, number, created_on, runnable, bindings, annotations, rest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ).run(
      id,
      worker.accountId,
      worker.id,
      number,
      version.createdOn,
      JSON.stringify(runnable),
      JSON.stringify(bindings),
      JSON.stringify(annotations),
      JSON.stringify(rest),
    );
    const addSecret = db.prepare("INSERT INTO version_secrets (version_id, name, sealed) VALUES (?, ?, ?)");
    for (const secret of secrets) addSecret.run(id, secret.name, secret.sealed);
    if (deployment) insertDeployment(db, worker.accountId, deployment);
    if (deployment) deployWorkflows(db, runnable, deployment.createdOn);
    if (previewAlias !== undefined) setPreviewAlias(db, worker.id, { alias: previewAlias, versionId: id, number });
    return number;
  },
);

function deployWorkflows(db: WriteConnection, version: RunnableVersion, now: string): void {
  const targets = version.bindings.filter((binding) => binding.type === "workflow");
  registerWorkflows(db, { ...version, targets, now });
}

function setPreviewAlias(
  db: WriteConnection,
  workerId: string,
  { alias, versionId, number }: { alias: string; versionId: string; number: number },
): void {
  db.prepare(
    `INSERT INTO preview_aliases (worker_id, alias, version_id, number) VALUES (?, ?, ?, ?)
     ON CONFLICT (worker_id, alias) DO UPDATE SET version_id = excluded.version_id, number = excluded.number`,
  ).run(workerId, alias, versionId, number);
  db.prepare(
    `DELETE FROM preview_aliases WHERE worker_id = ? AND alias NOT IN
     (SELECT alias FROM preview_aliases WHERE worker_id = ? ORDER BY number DESC LIMIT ?)`,
  ).run(workerId, workerId, limits.previewAliases);
}

export type NewDeployment = {
  accountId: string;
  deployment: Deployment;
  versions: Pick<Version, "id" | "runnable">[];
};

export const commitDeployment = transaction(
  "workers.commitDeployment",
  (db, { accountId, deployment, versions }: NewDeployment): void => {
    const update = db.prepare("UPDATE versions SET runnable = ? WHERE id = ? AND worker_id = ?");
    for (const { id, runnable } of versions) update.run(JSON.stringify(runnable), id, deployment.workerId);
    insertDeployment(db, accountId, deployment);
    for (const { runnable } of versions) deployWorkflows(db, runnable, deployment.createdOn);
  },
);

export const deleteDeployment = transaction(
  "workers.deleteDeployment",
  (db, { workerId, id }: { workerId: string; id: string }): boolean => {
    const latest = db
      .prepare("SELECT id FROM deployments WHERE worker_id = ? ORDER BY sequence DESC LIMIT 1")
      .get(workerId);
    if (latest?.["id"] === id) throw workerErrors.deploymentInForce();
    return db.prepare("DELETE FROM deployments WHERE worker_id = ? AND id = ?").run(workerId, id).changes > 0;
  },
);

function insertDeployment(db: WriteConnection, accountId: string, deployment: Deployment): void {
  db.prepare("INSERT INTO deployments (id, account_id, worker_id, created_on, deployment) VALUES (?, ?, ?, ?, ?)").run(
    deployment.id,
    accountId,
    deployment.workerId,
    deployment.createdOn,
    JSON.stringify(deployment),
  );
}

type WorkerChange = { id: string; settings?: ScriptSettings; subdomainEnabled?: boolean; previewsEnabled?: boolean };

export const updateWorker = transaction("workers.update", (db, change: WorkerChange): void => {
  const { changes } = db
    .prepare(
      `UPDATE workers SET settings = coalesce(?, settings), subdomain_enabled = coalesce(?, subdomain_enabled),
       previews_enabled = coalesce(?, previews_enabled) WHERE id = ?`,
    )
    .run(
      change.settings === undefined ? null : JSON.stringify(change.settings),
      change.subdomainEnabled === undefined ? null : Number(change.subdomainEnabled),
      change.previewsEnabled === undefined ? null : Number(change.previewsEnabled),
      change.id,
    );
  if (changes === 0) throw workerErrors.scriptNotFound();
});

export const deleteWorker = transaction(
  "workers.delete",
  (db, { accountId, name, now }: { accountId: string; name: string; now: string }): void => {
    const worker = db.prepare("SELECT id FROM workers WHERE account_id = ? AND name = ?").get(accountId, name);
    if (worker) deleteObjectsOf(db, String(worker["id"]), now);
    db.prepare("DELETE FROM assets WHERE account_id = ? AND script_name = ?").run(accountId, name);
    const { changes } = db.prepare("DELETE FROM workers WHERE account_id = ? AND name = ?").run(accountId, name);
    if (changes === 0) throw workerErrors.scriptNotFound();
  },
);

type NewSession = {
  id: string;
  accountId: string;
  scriptName: string;
  manifest: string;
  expiresMs: number;
  nowMs: number;
};

export const openAssetSession = transaction("workers.openAssetSession", (db, session: NewSession): void => {
  db.prepare("DELETE FROM asset_sessions WHERE expires_ms < ?").run(session.nowMs);
  db.prepare(
    "INSERT INTO asset_sessions (id, account_id, script_name, manifest, expires_ms) VALUES (?, ?, ?, ?, ?)",
  ).run(session.id, session.accountId, session.scriptName, session.manifest, session.expiresMs);
});

type NewAsset = {
  accountId: string;
  scriptName: string;
  hash: string;
  blob: string;
  sizeBytes: number;
  contentType: string;
};

export const addAssets = transaction("workers.addAssets", (db, assets: NewAsset[]): void => {
  const insert = db.prepare(
    `INSERT INTO assets (account_id, script_name, hash, blob, size_bytes, content_type) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (account_id, script_name, hash) DO UPDATE SET blob = excluded.blob, size_bytes = excluded.size_bytes, content_type = excluded.content_type`,
  );
  for (const asset of assets)
    insert.run(asset.accountId, asset.scriptName, asset.hash, asset.blob, asset.sizeBytes, asset.contentType);
});

export const workersSchema: DatabaseSchema = {
  product: "workers",
  migrations: [
    `CREATE TABLE workers (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
       name TEXT NOT NULL,
       created_on TEXT NOT NULL,
       modified_on TEXT NOT NULL,
       subdomain_enabled INTEGER NOT NULL,
       previews_enabled INTEGER NOT NULL,
       settings TEXT NOT NULL,
       last_deployed_from TEXT NOT NULL,
       next_number INTEGER NOT NULL,
       UNIQUE (account_id, name)
     ) STRICT;
     CREATE TABLE versions (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       worker_id TEXT NOT NULL REFERENCES workers (id) ON DELETE CASCADE,
       number INTEGER NOT NULL,
       created_on TEXT NOT NULL,
       runnable TEXT NOT NULL,
       bindings TEXT NOT NULL,
       annotations TEXT NOT NULL,
       rest TEXT NOT NULL,
       UNIQUE (worker_id, number)
     ) STRICT;
     CREATE TABLE version_secrets (
       version_id TEXT NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
       name TEXT NOT NULL,
       sealed BLOB NOT NULL,
       PRIMARY KEY (version_id, name)
     ) WITHOUT ROWID, STRICT;
     CREATE TABLE deployments (
       sequence INTEGER PRIMARY KEY,
       id TEXT NOT NULL UNIQUE,
       account_id TEXT NOT NULL,
       worker_id TEXT NOT NULL REFERENCES workers (id) ON DELETE CASCADE,
       created_on TEXT NOT NULL,
       deployment TEXT NOT NULL
     ) STRICT;
     CREATE INDEX deployments_of_worker ON deployments (worker_id, sequence);
     CREATE TABLE assets (
       account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
       script_name TEXT NOT NULL,
       hash TEXT NOT NULL,
       blob TEXT NOT NULL,
       size_bytes INTEGER NOT NULL,
       content_type TEXT NOT NULL,
       PRIMARY KEY (account_id, script_name, hash)
     ) WITHOUT ROWID, STRICT;
     CREATE TABLE asset_sessions (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
       script_name TEXT NOT NULL,
       manifest TEXT NOT NULL,
       expires_ms INTEGER NOT NULL
     ) STRICT;`,
    `CREATE TABLE preview_aliases (
       worker_id TEXT NOT NULL REFERENCES workers (id) ON DELETE CASCADE,
       alias TEXT NOT NULL,
       version_id TEXT NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
       number INTEGER NOT NULL,
       PRIMARY KEY (worker_id, alias)
     ) WITHOUT ROWID, STRICT;`,
    "ALTER TABLE workers ADD COLUMN migration_tag TEXT;",
  ],
  transactions: [
    commitVersion,
    commitDeployment,
    deleteDeployment,
    updateWorker,
    deleteWorker,
    openAssetSession,
    addAssets,
  ],
};
