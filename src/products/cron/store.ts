import type { Database } from "#db/database.ts";
import type { Run, Schedule } from "#products/cron/schema.ts";
import * as writes from "#products/cron/writes.ts";

export interface CronStore {
  /** Of every Worker, or of one. */
  schedules(workerId?: string): Promise<Schedule[]>;
  replace(change: writes.NewSchedules): Promise<void>;
  /** See `claimSlot`: undefined when the slot is not free any more. */
  claim(claim: writes.Claim): Promise<number | undefined>;
  begin(claim: writes.Claim): Promise<number>;
  end(end: writes.RunEnd): Promise<void>;
  interrupt(nowMs: number): Promise<void>;
  /** The latest first. */
  runs(workerId: string): Promise<Run[]>;
}

export function cronStore(db: Database): CronStore {
  const all = `SELECT cron_schedules.*, workers.name FROM cron_schedules JOIN workers ON workers.id = worker_id`;
  return {
    async schedules(workerId) {
      const rows =
        workerId === undefined
          ? db.prepare(`${all} ORDER BY worker_id, cron`).all()
          : db.prepare(`${all} WHERE worker_id = ? ORDER BY cron`).all(workerId);
      return rows.map(toSchedule);
    },
    replace: (change) => db.write(writes.replaceSchedules, change),
    claim: (claim) => db.write(writes.claimSlot, claim),
    begin: (claim) => db.write(writes.beginRun, claim),
    end: (end) => db.write(writes.endRun, end),
    interrupt: (nowMs) => db.write(writes.interruptRuns, { nowMs }),
    async runs(workerId) {
      return db.prepare("SELECT * FROM cron_runs WHERE worker_id = ? ORDER BY id DESC").all(workerId).map(toRun);
    },
  };
}

function toSchedule(row: Record<string, unknown>): Schedule {
  return {
    workerId: String(row["worker_id"]),
    accountId: String(row["account_id"]),
    script: String(row["name"]),
    cron: String(row["cron"]),
    createdOn: String(row["created_on"]),
    modifiedOn: String(row["modified_on"]),
    claimedMs: Number(row["claimed_ms"]),
  };
}

function toRun(row: Record<string, unknown>): Run {
  return {
    id: Number(row["id"]),
    cron: String(row["cron"]),
    scheduledMs: Number(row["scheduled_ms"]),
    startedMs: Number(row["started_ms"]),
    endedMs: row["ended_ms"] === null ? undefined : Number(row["ended_ms"]),
    outcome: row["outcome"] === null ? undefined : (row["outcome"] as string),
    attempts: Number(row["attempts"]),
  };
}
