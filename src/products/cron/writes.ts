import { transaction, type DatabaseSchema, type WriteConnection } from "#db/schema.ts";
import { cronErrors } from "#products/cron/errors.ts";
import { limits, type RunOutcome } from "#products/cron/schema.ts";

export type NewSchedules = { accountId: string; workerId: string; crons: string[]; nowMs: number };

/** A Worker's schedules, all of them. One that stays keeps what it has run. */
export const replaceSchedules = transaction("cron.replace", (db, change: NewSchedules): void => {
  const { accountId, workerId, crons, nowMs } = change;
  const now = new Date(nowMs).toISOString();
  const kept = new Set(crons);
  const drop = db.prepare("DELETE FROM cron_schedules WHERE worker_id = ? AND cron = ?");
  for (const row of db.prepare("SELECT cron FROM cron_schedules WHERE worker_id = ?").all(workerId))
    if (!kept.has(String(row["cron"]))) drop.run(workerId, row["cron"] ?? "");
  const put = db.prepare(
    `INSERT INTO cron_schedules (worker_id, account_id, cron, created_on, modified_on, claimed_ms) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (worker_id, cron) DO UPDATE SET modified_on = excluded.modified_on`,
  );
  for (const cron of kept) put.run(workerId, accountId, cron, now, now, nowMs);
  const row = db.prepare("SELECT count(*) AS count FROM cron_schedules WHERE account_id = ?").get(accountId);
  if (Number(row?.["count"]) > limits.triggers) throw cronErrors.tooMany();
});

export type Claim = {
  workerId: string;
  cron: string;
  scheduledMs: number;
  nowMs: number;
  /** How it ends at once when it does not begin. */
  outcome?: RunOutcome;
};

/** Begins the run of a slot: its id, or nothing when that slot, or a later one, was begun before. */
export const claimSlot = transaction("cron.claim", (db, claim: Claim): number | undefined => {
  const { workerId, cron, scheduledMs } = claim;
  const { changes } = db
    .prepare("UPDATE cron_schedules SET claimed_ms = ? WHERE worker_id = ? AND cron = ? AND claimed_ms < ?")
    .run(scheduledMs, workerId, cron, scheduledMs);
  return changes === 0 ? undefined : insertRun(db, claim);
});

/** Begins a run that no schedule asks for. */
export const beginRun = transaction("cron.begin", (db, claim: Claim): number => insertRun(db, claim));

export type RunEnd = { id: number; outcome: RunOutcome; attempts: number; nowMs: number };

export const endRun = transaction("cron.end", (db, { id, outcome, attempts, nowMs }: RunEnd): void => {
  db.prepare("UPDATE cron_runs SET outcome = ?, attempts = ?, ended_ms = ? WHERE id = ?").run(
    outcome,
    attempts,
    nowMs,
    id,
  );
});

/** What was going on when the process before us ended. */
export const interruptRuns = transaction("cron.interrupt", (db, { nowMs }: { nowMs: number }): void => {
  db.prepare("UPDATE cron_runs SET outcome = 'interrupted', ended_ms = ? WHERE outcome IS NULL").run(nowMs);
});

function insertRun(db: WriteConnection, { workerId, cron, scheduledMs, nowMs, outcome }: Claim): number {
  const { lastInsertRowid } = db
    .prepare(
      "INSERT INTO cron_runs (worker_id, cron, scheduled_ms, started_ms, ended_ms, outcome, attempts) VALUES (?, ?, ?, ?, ?, ?, 0)",
    )
    .run(workerId, cron, scheduledMs, nowMs, outcome === undefined ? null : nowMs, outcome ?? null);
  db.prepare(
    `DELETE FROM cron_runs WHERE worker_id = ? AND outcome IS NOT NULL AND id <=
     (SELECT id FROM cron_runs WHERE worker_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)`,
  ).run(workerId, workerId, limits.runsKept);
  return Number(lastInsertRowid);
}

export const cronSchema: DatabaseSchema = {
  product: "cron",
  migrations: [
    `CREATE TABLE cron_schedules (
       worker_id TEXT NOT NULL REFERENCES workers (id) ON DELETE CASCADE,
       account_id TEXT NOT NULL,
       cron TEXT NOT NULL,
       created_on TEXT NOT NULL,
       modified_on TEXT NOT NULL,
       claimed_ms INTEGER NOT NULL,
       PRIMARY KEY (worker_id, cron)
     ) WITHOUT ROWID, STRICT;
     CREATE TABLE cron_runs (
       id INTEGER PRIMARY KEY AUTOINCREMENT,
       worker_id TEXT NOT NULL REFERENCES workers (id) ON DELETE CASCADE,
       cron TEXT NOT NULL,
       scheduled_ms INTEGER NOT NULL,
       started_ms INTEGER NOT NULL,
       ended_ms INTEGER,
       outcome TEXT,
       attempts INTEGER NOT NULL
     ) STRICT;
     CREATE INDEX cron_runs_of_worker ON cron_runs (worker_id, id);`,
  ],
  transactions: [replaceSchedules, claimSlot, beginRun, endRun, interruptRuns],
};
