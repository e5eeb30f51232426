import type { InstanceOrigin, ListQuery } from "#products/workflows/instance-record.ts";

/** Services and entrypoints of the processes that call Workflows and that have them. */
export const proxyService = "workflow-proxy";
export const proxyEntrypoint = "WorkflowProxy";
export const hostService = "workflows";
export const engineEntrypoint = "Engine";
export const bindingEntrypoint = "WorkflowBinding";
export const adminEntrypoint = "WorkflowAdmin";

/** Name of the object that stands for a whole Workflow in a process that calls it. */
export const workflowObject = "workflow";

/** Of the proxy. `key` is missing while there is no Workflow of that name. */
export type ProxyProps = { workflow: string; key?: string };

export type NewInstance = {
  id?: string | undefined;
  params?: unknown;
  retention?: { successRetention?: number | string | undefined; errorRetention?: number | string | undefined };
  origin: Omit<InstanceOrigin, "version">;
};

/** What the API asks of a Workflow's process. */
export type WorkflowRequest =
  | { op: "create"; instance: NewInstance }
  | { op: "createBatch"; instances: NewInstance[] }
  | { op: "list"; query: ListQuery }
  | { op: "counts" }
  | { op: "describe"; id: string; order: "asc" | "desc"; simple: boolean }
  | { op: "step"; id: string; name: string; type: "step" | "waitForEvent" }
  | { op: "pause" | "resume"; id: string }
  | { op: "terminate"; id: string; rollback: boolean }
  | {
      op: "restart";
      id: string;
      from?: { name: string; count?: number | undefined; type?: string | undefined } | undefined;
    }
  | { op: "sendEvent"; id: string; type: string; payload: unknown }
  | { op: "terminateAll" }
  | { op: "deleteBatch"; ids: readonly string[] };
