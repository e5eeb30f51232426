import { WorkerEntrypoint } from "cloudflare:workers";
import { workflowObject, type ProxyProps } from "#products/workflows/workflow-protocol.ts";

/**
 * In a process that calls a Workflow of another one: what the binding talks to. It hands every call to the object that stands for
 * the Workflow there, which has it done by its owner as it would for a Durable Object.
 */
type Method = (...args: unknown[]) => Promise<unknown>;
type Env = Record<string, { getByName(name: string): Record<string, Method> } | undefined>;

/** Of `cloudflare-internal:workflows-api`. */
const methods =
  "getInstance create createBatch deleteInstance deleteBatch pause resume terminate restart status sendEvent subscribe".split(
    " ",
  );

export class WorkflowProxy extends WorkerEntrypoint<Env, ProxyProps> {
  stub(): Record<string, Method> {
    const { workflow, key } = this.ctx.props;
    const namespace = key === undefined ? undefined : this.env[key];
    if (!namespace) throw new Error(`workflow.not_found: There is no Workflow '${workflow}'`);
    return namespace.getByName(workflowObject);
  }
}

for (const name of methods) {
  Object.defineProperty(WorkflowProxy.prototype, name, {
    async value(this: WorkflowProxy, ...args: unknown[]): Promise<unknown> {
      return this.stub()[name]?.(...args);
    },
  });
}
