import { createHash } from "node:crypto";
import { sleep } from "#core/deadline.ts";
import { ApiError } from "#core/errors.ts";
import type { CronRunner } from "#products/cron/runner.ts";
import type { SlotStore } from "#products/cron/scheduler.ts";
import { workflowErrors } from "#products/workflows/errors.ts";
import type { Instances } from "#products/workflows/instances.ts";
import type { Workflow } from "#products/workflows/schema.ts";
import type { NewInstance } from "#products/workflows/workflow-protocol.ts";
import type { WorkflowStore } from "#products/workflows/store.ts";

const limits = {
  /** While a Workflow's process cannot be reached. */
  pauseMsMin: 500,
  pauseMsMax: 15_000,
};

const instanceExists = workflowErrors.instanceExists().entries[0]?.code;

/**
 * Workflows' schedules for the scheduler of cron triggers. The instance of a slot has an id that follows from the slot: one that
 * is begun again after a crash is there already, so each slot has one instance, never two.
 */
export function workflowSchedules(store: WorkflowStore, instances: Instances): { slots: SlotStore; run: CronRunner } {
  let known = new Map<string, Workflow>();
  return {
    slots: {
      async schedules() {
        const all = await store.schedules();
        known = new Map(all.map(({ workflow }) => [workflow.id, workflow]));
        return all.map(({ workflow, cron, claimedMs }) => ({
          workerId: workflow.id,
          accountId: workflow.accountId,
          script: workflow.id,
          cron,
          createdOn: workflow.createdOn,
          modifiedOn: workflow.modifiedOn,
          claimedMs,
        }));
      },
      async claim({ workerId: id, cron, scheduledMs }) {
        const claimed = (await store.schedules(id)).find((one) => one.cron === cron)?.claimedMs;
        return claimed === undefined || claimed >= scheduledMs ? undefined : scheduledMs;
      },
      async end() {},
      async interrupt() {},
    },
    async run({ script: id, cron, scheduledMs, untilMs }, signal) {
      const workflow = known.get(id);
      if (!workflow) return { outcome: "unreached", attempts: 0, noRetry: true };
      const instance = {
        id: slotInstance(id, cron, scheduledMs),
        params: {},
        origin: { source: "cron", schedule: { cron, scheduledTime: scheduledMs } },
      } as const;
      let pauseMs = limits.pauseMsMin;
      for (let attempts = 1; ; attempts++) {
        try {
          await createOnce(instances, workflow, instance);
          await store.endSlot({ id, cron, scheduledMs });
          return { outcome: "ok", attempts, noRetry: false };
        } catch (error) {
          if (signal.aborted || Date.now() + pauseMs >= untilMs) throw error;
          await sleep(pauseMs, signal).catch(() => undefined);
          pauseMs = Math.min(2 * pauseMs, limits.pauseMsMax);
        }
      }
    },
  };
}

async function createOnce(instances: Instances, workflow: Workflow, instance: NewInstance): Promise<void> {
  await instances.ask(workflow, { op: "create", instance }).catch((error: unknown) => {
    if (!(error instanceof ApiError) || error.entries[0]?.code !== instanceExists) throw error;
  });
}

/** Ids of this form are the system's own (`instance_id` in the API's reference). */
function slotInstance(workflowId: string, cron: string, scheduledMs: number): string {
  return `cf_${createHash("sha256").update(`${workflowId} ${cron} ${scheduledMs}`).digest("hex")}`;
}
