import { z } from "zod";
import { migrations } from "#products/durable-objects/schema.ts";
import type { AssetsConfig, RunnableVersion } from "#products/workers/runnable.ts";

/** Wire shapes and limits of Workers, versions and deployments (wrangler-api §3, §6). */
export const limits = {
  /** A name is a DNS label: it becomes a host. */
  nameLength: 63,
  modules: 2000,
  moduleNameBytes: 512,
  bindings: 1000,
  /** Bytes of the `metadata` part. */
  metadataBytes: 1024 * 1024,
  /** Bytes of all source maps of a version. */
  sourceMapBytes: 128 * 1024 * 1024,
  /** https://developers.cloudflare.com/workers/platform/limits/: variables and secrets of a Worker. */
  variables: 128,
  variableBytes: 5 * 1024,
  /**
   * Versions that stay deployable, the newest ones:
   * https://developers.cloudflare.com/workers/configuration/versions-and-deployments/gradual-deployments/.
   */
  versionsDeployable: 100,
  /** Versions that a deployment splits requests between. */
  versionsDeployed: 2,
  /** Deployments that a list shows, as on Cloudflare; one of the last hundred can be asked for by its id. */
  deploymentsListed: 10,
  deploymentsKnown: 100,
  /** Aliases of a Worker's previews; past it, those of the oldest versions go. */
  previewAliases: 1000,
  /** https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/versions/: a longer message is cut. */
  messageBytes: 1000,
  tagBytes: 100,
  annotations: 32,
  /** Characters of `<alias>-<worker>`, a DNS label (RFC 1035 §2.3.4). */
  hostLabelLength: 63,
  /** https://developers.cloudflare.com/workers/static-assets/: files and bytes of one file. */
  assetFiles: 100_000,
  assetBytes: 25 * 1024 * 1024,
  assetPathBytes: 1024,
  /** Files, and bytes before base64, of one upload request. */
  assetBucketFiles: 2000,
  assetBucketBytes: 40 * 1024 * 1024,
  /** Files of earlier deployments that a new set of assets keeps. They are names of files that exist anyway. */
  keptAssetFiles: 20_000,
  /** How long an assets upload may take. */
  assetSessionMs: 60 * 60 * 1000,
} as const;

export type ScriptSettings = {
  tags?: string[] | null;
  logpush?: boolean;
  observability?: unknown;
  tail_consumers?: unknown[] | null;
  streaming_tail_consumers?: unknown[] | null;
};

export type Worker = {
  id: string;
  accountId: string;
  name: string;
  createdOn: string;
  modifiedOn: string;
  subdomainEnabled: boolean;
  previewsEnabled: boolean;
  settings: ScriptSettings;
  lastDeployedFrom: string;
  /** Of the last Durable Object migration that was applied. */
  migrationTag: string | undefined;
};

/** A binding as the API shows it; a secret without its text. */
export type ApiBinding = { name: string; type: string } & Record<string, unknown>;

export type Version = {
  id: string;
  number: number;
  workerId: string;
  createdOn: string;
  source: string;
  authorEmail: string;
  annotations: Record<string, string>;
  bindings: ApiBinding[];
  runnable: RunnableVersion;
  startupMs: number;
  etag: string;
  /** Handlers of the default export; null for a Worker of assets alone. */
  handlers: string[] | null;
  namedHandlers: { name: string; handlers: string[] }[];
  extra: VersionExtra;
};

/** What is kept of an upload only to be shown again. */
export type VersionExtra = {
  usageModel: string;
  limits?: unknown;
  placement?: unknown;
  sourceMaps: { name: string; hash: string; sizeBytes: number }[];
};

export type Deployment = {
  id: string;
  workerId: string;
  createdOn: string;
  source: string;
  authorEmail: string;
  annotations: Record<string, string>;
  versions: { versionId: string; percentage: number }[];
};

const annotations = z.record(z.string(), z.string().nullish());
const name = z.string();
const assetsConfig: z.ZodType<AssetsConfig> = z.looseObject({
  html_handling: z.enum(["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"]).optional(),
  not_found_handling: z.enum(["none", "404-page", "single-page-application"]).optional(),
  run_worker_first: z.union([z.boolean(), z.array(z.string())]).optional(),
  _headers: z.string().optional(),
  _redirects: z.string().optional(),
}) as z.ZodType<AssetsConfig>;

/** `metadata` of an upload. What Solum has no use for is accepted and left alone, as on Cloudflare. */
export const uploadMetadata = z.looseObject({
  main_module: z.string().optional(),
  body_part: z.string().optional(),
  bindings: z
    .array(z.looseObject({ name: z.string().optional(), type: z.string().optional() }))
    .max(limits.bindings)
    .default([]),
  compatibility_date: z.string().optional(),
  compatibility_flags: z.array(z.string()).max(200).default([]),
  keep_bindings: z.array(z.string()).default([]),
  keep_assets: z.boolean().default(false),
  migrations: migrations.nullish(),
  exports: z.record(z.string(), z.unknown()).nullish(),
  containers: z.array(z.unknown()).nullish(),
  annotations: annotations.default({}),
  assets: z.looseObject({ jwt: z.string().optional(), config: assetsConfig.default({}) }).optional(),
  usage_model: z.string().default("standard"),
  limits: z.unknown().optional(),
  placement: z.unknown().optional(),
  tags: z.array(z.string()).nullish(),
  logpush: z.boolean().nullish(),
  observability: z.unknown().optional(),
  tail_consumers: z.array(z.unknown()).nullish(),
  streaming_tail_consumers: z.array(z.unknown()).nullish(),
});

export type UploadMetadata = z.infer<typeof uploadMetadata>;

export const scriptSettings = z.looseObject({
  tags: z.array(z.string()).nullish(),
  logpush: z.boolean().optional(),
  observability: z.unknown().optional(),
  tail_consumers: z.array(z.unknown()).nullish(),
  streaming_tail_consumers: z.array(z.unknown()).nullish(),
});

export const newDeployment = z.looseObject({
  strategy: z.literal("percentage").default("percentage"),
  versions: z
    .array(z.looseObject({ version_id: z.string(), percentage: z.number().min(0).max(100) }))
    .min(1)
    .max(limits.versionsDeployed),
  annotations: annotations.default({}),
});

export const secretBody = z.looseObject({ name, text: z.string(), type: z.literal("secret_text") });

export const secretsPatch = z.looseObject({
  secrets: z.record(z.string(), z.looseObject({ text: z.string(), type: z.literal("secret_text") }).nullable()),
});

/** `PATCH /workers/workers/:name/versions/latest`, a merge patch. */
export const versionPatch = z.looseObject({
  env: z.record(z.string(), z.looseObject({ type: z.literal("secret_text"), text: z.string() }).nullable()).default({}),
  annotations: annotations.default({}),
});

export const subdomainBody = z.looseObject({ enabled: z.boolean(), previews_enabled: z.boolean().optional() });

export const assetManifest = z.looseObject({
  manifest: z.record(
    z.string(),
    z.looseObject({ hash: z.string().regex(/^[0-9a-f]{32}$/), size: z.number().int().min(0).max(limits.assetBytes) }),
  ),
});
