import { ApiError } from "#core/errors.ts";

/** Codes and texts as users report them from real uploads (workers-sdk issues 705, 1792, 8203, 10034; cloudflare-docs 32982). */
export const objectErrors = {
  notConfigured: (className: string) =>
    new ApiError(
      400,
      10061,
      `Cannot create binding for class '${className}' because it is not currently configured to implement Durable Objects. Ensure a --new-class migration has been applied to it.`,
    ),
  notExported: (className: string) =>
    new ApiError(400, 10061, `Cannot create binding for class '${className}' that is not exported by the script.`),
  /** The text is ours. */
  scriptNotFound: (script: string, className: string) =>
    new ApiError(
      400,
      10061,
      `Cannot create binding for class '${className}' because script '${script}' does not exist.`,
    ),
  deletedButBound: (className: string) =>
    new ApiError(
      400,
      10061,
      `Cannot apply --delete-class migration to class '${className}' without also removing the binding that references it.`,
    ),
  classGone: (className: string) =>
    new ApiError(
      400,
      10064,
      `New version of script does not export class '${className}' which is depended on by existing Durable Objects. If you want to delete these Durable Objects, use a delete-class migration.`,
    ),
  /** The text of `--new-class` of a class that the script does not export is ours. */
  newNotExported: (className: string) =>
    new ApiError(
      400,
      10070,
      `Cannot apply new-class migration to class '${className}' that is not exported by the script.`,
    ),
  alreadyThere: (className: string) =>
    new ApiError(
      400,
      10074,
      `Cannot apply new-class migration to class '${className}' that is already depended on by existing Durable Objects.`,
    ),
  tagMismatch: (current: string | undefined) =>
    new ApiError(
      400,
      10079,
      current === undefined
        ? "Migration tag precondition failed; the script has no migration tag"
        : `Migration tag precondition failed; current tag is ${current}`,
    ),
  /** Text as a client reports it (MapleTechLabs/maple 788). */
  severalMigrations: (className: string) =>
    new ApiError(400, 10021, `class '${className}' cannot be the target of more than one migration`),
  /** Code and text ours: which class a rename, deletion or transfer names that has no objects. */
  noSuchClass: (kind: string, className: string) =>
    new ApiError(
      400,
      10072,
      `Cannot apply ${kind} migration to class '${className}' that is not depended on by existing Durable Objects.`,
    ),
  /** Text and code of the real API for `wrangler versions upload` with a migration that is not applied yet. */
  notWithVersionUpload: () =>
    new ApiError(
      400,
      10211,
      'Version upload failed. You attempted to upload a version of a Worker that includes a Durable Object migration, but migrations must be fully applied by running "wrangler deploy". See https://developers.cloudflare.com/workers/configuration/versions-and-deployments/gradual-deployments/#gradual-deployments-for-durable-objects.',
    ),
  /** Between planning and committing another upload changed the same objects. The text is ours. */
  changedMeanwhile: (className: string) =>
    new ApiError(
      409,
      10079,
      `Migration precondition failed; the Durable Objects of class '${className}' were changed by another upload. Deploy again.`,
    ),
  /** A deployment of a version from the other side of a migration (workers/configuration/versions-and-deployments/rollbacks). */
  migrationBetween: (versionId: string) =>
    new ApiError(
      400,
      100140,
      `Version ${versionId} cannot be deployed: a Durable Object migration lies between it and the current one.`,
    ),
  namespaceNotFound: (id: string) => new ApiError(404, 10066, `Durable Object namespace ${id} not found.`),
  tooManyClasses: (max: number) => new ApiError(400, 10021, `A Worker has at most ${max} Durable Object classes.`),
};
