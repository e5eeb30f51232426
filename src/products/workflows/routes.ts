import { accountOf, createRoutes, ok, pageOf, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import { parseCron } from "#products/cron/expression.ts";
import { workflowErrors } from "#products/workflows/errors.ts";
import { instanceRoutes, listInstances } from "#products/workflows/instance-routes.ts";
import type { Instances } from "#products/workflows/instances.ts";
import { limits } from "#products/workflows/limits.ts";
import { workflowBody, workflowName, type Workflow } from "#products/workflows/schema.ts";
import type { WorkflowStore } from "#products/workflows/store.ts";

export type WorkflowParts = {
  store: WorkflowStore;
  instances: Instances;
  /** The Worker of a name, with the version whose code its Workflows run; undefined parts when none is deployed. */
  findWorker: (
    accountId: string,
    name: string,
  ) => Promise<{ id: string; versionId: string | undefined; exports: readonly string[] } | undefined>;
  /** Resolves when processes know which Workflows there are. */
  settle: () => Promise<void>;
  /** Which schedules there are has changed. */
  refresh: () => Promise<void>;
};

/** Workflows whose instances are counted at a time for a list: each has a process started. */
const countsAtOnce = 4;

/** Below `/accounts/:account_id/workflows` (https://developers.cloudflare.com/api/resources/workflows/; wrangler-api §11). */
export function workflowRoutes(parts: WorkflowParts): Api {
  const { store, instances, findWorker, settle, refresh } = parts;
  const app = createRoutes();

  const find = async (c: ApiContext): Promise<Workflow> => {
    const found = await store.find(accountOf(c), param(c, "workflow"));
    if (!found) throw workflowErrors.notFound();
    return found;
  };
  const show = async (workflow: Workflow) => {
    const [counts, schedules] = await Promise.all([countsOf(workflow), store.schedules(workflow.id)]);
    return workflowJson(
      workflow,
      counts,
      schedules.map(({ cron }) => cron),
    );
  };
  const countsOf = async (workflow: Workflow): Promise<Record<string, number>> =>
    (await isRunnable(workflow)) ? instances.ask(workflow, { op: "counts" }) : {};
  const isRunnable = async ({ accountId, scriptName, workerId, className }: Workflow): Promise<boolean> => {
    const worker = await findWorker(accountId, scriptName);
    return worker?.id === workerId && worker.exports.includes(className);
  };

  /** One whose instances can be asked: its Worker has its class. */
  const findRunnable = async (c: ApiContext): Promise<Workflow> => {
    const workflow = await find(c);
    if (!(await isRunnable(workflow))) throw workflowErrors.classNotFound(workflow.scriptName, workflow.className);
    return workflow;
  };

  app.get("/", async (c) => {
    const search = c.req.query("search") ?? "";
    const all = (await store.list(accountOf(c))).filter(({ name }) => name.includes(search));
    const { items, info } = paginate(all, pageOf(c, { perPage: limits.listPage, perPageMax: limits.listPageMax }));
    const shown: object[] = [];
    for (let at = 0; at < items.length; at += countsAtOnce)
      shown.push(...(await Promise.all(items.slice(at, at + countsAtOnce).map(show))));
    return ok(c, shown, info);
  });

  app.get("/:workflow", async (c) => ok(c, await show(await find(c))));

  app.put("/:workflow", async (c) => {
    const name = param(c, "workflow");
    if (!workflowName.safeParse(name).success) throw workflowErrors.invalidName(name);
    const body = await readJson(c, workflowBody);
    const { script_name: scriptName, class_name: className } = body;
    const accountId = accountOf(c);
    const worker = await findWorker(accountId, scriptName);
    if (!worker) throw workflowErrors.scriptNotFound(scriptName);
    if (!worker.exports.includes(className)) throw workflowErrors.classNotFound(scriptName, className);
    const crons = (body.schedules ?? []).map(({ cron }) => cron);
    for (const cron of crons) if (!parseCron(cron)) throw workflowErrors.invalidCron(cron);
    const { success_retention: success, error_retention: error } = body.default_retention ?? {};
    await store.put({
      accountId,
      name,
      workerId: worker.id,
      scriptName,
      className,
      crons,
      settings: {
        ...(body.limits?.steps === undefined ? {} : { steps: body.limits.steps }),
        ...(body.concurrency?.limit === undefined ? {} : { concurrency: body.concurrency.limit }),
        ...(body.default_retention ? { retention: { success, error } } : {}),
        ...(body.jurisdiction ? { jurisdiction: body.jurisdiction } : {}),
      },
      now: new Date().toISOString(),
    });
    await Promise.all([settle(), refresh()]);
    const workflow = await find(c);
    return ok(c, {
      ...baseJson(workflow),
      is_deleted: 0,
      terminator_running: 0,
      version_id: worker.versionId,
    });
  });

  app.delete("/:workflow", async (c) => {
    const { accountId, name } = await find(c);
    await store.delete(accountId, name);
    await Promise.all([settle(), refresh()]);
    return ok(c, { status: "ok", success: true });
  });

  app.route("/:workflow/versions", versionRoutes(store, find));
  // So wrangler asks for the latest.
  app.get("/:workflow/instances/", listInstances({ find: findRunnable, instances }));
  app.route("/:workflow/instances", instanceRoutes({ find: findRunnable, instances }));
  return app;
}

function versionRoutes(store: WorkflowStore, find: (c: ApiContext) => Promise<Workflow>): Api {
  const app = createRoutes();

  app.get("/", async (c) => {
    const workflow = await find(c);
    const { items, info } = paginate(await store.versions(workflow.id), pageOf(c, { perPage: 100, perPageMax: 100 }));
    return ok(
      c,
      items.map((version) => versionJson(workflow, version)),
      info,
    );
  });

  app.get("/:version_id", async (c) => {
    const workflow = await find(c);
    const id = param(c, "version_id");
    const version = (await store.versions(workflow.id)).find(({ versionId }) => versionId === id);
    if (!version) throw workflowErrors.versionNotFound();
    return ok(c, versionJson(workflow, version));
  });
  return app;
}

function baseJson({ id, name, scriptName, className, createdOn, modifiedOn, settings }: Workflow) {
  return {
    id,
    name,
    script_name: scriptName,
    class_name: className,
    created_on: createdOn,
    modified_on: modifiedOn,
    triggered_on: null,
    ...(settings.jurisdiction === undefined ? {} : { jurisdiction: settings.jurisdiction }),
  };
}

function workflowJson(workflow: Workflow, counts: Record<string, number>, crons: readonly string[]) {
  return {
    ...baseJson(workflow),
    instances: counts,
    ...(crons.length > 0 ? { schedules: crons.map(scheduleJson) } : {}),
    ...(workflow.isScriptDeleted ? { script_deleted: true } : {}),
  };
}

function scheduleJson(cron: string) {
  const next = parseCron(cron)?.nextAfter(Date.now());
  return { cron, next_instance: next === undefined ? null : new Date(next).toISOString() };
}

function versionJson({ id, className, settings }: Workflow, version: { versionId: string; createdOn: string }) {
  return {
    id: version.versionId,
    workflow_id: id,
    class_name: className,
    created_on: version.createdOn,
    modified_on: version.createdOn,
    limits: { steps: settings.steps ?? limits.stepsDefault },
  };
}
