import type { OwnWorkflow, Workflow, WorkflowTarget } from "#products/workflows/schema.ts";

/** The Workflows that a Worker will have once a version with these bindings is deployed, in the order in which they are read back. */
export function plannedWorkflows(
  all: readonly Workflow[],
  version: {
    workerId: string;
    scriptName: string;
    exported: readonly string[];
    bindings: readonly WorkflowTarget[];
  },
): OwnWorkflow[] {
  const { workerId, scriptName, exported, bindings } = version;
  const planned = new Map<string, OwnWorkflow>();
  for (const { id, name, className, settings, ...workflow } of all)
    if (workflow.workerId === workerId) planned.set(name, { workflowId: id, name, className, settings });
  for (const binding of bindings) {
    if (binding.script !== scriptName || binding.placed?.owner !== workerId) continue;
    const { workflow: name, className, placed } = binding;
    const settings = all.find(({ id }) => id === placed.workflowId)?.settings ?? {};
    planned.set(name, { workflowId: placed.workflowId, name, className, settings });
  }
  return [...planned.values()]
    .filter(({ className }) => exported.includes(className))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
