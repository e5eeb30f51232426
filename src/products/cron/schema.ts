import { z } from "zod";

/** Wire shapes and limits of cron triggers. */
export const limits = {
  /** https://developers.cloudflare.com/workers/platform/limits/: of an account with a paid plan. */
  triggers: 250,
  cronBytes: 256,
  /** Runs of a Worker that are remembered. */
  runsKept: 100,
  /** A slot that passed while Solum was down is made up for when it is no older. */
  missedMs: 24 * 60 * 60 * 1000,
  /** Runs of one schedule at a time; a slot that comes on top of them is skipped. */
  runsAtOnce: 3,
  /** After a run that threw, unless it called `noRetry()`; each wait ends before the next slot. */
  retriesMs: [10_000, 60_000],
  /** How long a run is tried at most, and never beyond the next slot. */
  tryMs: 60 * 60 * 1000,
  /** While no process of the Worker can be reached. */
  unreachableMsMin: 200,
  unreachableMsMax: 15_000,
} as const;

/** `PUT …/schedules`. */
export const schedulesBody = z.array(z.looseObject({ cron: z.string().max(limits.cronBytes) })).max(1000);

/** `POST …/schedules/run`: one of the Worker's own expressions or any text, as the handler shall see it. */
export const runBody = z.looseObject({
  cron: z.string().max(limits.cronBytes).default(""),
  /** Milliseconds since 1970; now, when left out. */
  scheduled_time: z.number().int().min(0).max(8.64e15).optional(),
});

/** When a Worker's `scheduled` handler runs. Times are milliseconds since 1970. */
export type Schedule = {
  workerId: string;
  accountId: string;
  script: string;
  cron: string;
  createdOn: string;
  modifiedOn: string;
  /** The latest slot that was begun, or when the schedule was made. */
  claimedMs: number;
};

/**
 * How a run ended: the handler's outcome in workerd's words (`ok`, `exception`, …), or `unknown` (its process ended), `skipped`
 * (too many runs at once), `unreached` (no process in time), `interrupted` (Solum ended before it was known).
 */
export type RunOutcome = string;

export type Run = {
  id: number;
  cron: string;
  scheduledMs: number;
  startedMs: number;
  /** Undefined while it goes on. */
  endedMs: number | undefined;
  outcome: RunOutcome | undefined;
  /** How often the handler was called. */
  attempts: number;
};
