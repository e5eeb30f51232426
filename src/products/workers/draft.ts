import { planMigrations, type MigrationPlan } from "#products/durable-objects/migrations.ts";
import { createHash } from "node:crypto";
import { newUuid } from "#core/ids.ts";
import { givenAnnotations } from "#products/workers/annotations.ts";
import type { AssetStore } from "#products/workers/assets.ts";
import { planBindings, type BindingPlan, type Resources } from "#products/workers/bindings.ts";
import type { Staged } from "#products/workers/blobs.ts";
import type { Deployer } from "#products/workers/deployer.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { exportsOf } from "#products/workers/module-exports.ts";
import type { RunnableVersion, VersionAssets, VersionModule } from "#products/workers/runnable.ts";
import type { Version, VersionExtra, Worker } from "#products/workers/schema.ts";
import type { Upload } from "#products/workers/upload.ts";

import { plannedWorkflows } from "#products/workflows/planned.ts";

type Parts = { assets: AssetStore; resources: Resources; deployer: Deployer; unsupportedBindings: "refuse" | "stub" };

/** Without a date a Worker behaves as on the day Workers got dates (https://developers.cloudflare.com/workers/configuration/compatibility-dates/). */
const oldestDate = "2021-11-02";

/** A version that is planned but not tried: what starting needs, and what the API will show. */
export type Draft = Pick<Version, "runnable" | "bindings" | "extra" | "etag" | "annotations"> &
  Pick<BindingPlan, "newSecrets" | "keptSecrets"> & {
    /** Of a version that was uploaded. */
    migrations?: MigrationPlan;
  };

/** Plans a version from an upload: everything is looked up and fixed, nothing is written but the staged files. */
export async function draftVersion(
  parts: Parts,
  {
    worker,
    previous,
    upload,
    staged,
    now,
    recentTrees,
  }: {
    worker: Worker;
    previous: Version | undefined;
    upload: Upload;
    staged: Staged;
    now: string;
    /** Sets of assets that pages still open may have come from, the newest first. */
    recentTrees: readonly string[];
  },
): Promise<Draft> {
  const { metadata, format } = upload;
  const annotations = givenAnnotations(metadata.annotations);
  const modules = upload.modules.map(({ name, type, bytes }, index): VersionModule => ({
    name,
    type,
    hash: staged.hashes[index] ?? "",
    sizeBytes: bytes.length,
  }));
  const partHashes = new Map(
    [...upload.parts.keys()].map((name, index) => [name, staged.hashes[modules.length + index] ?? ""]),
  );
  const assets = await assetsOf(parts, worker, { upload, previous, recentTrees });
  const exported = format === "modules" ? await exportsOf(upload.modules) : [];
  const migrations = await migrationsOf(parts.resources, worker, { upload, exported, now });
  const ownNamespaces = migrations.namespaces.map(({ id: namespaceId, className, sqlite }) => ({
    namespaceId,
    className,
    sqlite,
  }));
  const plan = await planBindings(
    {
      accountId: worker.accountId,
      scriptName: worker.name,
      format,
      hasAssets: assets !== undefined,
      workerId: worker.id,
      ownNamespaces,
      exported,
      wanted: metadata.bindings,
      keep: metadata.keep_bindings,
      previous: previous?.bindings ?? [],
      partHashes,
      unsupportedBindings: parts.unsupportedBindings,
    },
    parts.resources,
  );
  const runnable: RunnableVersion = {
    accountId: worker.accountId,
    workerId: worker.id,
    scriptName: worker.name,
    versionId: newUuid(),
    versionTag: annotations["workers/tag"] ?? "",
    createdOn: now,
    format,
    modules,
    exports: exported,
    compatibilityDate: metadata.compatibility_date ?? oldestDate,
    compatibilityFlags: metadata.compatibility_flags,
    bindings: plan.resolved,
    assets,
    ownNamespaces,
    ownWorkflows: plannedWorkflows(await parts.resources.listWorkflows(worker.accountId), {
      workerId: worker.id,
      scriptName: worker.name,
      exported,
      bindings: plan.resolved.filter((binding) => binding.type === "workflow"),
    }),
  };
  return {
    runnable,
    bindings: plan.api,
    extra: extraOf(upload, staged.hashes.slice(modules.length + partHashes.size)),
    etag: etagOf(modules, assets),
    annotations,
    newSecrets: plan.newSecrets,
    keptSecrets: plan.keptSecrets,
    migrations,
  };
}

