import { z } from "zod";

/** Wire shapes and limits of Durable Object namespaces. */
export const limits = {
  /** https://developers.cloudflare.com/durable-objects/platform/limits/: classes of an account with a paid plan; here of a Worker. */
  classes: 500,
} as const;

/** The objects of one class of one Worker. `owner`, `epoch` and `driver` say who has them and how, for when there are several machines. */
export type ObjectNamespace = {
  id: string;
  accountId: string;
  workerId: string;
  className: string;
  /** Backed by SQLite rather than by keys and values alone. Never changes. */
  sqlite: boolean;
  createdOn: string;
};

const classes = z.array(z.string().min(1)).max(limits.classes).nullish();
const renames = z.array(z.looseObject({ from: z.string().min(1), to: z.string().min(1) })).nullish();

const step = z.looseObject({
  new_classes: classes,
  new_sqlite_classes: classes,
  deleted_classes: classes,
  renamed_classes: renames,
  transferred_classes: z
    .array(z.looseObject({ from: z.string().min(1), from_script: z.string().min(1), to: z.string().min(1) }))
    .nullish(),
});

/** `metadata.migrations` of an upload: steps, or one step in the place of them (wrangler-api §3.4). */
export const migrations = step.extend({
  old_tag: z.string().nullish(),
  new_tag: z.string().nullish(),
  steps: z.array(step).max(1000).nullish(),
});

export type Migrations = z.infer<typeof migrations>;
export type MigrationStep = z.infer<typeof step>;
