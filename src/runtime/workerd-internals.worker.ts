/**
 * Modules of workerd that only extension modules can import, as far as the entry module uses them. They are not a public
 * interface: `entry.test.ts` runs against the pinned workerd and fails when one of them changes.
 */
declare module "cloudflare-internal:workers" {
  const entrypoints: {
    WorkerEntrypoint: Function;
    DurableObject: Function;
    WorkflowEntrypoint: Function;
    /** Of whatever invocation is current; throws outside of any. */
    waitUntil(promise: Promise<unknown>): void;
  };
  export default entrypoints;
}

declare module "cloudflare-internal:env" {
  const env: {
    getCurrentEnv(): Record<string, unknown> | undefined;
    getCurrentExports(): Record<string, unknown> | undefined;
  };
  export default env;
}

declare module "node-internal:async_hooks" {
  // oxlint-disable-next-line typescript/consistent-type-imports -- an import statement would make this file a module, and its declarations its own.
  const hooks: { AsyncLocalStorage: new () => import("#runtime/entry/invocation.ts").Storage };
  export default hooks;
}
