import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openDatabase, type Database } from "#db/database.ts";
import { Scheduler } from "#products/cron/scheduler.ts";
import { workflowErrors } from "#products/workflows/errors.ts";
import type { Instances } from "#products/workflows/instances.ts";
import { workflowSchedules } from "#products/workflows/schedules.ts";
import { workflowStore } from "#products/workflows/store.ts";
import type { WorkflowRequest } from "#products/workflows/workflow-protocol.ts";

/** Instances that schedules make, with the registry as it is and instances that are only remembered. */
const folder = mkdtempSync(join(tmpdir(), "solum-schedules-"));
let db: Database;
beforeAll(async () => {
  db = await openDatabase(join(folder, "control.db"), ["accounts", "workers", "workflows"]);
});
afterAll(async () => {
  await db.close();
  rmSync(folder, { recursive: true });
});

type Made = { id: string; origin: { source: string; schedule?: { cron: string; scheduledTime: number } } };

/** As an owner's process keeps them: an id exists once. */
function rememberedInstances(made: Made[], failures: { left: number }): Instances {
  return {
    async ask<T>(_workflow: unknown, wanted: WorkflowRequest): Promise<T> {
      if (wanted.op !== "create") throw new Error("not asked here");
      if (failures.left-- > 0) throw workflowErrors.unavailable("its process is just being started");
      const one = wanted.instance as Made;
      if (made.some(({ id }) => id === one.id)) throw workflowErrors.instanceExists();
      made.push(one);
      return { id: one.id } as T;
    },
    close() {},
  };
}

test("each slot has one instance: when nobody answers at first, and when what made it was killed", async () => {
  const store = workflowStore(db);
  const now = new Date(Date.now() - 90_000).toISOString();
  const id = await store.put({
    accountId: "a",
    name: "nightly",
    workerId: "w",
    scriptName: "s",
    className: "Nightly",
    settings: {},
    crons: ["* * * * *"],
    now,
  });
  const made: Made[] = [];
  const failures = { left: 1 };
  const first = workflowSchedules(store, rememberedInstances(made, failures));
  const scheduler = new Scheduler(first.slots, first.run);
  await scheduler.start();
  await scheduler.finished();
  scheduler.stop();
  expect(made).toHaveLength(1);
  const [{ id: instanceId, origin } = { id: "", origin: { source: "" } }] = made;
  expect(instanceId).toMatch(/^cf_[0-9a-f]{64}$/);
  const slot = origin.schedule?.scheduledTime ?? 0;
  expect(slot % 60_000).toBe(0);
  expect(origin).toEqual({ source: "cron", schedule: { cron: "* * * * *", scheduledTime: slot } });
  expect((await store.schedules(id))[0]?.claimedMs).toBe(slot);

  // The same slot again, as if it had been killed before it was written down.
  const second = workflowSchedules(store, rememberedInstances(made, failures));
  await second.slots.schedules();
  const untilMs = Date.now() + 10_000;
  const request = { accountId: "a", script: id, cron: "* * * * *", scheduledMs: slot, untilMs };
  expect(await second.run(request, new AbortController().signal)).toMatchObject({ outcome: "ok" });
  expect(made).toHaveLength(1);
});
