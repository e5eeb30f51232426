/** Programs that run as a process or thread of their own, each a file in `roles/`. */
export type EntryName = "main" | "writer" | "hasher";

/**
 * Where an entry's code is after the build, also for whoever runs from the source tree: types are taken away by WebAssembly, and V8 has
 * crashed where many threads did so one after the other.
 */
export function entryUrl(name: EntryName): URL {
  return new URL(`${distFolder}${name}.js`, import.meta.url);
}

/** Scripts that run inside workerd: the name of their `.worker.ts` file. */
export type WorkerScriptName =
  | "email"
  | "entry"
  | "object-broker"
  | "object-proxy"
  | "probe"
  | "router"
  | "tail"
  | "unsupported"
  | "workflow-host"
  | "workflow-proxy"
  | "d1-host"
  | "d1-binding";

/** Where such a script is after the build. */
export function workerScriptUrl(name: WorkerScriptName): URL {
  return new URL(`${distFolder}workers/${name}.js`, import.meta.url);
}

/** File that names the build; processes of another build are replaced rather than adopted. */
export function buildIdUrl(): URL {
  return new URL(`${distFolder}build-id`, import.meta.url);
}

const distFolder = import.meta.url.endsWith(".ts") ? "../../dist/" : "./";
