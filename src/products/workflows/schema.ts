import { z } from "zod";
import { limits } from "#products/workflows/limits.ts";

/** Wire shapes of Workflows. */
export const workflowName = z
  .string()
  .max(limits.nameBytes)
  .regex(/^[a-zA-Z0-9_][a-zA-Z0-9-_]*$/);

/** Milliseconds, or a text such as `3 days`; the engine reads it. */
const duration = z.union([z.number().int().positive(), z.string().regex(/^\s*\d+(\.\d+)?\s*[a-z]+\s*$/)]);

/** `PUT /workflows/:name` (wrangler-api §3.7). */
export const workflowBody = z.looseObject({
  script_name: z.string().min(1),
  class_name: z.string().min(1).max(255),
  limits: z.looseObject({ steps: z.number().int().min(1).max(limits.stepsMax).optional() }).nullish(),
  concurrency: z.looseObject({ limit: z.number().int().min(1).optional() }).nullish(),
  default_retention: z
    .looseObject({ success_retention: duration.optional(), error_retention: duration.optional() })
    .nullish(),
  schedules: z
    .array(z.looseObject({ cron: z.string().max(256) }))
    .max(limits.schedules)
    .nullish(),
  jurisdiction: z.string().nullish(),
});

/** What a Workflow's instances run with, unless they say otherwise. Durations as they were given. */
export type WorkflowSettings = {
  steps?: number;
  /** Instances whose code runs at a time. */
  concurrency?: number;
  retention?: { success?: number | string | undefined; error?: number | string | undefined };
  jurisdiction?: string;
};

/** One that a Worker has and a version of it can run. */
export type OwnWorkflow = { workflowId: string; name: string; className: string; settings: WorkflowSettings };

/** What a binding leads to, by name, as on Cloudflare. */
export type WorkflowTarget = {
  workflow: string;
  className: string;
  /** The Worker that was named, or the binding's own. */
  script: string;
  /** Where it is now, if there is one: `owner` is the id of its Worker. */
  placed?: { workflowId: string; owner: string };
};

export type Workflow = {
  /** A UUID. */
  id: string;
  accountId: string;
  name: string;
  /** The Worker that has its class and its instances; that one may be gone. */
  workerId: string;
  scriptName: string;
  className: string;
  settings: WorkflowSettings;
  createdOn: string;
  modifiedOn: string;
  /** No Worker has it any more: its instances wait for one that takes it on. */
  isScriptDeleted: boolean;
};

export const instanceStatuses = [
  "queued",
  "running",
  "paused",
  "errored",
  "terminated",
  "complete",
  "waitingForPause",
  "waiting",
  "rollingBack",
] as const;

const newInstanceShape = {
  instance_id: z.string().optional(),
  params: z.unknown().optional(),
  instance_retention: z
    .looseObject({ success_retention: duration.optional(), error_retention: duration.optional() })
    .optional(),
};
export const newInstance = z.looseObject(newInstanceShape);
export const newInstances = z.array(newInstance).min(1).max(limits.batch);
export const instanceIds = z.looseObject({ instances: z.array(z.string()).min(1).max(limits.batch) });

export const instanceChange = z.looseObject({
  status: z.enum(["pause", "resume", "restart", "terminate"]),
  from: z
    .looseObject({
      name: z.string(),
      count: z.number().int().min(1).optional(),
      type: z.enum(["do", "sleep", "waitForEvent"]).optional(),
    })
    .optional(),
  rollback: z.boolean().optional(),
});

export const listQuery = z.object({
  status: z.enum(instanceStatuses).optional(),
  date_start: z.coerce.date().optional(),
  date_end: z.coerce.date().optional(),
  direction: z.enum(["asc", "desc"]).default("desc"),
  cursor: z.string().max(200).optional(),
  page: z.coerce.number().int().min(1).default(1),
  per_page: z.coerce.number().int().min(1).max(limits.listPageMax).default(limits.listPage),
});
