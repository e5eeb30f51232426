import { wholeKeyPrefix } from "#products/durable-objects/broker-protocol.ts";

/** A Workflow's name in a process's configuration, and of everything there that is its own. */
export function workflowKey(workflowId: string): string {
  return wholeKeyPrefix + workflowId.replaceAll("-", "");
}

/** Folder of a Workflow's instances among the folders of its Worker's objects: workerd names it so. */
export function workflowFolder(key: string): string {
  return `miniflare-workflows-${key}`;
}
