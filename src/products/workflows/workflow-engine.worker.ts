/** What we use of the engine that workerd brings along, `/workerd/workflows.js`; its first comment is its interface. */
declare module "workerd-workflows" {
  import type { DurableObject, WorkerEntrypoint } from "cloudflare:workers";

  export class Engine extends DurableObject<Record<string, unknown>, EngineProps> {
    create(params: unknown, retention?: unknown): void | Promise<void>;
    /** Also goes on with what should run and does not. */
    exists(): boolean;
    pause(): void | Promise<void>;
    resume(): void | Promise<void>;
    terminate(options?: object): Promise<void>;
    restart(options?: object): void | Promise<void>;
    sendEvent(event: { type: string; payload: unknown }): void | Promise<void>;
    destroy(): Promise<void>;
    alarm(): Promise<void>;
  }

  export type EngineProps = { workflowName: string; workflowClass: { run(event: object, step: unknown): unknown } };

  /** The binding's API, for the Workflow that `props.workflow` names. */
  export class WorkflowBinding extends WorkerEntrypoint<Record<string, unknown>> {}
}
