import type { Reader } from "#db/schema.ts";
import { ownerOf } from "#products/durable-objects/store.ts";
import type { ResolvedBinding, RunnableVersion } from "#products/workers/runnable.ts";
import type { OwnWorkflow } from "#products/workflows/schema.ts";
import { placeOfWorkflow, workflowsOf } from "#products/workflows/store.ts";

type NamespaceBinding = ResolvedBinding & { type: "durable_object_namespace" };
type WorkflowBinding = ResolvedBinding & { type: "workflow" };

/**
 * A version with its Durable Objects and Workflows where they are now. Both move to other Workers and are deleted after it was
 * uploaded; its bindings go where they went (https://developers.cloudflare.com/durable-objects/reference/durable-objects-migrations/).
 */
export function withPlaces(db: Reader, version: RunnableVersion): RunnableVersion {
  const { workerId, ownNamespaces } = version;
  return {
    ...version,
    ownNamespaces: ownNamespaces.filter(({ namespaceId }) => ownerOf(db, namespaceId) === workerId),
    ownWorkflows: runnableWorkflows(db, version),
    bindings: version.bindings.map((binding) => {
      if (isNamespace(binding)) return { ...binding, owner: ownerOf(db, binding.namespaceId) ?? binding.owner };
      return isWorkflow(binding) ? placedWorkflow(db, version, binding) : binding;
    }),
  };
}

/** Those of its Worker's Workflows that a version has the class of. */
function runnableWorkflows(db: Reader, { workerId, exports }: RunnableVersion): OwnWorkflow[] {
  return workflowsOf(db, workerId)
    .filter(({ className }) => exports.includes(className))
    .map(({ id: workflowId, name, className, settings }) => ({ workflowId, name, className, settings }));
}

function placedWorkflow(db: Reader, { accountId }: RunnableVersion, binding: WorkflowBinding): WorkflowBinding {
  const { placed: _then, ...rest } = binding;
  const placed = placeOfWorkflow(db, accountId, binding.workflow);
  return placed ? { ...rest, placed } : rest;
}

/** Tells apart versions whose processes call objects and Workflows in different places. Empty for one without. */
export function placesOf({ ownNamespaces, ownWorkflows, bindings }: RunnableVersion): string {
  return [
    ...ownNamespaces.map(({ namespaceId }) => namespaceId),
    ...ownWorkflows.map(({ workflowId, className }) => `${workflowId}:${className}`),
    ...bindings.filter(isNamespace).map(({ namespaceId, owner }) => `${namespaceId}@${owner}`),
    ...bindings.filter(isWorkflow).map(({ workflow, placed }) => `${placed?.workflowId ?? workflow}@${placed?.owner}`),
  ].join();
}

/** The same for the process that has them: it runs Workflows with their settings. */
export function ownPlacesOf(version: RunnableVersion): string {
  return `${placesOf(version)} ${JSON.stringify(version.ownWorkflows)}`;
}

/** Whether a Worker has objects or Workflows, and so a process of its own for them. */
export function ownsObjects({ ownNamespaces, ownWorkflows }: RunnableVersion): boolean {
  return ownNamespaces.length > 0 || ownWorkflows.length > 0;
}

function isNamespace(binding: ResolvedBinding): binding is NamespaceBinding {
  return binding.type === "durable_object_namespace";
}

function isWorkflow(binding: ResolvedBinding): binding is WorkflowBinding {
  return binding.type === "workflow";
}
