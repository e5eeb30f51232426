import { hasPreviews } from "#products/workers/previews.ts";
import type { References } from "#products/workers/references.ts";
import type { Deployment, Version, Worker } from "#products/workers/schema.ts";

/** Workers, versions and deployments as the API writes them (wrangler-api §3.2, §6). */
export function versionJson(worker: Worker, version: Version) {
  const { runnable, extra, annotations } = version;
  return {
    id: version.id,
    number: version.number,
    metadata: {
      created_on: version.createdOn,
      modified_on: version.createdOn,
      source: version.source,
      author_id: "",
      author_email: version.authorEmail,
      has_preview: hasPreviews(worker),
    },
    annotations,
    resources: {
      bindings: version.bindings,
      script: {
        etag: version.etag,
        handlers: version.handlers,
        ...(version.namedHandlers.length > 0 ? { named_handlers: version.namedHandlers } : {}),
        last_deployed_from: version.source,
      },
      script_runtime: {
        compatibility_date: runnable.compatibilityDate,
        // An empty list would make `versions view` print a line for it.
        ...(runnable.compatibilityFlags.length > 0 ? { compatibility_flags: runnable.compatibilityFlags } : {}),
        usage_model: extra.usageModel,
        ...(extra.limits === undefined ? {} : { limits: extra.limits }),
      },
    },
    startup_time_ms: version.startupMs,
  };
}

export function deploymentJson(deployment: Deployment) {
  return {
    id: deployment.id,
    source: deployment.source,
    strategy: "percentage",
    author_email: deployment.authorEmail,
    created_on: deployment.createdOn,
    annotations: deployment.annotations,
    versions: deployment.versions.map(({ versionId, percentage }) => ({ version_id: versionId, percentage })),
  };
}

/** `script` of `GET /workers/services/:name`. */
export function serviceJson(worker: Worker) {
  return {
    id: worker.name,
    created_on: worker.createdOn,
    modified_on: worker.modifiedOn,
    default_environment: {
      environment: "production",
      created_on: worker.createdOn,
      modified_on: worker.modifiedOn,
      script: {
        id: worker.name,
        tag: worker.id,
        tags: worker.settings.tags ?? null,
        ...migrationTag(worker),
        last_deployed_from: worker.lastDeployedFrom,
        created_on: worker.createdOn,
        modified_on: worker.modifiedOn,
      },
    },
  };
}

export function scriptJson(worker: Worker) {
  return {
    id: worker.name,
    tag: worker.id,
    tags: worker.settings.tags ?? null,
    ...migrationTag(worker),
    created_on: worker.createdOn,
    modified_on: worker.modifiedOn,
  };
}

/** wrangler sends the migrations after this one. */
function migrationTag({ migrationTag: tag }: Worker): { migration_tag?: string } {
  return tag === undefined ? {} : { migration_tag: tag };
}

/** `GET …/settings`: what the latest version binds and how it runs. */
export function settingsJson(worker: Worker, version: Version | undefined) {
  return {
    ...scriptSettingsJson(worker),
    bindings: version?.bindings ?? [],
    ...(version
      ? {
          compatibility_date: version.runnable.compatibilityDate,
          compatibility_flags: version.runnable.compatibilityFlags,
          usage_model: version.extra.usageModel,
          ...(version.extra.limits === undefined ? {} : { limits: version.extra.limits }),
          ...(version.extra.placement === undefined ? {} : { placement: version.extra.placement }),
        }
      : {}),
  };
}

/** `GET /services/:name/environments/:environment`. */
export function environmentJson(worker: Worker, { runnable, extra }: Version) {
  const { default_environment: environment } = serviceJson(worker);
  return {
    ...environment,
    script: {
      ...environment.script,
      // wrangler writes these into a configuration, where null is a mistake.
      ...Object.fromEntries(Object.entries(worker.settings).filter(([, value]) => value !== null)),
      compatibility_date: runnable.compatibilityDate,
      compatibility_flags: runnable.compatibilityFlags,
      usage_model: extra.usageModel,
      ...(extra.limits === undefined ? {} : { limits: extra.limits }),
      ...placementMode(extra.placement),
      has_assets: runnable.assets !== undefined,
      has_modules: runnable.format === "modules",
    },
  };
}

/** `url`: where the Worker answers. `previewSuffix`: what follows the first eight digits of a version in its preview's host. */
export type WorkerAddress = { url: string; previewSuffix: string };

/** A Worker of the newer API, `/workers/workers`: its id is what never changes, its name is a name. */
export function workerJson(
  worker: Worker,
  { address, deployedOn }: { address: WorkerAddress; deployedOn: string | undefined },
) {
  return {
    id: worker.id,
    name: worker.name,
    created_on: worker.createdOn,
    updated_on: worker.modifiedOn,
    deployed_on: deployedOn ?? null,
    ...scriptSettingsJson(worker),
    tags: worker.settings.tags ?? [],
    tail_consumers: worker.settings.tail_consumers ?? [],
    subdomain: { ...subdomainJson(worker), url: address.url, preview_url_suffix: address.previewSuffix },
  };
}

export function subdomainJson(worker: Worker) {
  return { enabled: worker.subdomainEnabled, previews_enabled: worker.previewsEnabled };
}

export function referencesJson({ incoming, outgoing, objects }: References) {
  return {
    services: {
      incoming: incoming.map(({ worker, binding }) => ({
        name: binding,
        service: worker.name,
        environment: "production",
      })),
      outgoing: outgoing.map(({ service, binding }) => ({ name: binding, service, environment: "production" })),
      pages_function: false,
    },
    durable_objects: objects.map(({ worker, binding, namespaceId, className }) => ({
      name: binding,
      service: worker.name,
      environment: "production",
      durable_object_namespace_id: namespaceId,
      durable_object_namespace_name: className,
    })),
    dispatch_outbounds: [],
    queues: [],
  };
}

function placementMode(placement: unknown): { placement_mode?: string } {
  const mode = (placement as { mode?: unknown } | null | undefined)?.mode;
  return typeof mode === "string" ? { placement_mode: mode } : {};
}

export function scriptSettingsJson({ settings }: Worker) {
  return {
    logpush: settings.logpush ?? false,
    observability: settings.observability ?? null,
    tags: settings.tags ?? null,
    tail_consumers: settings.tail_consumers ?? null,
    streaming_tail_consumers: settings.streaming_tail_consumers ?? null,
  };
}
