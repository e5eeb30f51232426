/** A Workflow's name in a process's configuration, and of everything there that is its own. No key of an object's namespace begins so. */
export function workflowKey(workflowId: string): string {
  return `w${workflowId.replaceAll("-", "")}`;
}

/** Folder of a Workflow's instances among the folders of its Worker's objects: workerd names it so. */
export function workflowFolder(key: string): string {
  return `miniflare-workflows-${key}`;
}

export function isWorkflowKey(key: string): boolean {
  return key.startsWith("w");
}
