import { newUuid } from "#core/ids.ts";
import { transaction, type DatabaseSchema, type WriteConnection } from "#db/schema.ts";
import { workflowErrors } from "#products/workflows/errors.ts";
import { limits } from "#products/workflows/limits.ts";
import { type WorkflowSettings, type WorkflowTarget } from "#products/workflows/schema.ts";

export type NewWorkflow = {
  accountId: string;
  name: string;
  workerId: string;
  scriptName: string;
  className: string;
  settings: WorkflowSettings;
  crons: string[];
  now: string;
};

/** A Workflow as its Worker has it from now on. One of another Worker comes with all its instances. Answers its id. */
export const putWorkflow = transaction("workflows.put", (db, workflow: NewWorkflow): string => {
  const { accountId, name, workerId, scriptName, className, settings, crons, now } = workflow;
  const known = find(db, accountId, name);
  const before = known && (JSON.parse(String(known["settings"])) as WorkflowSettings).jurisdiction;
  if (known && settings.jurisdiction !== undefined && settings.jurisdiction !== before)
    throw workflowErrors.jurisdictionFixed();
  const id = known ? String(known["id"]) : insert(db, { ...workflow, id: newUuid() });
  db.prepare(
    "UPDATE workflows SET worker_id = ?, script_name = ?, class_name = ?, settings = ?, modified_on = ? WHERE id = ?",
  ).run(
    workerId,
    scriptName,
    className,
    JSON.stringify({ ...settings, jurisdiction: before ?? settings.jurisdiction }),
    now,
    id,
  );
  replaceSchedules(db, id, crons, Date.parse(now));
  return id;
});

export type DeployedVersion = {
  accountId: string;
  workerId: string;
  scriptName: string;
  versionId: string;
  /** What its bindings lead to. */
  targets: readonly WorkflowTarget[];
  now: string;
};

/** A deployed version's own Workflows: those that nobody has become its Worker's (what `putWorkflow` then says in full). */
export function registerWorkflows(db: WriteConnection, version: DeployedVersion): void {
  const { accountId, workerId, scriptName, versionId, targets, now } = version;
  for (const binding of targets) {
    if (binding.script !== scriptName) continue;
    const known = find(db, accountId, binding.workflow);
    const { workflow: name, className } = binding;
    const planned = binding.placed?.workflowId;
    const id = known
      ? String(known["id"])
      : insert(db, { id: planned ?? newUuid(), accountId, name, workerId, scriptName, className, settings: {}, now });
    if (known && known["script_name"] !== scriptName) continue;
    db.prepare("UPDATE workflows SET worker_id = ?, class_name = ?, modified_on = ? WHERE id = ?").run(
      workerId,
      className,
      now,
      id,
    );
    addVersion(db, { id, versionId, now });
  }
}

export const deleteWorkflow = transaction(
  "workflows.delete",
  (db, { accountId, name, now }: { accountId: string; name: string; now: string }): void => {
    const known = find(db, accountId, name);
    if (!known) throw workflowErrors.notFound();
    const id = String(known["id"]);
    db.prepare("UPDATE workflows SET deleted_on = ? WHERE id = ?").run(now, id);
    db.prepare("DELETE FROM workflow_versions WHERE workflow_id = ?").run(id);
    db.prepare("DELETE FROM workflow_schedules WHERE workflow_id = ?").run(id);
  },
);

/** A slot whose instance there is: no earlier one is begun any more. */
export const endSlot = transaction(
  "workflows.endSlot",
  (db, { id, cron, scheduledMs }: { id: string; cron: string; scheduledMs: number }): void => {
    db.prepare(
      "UPDATE workflow_schedules SET claimed_ms = ? WHERE workflow_id = ? AND cron = ? AND claimed_ms < ?",
    ).run(scheduledMs, id, cron, scheduledMs);
  },
);

function find(db: WriteConnection, accountId: string, name: string) {
  return db
    .prepare("SELECT * FROM workflows WHERE account_id = ? AND name = ? AND deleted_on IS NULL")
    .get(accountId, name);
}

function insert(db: WriteConnection, workflow: Omit<NewWorkflow, "crons"> & { id: string }): string {
  const { id, accountId, name, workerId, scriptName, className, settings, now } = workflow;
  const row = db.prepare("SELECT count(*) AS count FROM workflows WHERE account_id = ? AND deleted_on IS NULL");
  if (Number(row.get(accountId)?.["count"]) >= limits.workflows) throw workflowErrors.tooMany();
  db.prepare(
    `INSERT INTO workflows (id, account_id, name, worker_id, script_name, class_name, settings, created_on, modified_on)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  ).run(id, accountId, name, workerId, scriptName, className, JSON.stringify(settings), now, now);
  return id;
}

function addVersion(db: WriteConnection, { id, versionId, now }: { id: string; versionId: string; now: string }): void {
  db.prepare(
    `INSERT INTO workflow_versions (workflow_id, version_id, created_on) VALUES (?, ?, ?)
     ON CONFLICT (workflow_id, version_id) DO NOTHING`,
  ).run(id, versionId, now);
  db.prepare(
    `DELETE FROM workflow_versions WHERE workflow_id = ? AND rowid NOT IN
     (SELECT rowid FROM workflow_versions WHERE workflow_id = ? ORDER BY rowid DESC LIMIT ?)`,
  ).run(id, id, limits.versionsKept);
}

/** One that stays keeps what it has begun. */
function replaceSchedules(db: WriteConnection, id: string, crons: readonly string[], nowMs: number): void {
  const kept = new Set(crons);
  const drop = db.prepare("DELETE FROM workflow_schedules WHERE workflow_id = ? AND cron = ?");
  for (const row of db.prepare("SELECT cron FROM workflow_schedules WHERE workflow_id = ?").all(id))
    if (!kept.has(String(row["cron"]))) drop.run(id, row["cron"] ?? "");
  const put = db.prepare(
    "INSERT INTO workflow_schedules (workflow_id, cron, claimed_ms) VALUES (?, ?, ?) ON CONFLICT (workflow_id, cron) DO NOTHING",
  );
  for (const cron of kept) put.run(id, cron, nowMs);
}

/** One that is deleted keeps its row: what says that its instances may go, and that its id is no other's. */
export const workflowsSchema: DatabaseSchema = {
  product: "workflows",
  migrations: [
    `CREATE TABLE workflows (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       name TEXT NOT NULL,
       worker_id TEXT NOT NULL,
       script_name TEXT NOT NULL,
       class_name TEXT NOT NULL,
       settings TEXT NOT NULL,
       created_on TEXT NOT NULL,
       modified_on TEXT NOT NULL,
       deleted_on TEXT
     ) STRICT;
     CREATE UNIQUE INDEX workflows_by_name ON workflows (account_id, name) WHERE deleted_on IS NULL;
     CREATE INDEX workflows_of_worker ON workflows (worker_id) WHERE deleted_on IS NULL;
     CREATE TABLE workflow_versions (
       workflow_id TEXT NOT NULL,
       version_id TEXT NOT NULL,
       created_on TEXT NOT NULL,
       UNIQUE (workflow_id, version_id)
     ) STRICT;
     CREATE TABLE workflow_schedules (
       workflow_id TEXT NOT NULL,
       cron TEXT NOT NULL,
       claimed_ms INTEGER NOT NULL,
       PRIMARY KEY (workflow_id, cron)
     ) WITHOUT ROWID, STRICT;`,
  ],
  transactions: [putWorkflow, deleteWorkflow, endSlot],
};
