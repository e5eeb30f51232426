import { embed, type CapnpValue } from "#core/capnp-text.ts";
import type { WorkerScriptName } from "#core/entry.ts";
import { askedPrefix } from "#products/durable-objects/broker-protocol.ts";
import { frontNamespaceBinding, objectsDisk, type OwnedWorkflows } from "#products/durable-objects/front-piece.ts";
import { workflowFolder, workflowKey } from "#products/workflows/key.ts";
import type { OwnWorkflow, WorkflowTarget } from "#products/workflows/schema.ts";
import {
  adminEntrypoint,
  bindingEntrypoint,
  engineEntrypoint,
  hostService,
  proxyEntrypoint,
  proxyService,
  type ProxyProps,
} from "#products/workflows/workflow-protocol.ts";

type File = { name: string; script: WorkerScriptName };

const compatibilityDate = "2026-11-01";
const hostScript = "workflow-host.js";
const proxyScript = "workflow-proxy.js";

/** A Workflow in `env`: the engine's own where its instances are, else one that reaches them. */
export function workflowBinding(
  { name, workflow, placed }: WorkflowTarget & { name: string },
  isLocal: boolean,
): CapnpValue {
  const key = placed && workflowKey(placed.workflowId);
  return wrapped(
    name,
    isLocal && key !== undefined ? localService(key) : proxied({ workflow, ...(key ? { key } : {}) }),
  );
}

/** The same for a Workflow of the Worker itself, in a process that has not its instances. */
export function ownWorkflowBinding(name: string, { workflowId, name: workflow }: OwnWorkflow): CapnpValue {
  return wrapped(name, proxied({ workflow, key: workflowKey(workflowId) }));
}

function wrapped(name: string, fetcher: CapnpValue): CapnpValue {
  const innerBindings = [{ name: "fetcher", service: fetcher }];
  return { name, wrapped: { moduleName: "cloudflare-internal:workflows-api", innerBindings } };
}

function proxied(props: ProxyProps): CapnpValue {
  return { name: proxyService, entrypoint: proxyEntrypoint, props: { json: JSON.stringify(props) } };
}

function localService(key: string): CapnpValue {
  return { name: hostService, entrypoint: bindingEntrypoint, props: { json: JSON.stringify({ workflow: key }) } };
}

/** What a process needs to call Workflows that it has not; `keys`: those that there are, each with a namespace of `frontObjects`. */
export function frontWorkflows(keys: readonly string[]): { services: CapnpValue[]; files: File[] } {
  const worker = {
    modules: [{ name: proxyScript, esModule: embed(proxyScript) }],
    compatibilityDate,
    bindings: keys.map((key) => frontNamespaceBinding(key, key)),
  };
  return { services: [{ name: proxyService, worker }], files: [{ name: proxyScript, script: "workflow-proxy" }] };
}

/**
 * Names by which a Worker's classes are known to the engine, which takes one Workflow of each: the first has the class's own name,
 * those after it an alias.
 */
export function classNames(workflows: readonly OwnWorkflow[]): { className: string; alias: string | undefined }[] {
  const seen = new Set<string>();
  return workflows.map(({ className, workflowId }) => {
    const alias = seen.has(className) ? aliasPrefix + workflowKey(workflowId) : undefined;
    seen.add(className);
    return { className, alias };
  });
}

/** So begin names that the entry module takes out of what code sees. */
const aliasPrefix = "__solum_";

/** What an owner process has of its Worker's Workflows: workerd's engine, and for the broker how to reach them. */
export function ownerWorkflows(
  workflows: readonly OwnWorkflow[],
  { service, versionId }: { service: string; versionId: string },
): OwnedWorkflows {
  if (workflows.length === 0) return { worker: {}, services: [], brokerBindings: [], files: [] };
  const keyed = workflows.map((workflow) => ({ ...workflow, key: workflowKey(workflow.workflowId) }));
  const admin = (key: string): CapnpValue => ({
    name: hostService,
    entrypoint: adminEntrypoint,
    props: { json: JSON.stringify({ workflow: key }) },
  });
  const names = classNames(workflows);
  const about = keyed.map(({ key, name, settings: { concurrency } }) => [key, { name, concurrency }] as const);
  const settings = keyed.map(({ key, settings: { steps, retention } }) => [key, { steps, retention }] as const);
  const host = {
    modules: [
      { name: hostScript, esModule: embed(hostScript) },
      { name: "workerd-workflows", bundled: "/workerd/workflows.js" },
    ],
    compatibilityDate,
    durableObjectStorage: { localDisk: objectsDisk },
    bindings: [
      { name: "VERSION", text: versionId },
      { name: "ABOUT", json: JSON.stringify(Object.fromEntries(about)) },
      { name: "WORKFLOWS", json: JSON.stringify(Object.fromEntries(settings)) },
      ...keyed.flatMap(({ key }) => [
        { name: `workflow:${key}`, durableObjectNamespace: { className: workflowFolder(key), serviceName: service } },
        { name: `binding:${key}`, service: localService(key) },
      ]),
    ],
  };
  return {
    worker: {
      workflowsEngine: {
        actorClass: { name: hostService, entrypoint: engineEntrypoint },
        workflows: keyed.map(({ key }, at) => ({
          className: names[at]?.alias ?? names[at]?.className ?? "",
          name: key,
          bindingService: localService(key),
        })),
      },
    },
    services: [{ name: hostService, worker: host }],
    brokerBindings: keyed.flatMap(({ key }) => [
      { name: key, service: localService(key) },
      { name: askedPrefix + key, service: admin(key) },
    ]),
    files: [{ name: hostScript, script: "workflow-host" }],
  };
}