/** `mapHashes`: blobs of the upload's source maps, in their order. */
function extraOf({ metadata, sourceMaps }: Upload, mapHashes: readonly string[]): VersionExtra {
  return {
    usageModel: metadata.usage_model,
    limits: metadata.limits,
    placement: metadata.placement,
    sourceMaps: sourceMaps.map(({ name, bytes }, index) => ({
      name,
      hash: mapHashes[index] ?? "",
      sizeBytes: bytes.length,
    })),
  };
}

async function assetsOf(
  parts: Parts,
  worker: Worker,
  { upload, previous, recentTrees }: { upload: Upload; previous: Version | undefined; recentTrees: readonly string[] },
): Promise<VersionAssets | undefined> {
  const { metadata } = upload;
  const kept = previous?.runnable.assets;
  if (metadata.assets?.jwt !== undefined) {
    const owner = { accountId: worker.accountId, scriptName: worker.name };
    const tree = await parts.assets.finish(metadata.assets.jwt, owner, recentTrees);
    return { tree, config: metadata.assets.config };
  }
  if (metadata.keep_assets && kept) return metadata.assets ? { tree: kept.tree, config: metadata.assets.config } : kept;
  if (metadata.assets)
    throw workerErrors.invalidUpload("metadata.assets.jwt is missing: finish an assets upload session first");
  return undefined;
}

/** What an upload's migrations do to the Worker's Durable Objects. */
async function migrationsOf(
  resources: Resources,
  { accountId, id: workerId, name, migrationTag: currentTag }: Worker,
  { upload, exported, now }: { upload: Upload; exported: readonly string[]; now: string },
): Promise<MigrationPlan> {
  const { migrations, bindings } = upload.metadata;
  const all = await resources.listNamespaces(accountId);
  const own = bindings.filter(
    ({ type, script_name: script }) => type === "durable_object_namespace" && (script == null || script === name),
  );
  return planMigrations({
    accountId,
    workerId,
    current: all.filter((one) => one.workerId === workerId),
    currentTag,
    migrations: migrations ?? undefined,
    exported: new Set(exported),
    bound: new Set(own.map(({ class_name: className }) => String(className))),
    findOther: (script, className) => all.find((one) => one.scriptName === script && one.className === className),
    now,
  });
}

/** Refuses what Solum cannot run, and dates and flags that workerd would not take. */
export async function refuseUnsupported({ metadata, modules }: Upload, parts: Parts): Promise<void> {
  const strict = parts.unsupportedBindings === "refuse";
  if (strict && metadata.exports && Object.keys(metadata.exports).length > 0)
    throw workerErrors.unsupported("Declaring exports (Durable Objects)");
  if (strict && metadata.containers && metadata.containers.length > 0) throw workerErrors.unsupported("A container");
  if (metadata.compatibility_flags.includes("python_workers"))
    throw workerErrors.unsupported("The compatibility flag python_workers");
  // An assets-only Worker may leave its date out; workerd then needs none either.
  if (modules.length === 0 && metadata.compatibility_date === undefined) return;
  const refusal = await parts.deployer.refusesCompatibility(
    metadata.compatibility_date ?? oldestDate,
    metadata.compatibility_flags,
  );
  if (refusal !== undefined) throw workerErrors.invalidUpload(refusal);
}

/** Plans a version that differs from `latest` only in its secrets. */
export function withSecrets(latest: Version, changes: Record<string, string | null>, now: string): Draft {
  const names = Object.keys(changes);
  for (const name of names) {
    const existing = latest.bindings.find((binding) => binding.name === name);
    if (existing && existing.type !== "secret_text")
      throw workerErrors.invalidUpload(
        `Binding name '${name}' already in use. Please use a different name and try again.`,
      );
    if (!existing && changes[name] === null) throw workerErrors.secretNotFound(name);
  }
  const set = names.filter((name) => changes[name] !== null);
  const others = latest.bindings.filter(({ name }) => !names.includes(name));
  const { runnable } = latest;
  return {
    runnable: {
      ...runnable,
      versionId: newUuid(),
      versionTag: "",
      createdOn: now,
      bindings: [
        ...runnable.bindings.filter(({ name }) => !names.includes(name)),
        ...set.map((name) => ({ name, type: "secret_text" as const })),
      ],
    },
    bindings: [...others, ...set.map((name) => ({ name, type: "secret_text" }))],
    extra: latest.extra,
    etag: latest.etag,
    annotations: {},
    newSecrets: new Map(set.map((name) => [name, changes[name] ?? ""])),
    keptSecrets: new Map(others.filter(({ type }) => type === "secret_text").map(({ name }) => [name, name])),
  };
}

function etagOf(modules: readonly VersionModule[], assets: VersionAssets | undefined): string {
  const hash = createHash("sha256");
  for (const { name, hash: content } of modules) hash.update(`${name}\n${content}\n`);
  return hash.update(assets?.tree ?? "").digest("hex");
}
