import type { OwnWorkflow, WorkflowTarget } from "#products/workflows/schema.ts";

/**
 * All that starting a version needs, and nothing that changes while it runs. Immutable, like the version it comes from;
 * a process whose RunnableVersion is equal is the same process.
 */
export type RunnableVersion = {
  accountId: string;
  workerId: string;
  scriptName: string;
  versionId: string;
  /** `workers/tag` of the upload, for the version_metadata binding. */
  versionTag: string;
  /** ISO time. */
  createdOn: string;
  /** `assets-only`: a Worker without code of its own. */
  format: "modules" | "service-worker" | "assets-only";
  /** The main module first. */
  modules: readonly VersionModule[];
  /** Names that the main module exports, `default` among them; empty for a service worker. */
  exports: readonly string[];
  compatibilityDate: string;
  compatibilityFlags: readonly string[];
  bindings: readonly ResolvedBinding[];
  assets: VersionAssets | undefined;
  /** Durable Object namespaces that the Worker has as of this version, bound or not. */
  ownNamespaces: readonly OwnNamespace[];
  /** Workflows that the Worker has and the version can run, bound or not. */
  ownWorkflows: readonly OwnWorkflow[];
};

/** The objects of one of the Worker's classes. */
export type OwnNamespace = { namespaceId: string; className: string; sqlite: boolean };

export type ModuleType = "esm" | "cjs" | "text" | "data" | "wasm" | "json";

export type VersionModule = {
  /** Path relative to the main module's folder, normalised: `index.js`, `lib/a.wasm`. */
  name: string;
  type: ModuleType;
  /** SHA-256 of its bytes, hexadecimal; where the bytes are follows from it. */
  hash: string;
  sizeBytes: number;
};

export type VersionAssets = {
  /** Name of the set of files (`DataLayout.assetFiles`). */
  tree: string;
  config: AssetsConfig;
};

/** `metadata.assets.config` of an upload, wrangler-api §3.4. */
export type AssetsConfig = {
  html_handling?: "auto-trailing-slash" | "force-trailing-slash" | "drop-trailing-slash" | "none";
  not_found_handling?: "none" | "404-page" | "single-page-application";
  run_worker_first?: boolean | readonly string[];
  /** Texts of the files of these names. */
  _headers?: string;
  _redirects?: string;
};

/** A binding whose target was found and fixed when the version was uploaded. */
export type ResolvedBinding = { name: string } & (
  | { type: "plain_text"; text: string }
  | { type: "json"; json: unknown }
  /** The text reaches the process by its environment, never by a file. */
  | { type: "secret_text" }
  | { type: "kv_namespace"; namespaceId: string }
  | { type: "d1"; databaseId: string; host: number }
  | { type: "r2_bucket"; bucketId: string }
  | { type: "queue"; queueId: string }
  /** By name, as on Cloudflare: the callee's current version answers. */
  | { type: "service"; service: string; entrypoint?: string; props?: unknown }
  | { type: "assets" }
  | { type: "version_metadata" }
  /** The account's gateways. */
  | { type: "ai" }
  | { type: "vectorize"; indexId: string }
  | ({ type: "workflow" } & WorkflowTarget)
  /** `owner`: id of the Worker that has the objects, this one or another. */
  | { type: "durable_object_namespace"; namespaceId: string; className: string; sqlite: boolean; owner: string }
  /** Service-worker format only; the bytes are a module of the version. */
  | { type: "wasm_module" | "text_blob" | "data_blob"; hash: string }
  /** A type that Solum lacks, deployed because `unsupportedBindings` is `stub`: every use of it throws. */
  | { type: "unsupported"; wanted: string }
);
