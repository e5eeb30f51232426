import { accountOf, createRoutes, ok, param, parseJson, readBody, readJson, type Api } from "#http/app.ts";
import { cronErrors } from "#products/cron/errors.ts";
import { parseCron } from "#products/cron/expression.ts";
import type { CronRunner } from "#products/cron/runner.ts";
import { runBody, schedulesBody, type Run, type Schedule } from "#products/cron/schema.ts";
import type { CronStore } from "#products/cron/store.ts";

export type CronParts = {
  store: CronStore;
  /** The Worker of a name, or an error. */
  getWorker: (accountId: string, name: string) => Promise<{ id: string }>;
  /** Which schedules there are has changed. */
  refresh: () => Promise<void>;
  run: CronRunner;
};

const bodyBytesMax = 1024 * 1024;

/**
 * Below `/accounts/:account_id/workers/scripts/:script_name/schedules`: Cloudflare's two calls
 * (https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/schedules/), and our own for the
 * runs that were and for one by hand.
 */
export function cronRoutes({ store, getWorker, refresh, run }: CronParts): Api {
  const app = createRoutes();

  app.get("/", async (c) => {
    const worker = await getWorker(accountOf(c), param(c, "script_name"));
    return ok(c, { schedules: (await store.schedules(worker.id)).map(scheduleJson) });
  });

  app.put("/", async (c) => {
    const accountId = accountOf(c);
    const worker = await getWorker(accountId, param(c, "script_name"));
    const crons = readSchedules(Buffer.from(await readBody(c.req.raw, bodyBytesMax)).toString("utf8"));
    for (const cron of crons) if (!parseCron(cron)) throw cronErrors.invalid(cron);
    await store.replace({ accountId, workerId: worker.id, crons, nowMs: Date.now() });
    await refresh();
    return ok(c, { schedules: (await store.schedules(worker.id)).map(scheduleJson) });
  });

  app.get("/runs", async (c) => {
    const worker = await getWorker(accountOf(c), param(c, "script_name"));
    return ok(c, (await store.runs(worker.id)).map(runJson));
  });

  app.post("/run", async (c) => {
    const accountId = accountOf(c);
    const script = param(c, "script_name");
    const worker = await getWorker(accountId, script);
    const { cron, scheduled_time: given } = await readJson(c, runBody);
    const nowMs = Date.now();
    const scheduledMs = given ?? nowMs;
    const id = await store.begin({ workerId: worker.id, cron, scheduledMs, nowMs });
    // Once, whatever comes of it: whoever asks sees how it went.
    const result = await run({ accountId, script, cron, scheduledMs, untilMs: 0 }, c.req.raw.signal);
    await store.end({ id, outcome: result.outcome, attempts: result.attempts, nowMs: Date.now() });
    return ok(c, { outcome: result.outcome, no_retry: result.noRetry });
  });
  return app;
}

function readSchedules(text: string): string[] {
  try {
    return parseJson(schedulesBody, text).map(({ cron }) => cron);
  } catch {
    throw cronErrors.unreadable();
  }
}

function scheduleJson({ cron, createdOn, modifiedOn }: Schedule) {
  return { cron, created_on: createdOn, modified_on: modifiedOn };
}

function runJson({ id, cron, scheduledMs, startedMs, endedMs, outcome, attempts }: Run) {
  return {
    id,
    cron,
    scheduled_time: scheduledMs,
    started_on: new Date(startedMs).toISOString(),
    ended_on: endedMs === undefined ? null : new Date(endedMs).toISOString(),
    outcome: outcome ?? null,
    attempts,
  };
}
