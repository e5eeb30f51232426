import type { Database } from "#db/database.ts";
import type { Reader } from "#db/schema.ts";
import type { NamespacePlace } from "#products/durable-objects/store.ts";
import { workflowFolder, workflowKey } from "#products/workflows/key.ts";
import type { Workflow } from "#products/workflows/schema.ts";
import * as writes from "#products/workflows/writes.ts";

export type WorkflowVersion = { versionId: string; createdOn: string };
export type WorkflowSchedule = { workflow: Workflow; cron: string; claimedMs: number };

/** Which Workflows there are, and who has them. Their instances are in their Workers' processes. */
export interface WorkflowStore {
  /** By name. */
  list(accountId: string): Promise<Workflow[]>;
  find(accountId: string, name: string): Promise<Workflow | undefined>;
  /** The latest first. */
  versions(id: string): Promise<WorkflowVersion[]>;
  /** Of every Workflow, or of one. */
  schedules(id?: string): Promise<WorkflowSchedule[]>;
  put(workflow: writes.NewWorkflow): Promise<string>;
  delete(accountId: string, name: string): Promise<void>;
  endSlot(slot: { id: string; cron: string; scheduledMs: number }): Promise<void>;
}

const all = `SELECT workflows.*, workers.id IS NULL AS is_script_deleted FROM workflows
  LEFT JOIN workers ON workers.id = worker_id WHERE deleted_on IS NULL`;

export function workflowStore(db: Database): WorkflowStore {
  return {
    async list(accountId) {
      return db.prepare(`${all} AND workflows.account_id = ? ORDER BY workflows.name`).all(accountId).map(toWorkflow);
    },
    async find(accountId, name) {
      const row = db.prepare(`${all} AND workflows.account_id = ? AND workflows.name = ?`).get(accountId, name);
      return row && toWorkflow(row);
    },
    async versions(id) {
      const rows = db.prepare("SELECT * FROM workflow_versions WHERE workflow_id = ? ORDER BY rowid DESC").all(id);
      return rows.map((row) => ({ versionId: String(row["version_id"]), createdOn: String(row["created_on"]) }));
    },
    async schedules(id) {
      const rows = db
        .prepare(
          `SELECT workflow_schedules.*, owned.* FROM workflow_schedules JOIN (${all}) AS owned ON owned.id = workflow_id
           WHERE ? IS NULL OR workflow_id = ? ORDER BY workflow_id, cron`,
        )
        .all(id ?? null, id ?? null);
      return rows.map((row) => ({
        workflow: toWorkflow(row),
        cron: String(row["cron"]),
        claimedMs: Number(row["claimed_ms"]),
      }));
    },
    put: (workflow) => db.write(writes.putWorkflow, workflow),
    delete: (accountId, name) => db.write(writes.deleteWorkflow, { accountId, name, now: new Date().toISOString() }),
    endSlot: (slot) => db.write(writes.endSlot, slot),
  };
}

/** Where the instances of every Workflow are that there is or was. */
export function readWorkflowPlaces(db: Reader): NamespacePlace[] {
  const rows = db.prepare("SELECT id, worker_id, deleted_on FROM workflows ORDER BY id").all();
  return rows.map((row) => ({
    id: workflowFolder(workflowKey(String(row["id"]))),
    workerId: String(row["worker_id"]),
    isDeleted: row["deleted_on"] !== null,
  }));
}

/** The Workflows that a Worker has. */
export function workflowsOf(db: Reader, workerId: string): Workflow[] {
  return db.prepare(`${all} AND worker_id = ? ORDER BY workflows.name`).all(workerId).map(toWorkflow);
}

/** Where a Workflow of a name is; undefined when there is none. */
export function placeOfWorkflow(db: Reader, accountId: string, name: string) {
  const row = db
    .prepare("SELECT id, worker_id FROM workflows WHERE account_id = ? AND name = ? AND deleted_on IS NULL")
    .get(accountId, name);
  return row && { workflowId: String(row["id"]), owner: String(row["worker_id"]) };
}

function toWorkflow(row: Record<string, unknown>): Workflow {
  return {
    id: String(row["id"]),
    accountId: String(row["account_id"]),
    name: String(row["name"]),
    workerId: String(row["worker_id"]),
    scriptName: String(row["script_name"]),
    className: String(row["class_name"]),
    settings: JSON.parse(String(row["settings"])),
    createdOn: String(row["created_on"]),
    modifiedOn: String(row["modified_on"]),
    isScriptDeleted: row["is_script_deleted"] === 1,
  };
}
