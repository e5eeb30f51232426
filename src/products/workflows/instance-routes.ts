import { z } from "zod";
import {
  createRoutes,
  ok,
  param,
  parseJson,
  readBody,
  readJson,
  readQuery,
  type Api,
  type ApiContext,
} from "#http/app.ts";
import { workflowErrors } from "#products/workflows/errors.ts";
import type { InstanceRecord } from "#products/workflows/instance-record.ts";
import type { Instances } from "#products/workflows/instances.ts";
import { limits } from "#products/workflows/limits.ts";
import {
  instanceChange,
  instanceIds,
  listQuery,
  newInstance,
  newInstances,
  type Workflow,
} from "#products/workflows/schema.ts";
import type { NewInstance } from "#products/workflows/workflow-protocol.ts";

type Parts = { find: (c: ApiContext) => Promise<Workflow>; instances: Instances };
type Made = { id: string; status: string; version: string };

const detailsQuery = z.object({
  order: z.enum(["asc", "desc"]).default("asc"),
  simple: z.enum(["true", "false"]).default("false"),
});
const stepQuery = z.object({ name: z.string().min(1), type: z.enum(["step", "waitForEvent"]).default("step") });

/** A page of a Workflow's instances. */
export function listInstances({ find, instances }: Parts) {
  return async (c: ApiContext) => {
    const workflow = await find(c);
    const query = readQuery(c, listQuery);
    const { page, per_page: max, cursor, direction } = query;
    const { items, total } = await instances.ask<{ items: InstanceRecord[]; total: number }>(workflow, {
      op: "list",
      query: {
        status: query.status,
        from: query.date_start?.getTime(),
        to: query.date_end?.getTime(),
        direction,
        after: cursor === undefined ? undefined : readCursor(cursor),
        offset: cursor === undefined ? (page - 1) * max : 0,
        max,
      },
    });
    const last = items.at(-1);
    const next = last && items.length === max ? cursorOf(last) : "";
    const info = { page, per_page: max, count: items.length, total_count: total, cursor: next };
    return ok(
      c,
      items.map((one) => instanceJson(workflow, one)),
      info,
    );
  };
}

/** Below `/accounts/:account_id/workflows/:workflow/instances` (wrangler-api §11). */
export function instanceRoutes({ find, instances }: Parts): Api {
  const app = createRoutes();

  app.get("/", listInstances({ find, instances }));

  app.post("/", async (c) => {
    const workflow = await find(c);
    const given = await readJson(c, newInstance, limits.bodyBytes);
    const made = await instances.ask<Made>(workflow, { op: "create", instance: toInstance(given) });
    return ok(c, madeJson(workflow, made));
  });

  app.post("/batch", async (c) => {
    const workflow = await find(c);
    const given = await readJson(c, newInstances, limits.bodyBytes);
    const made = await instances.ask<Made[]>(workflow, { op: "createBatch", instances: given.map(toInstance) });
    return ok(
      c,
      made.map((one) => madeJson(workflow, one)),
    );
  });

  app.post("/batch/delete", async (c) => {
    const workflow = await find(c);
    const { instances: ids } = await readJson(c, instanceIds);
    return ok(c, await instances.ask(workflow, { op: "deleteBatch", ids }));
  });

  app.put("/terminate", async (c) => ok(c, await instances.ask(await find(c), { op: "terminateAll" })));

  app.get("/:instance_id", async (c) => {
    const workflow = await find(c);
    const { order, simple } = readQuery(c, detailsQuery);
    const wanted = { op: "describe", id: param(c, "instance_id"), order, simple: simple === "true" } as const;
    return ok(c, await instances.ask(workflow, wanted));
  });

  app.get("/:instance_id/step", async (c) => {
    const workflow = await find(c);
    const query = readQuery(c, stepQuery);
    return ok(c, await instances.ask(workflow, { op: "step", id: param(c, "instance_id"), ...query }));
  });

  app.delete("/:instance_id", async (c) => {
    const id = param(c, "instance_id");
    const wanted = { op: "deleteBatch", ids: [id] } as const;
    const { errors } = await instances.ask<{ errors: unknown[] }>(await find(c), wanted);
    if (errors.length > 0) throw workflowErrors.instanceNotFound();
    return ok(c, { status: "ok" });
  });

  app.patch("/:instance_id/status", async (c) => {
    const workflow = await find(c);
    const id = param(c, "instance_id");
    const { status: op, from, rollback = false } = await readJson(c, instanceChange);
    if (op === "restart") await instances.ask(workflow, { op, id, from });
    else if (op === "terminate") await instances.ask(workflow, { op, id, rollback });
    else await instances.ask(workflow, { op, id });
    const { status } = await instances.ask<{ status: string }>(workflow, {
      op: "describe",
      id,
      order: "asc",
      simple: true,
    });
    return ok(c, { status, timestamp: new Date().toISOString() });
  });

  app.post("/:instance_id/events/:type", async (c) => {
    const workflow = await find(c);
    const body = Buffer.from(await readBody(c.req.raw, limits.bodyBytes)).toString("utf8");
    const payload = body === "" ? undefined : parseJson(z.unknown(), body);
    await instances.ask(workflow, { op: "sendEvent", id: param(c, "instance_id"), type: param(c, "type"), payload });
    return ok(c, null);
  });
  return app;
}

function toInstance(given: z.infer<typeof newInstance>): NewInstance {
  const { instance_id: id, instance_retention: retention } = given;
  const { success_retention: successRetention, error_retention: errorRetention } = retention ?? {};
  return {
    id,
    params: readParams(given.params),
    ...(retention ? { retention: { successRetention, errorRetention } } : {}),
    origin: { source: "api" },
  };
}

/** wrangler sends them as they are, the SDK as JSON text (its `params?: string`). */
function readParams(params: unknown): unknown {
  if (typeof params !== "string") return params ?? {};
  try {
    return JSON.parse(params) as unknown;
  } catch {
    throw workflowErrors.paramsInvalid();
  }
}

function instanceJson({ id: workflowId }: Workflow, one: InstanceRecord) {
  return {
    id: one.id,
    workflow_id: workflowId,
    version_id: one.version,
    status: one.status,
    trigger_source: one.source,
    created_on: new Date(one.created).toISOString(),
    modified_on: new Date(one.modified).toISOString(),
    started_on: timeOrNull(one.started),
    ended_on: timeOrNull(one.ended),
  };
}

function madeJson({ id: workflowId }: Workflow, { id, status, version }: Made) {
  return { id, status, version_id: version, workflow_id: workflowId, trigger_source: "api" };
}

function timeOrNull(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

function cursorOf({ created, id }: InstanceRecord): string {
  return Buffer.from(`${created} ${id}`).toString("base64url");
}

function readCursor(cursor: string): { created: number; id: string } {
  const [, created = "", id = ""] = /^(\d{1,16}) (.+)$/.exec(Buffer.from(cursor, "base64url").toString("utf8")) ?? [];
  if (id === "") throw workflowErrors.badCursor();
  return { created: Number(created), id };
}
