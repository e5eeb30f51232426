import { newHexId } from "#core/ids.ts";
import { objectErrors } from "#products/durable-objects/errors.ts";
import { limits, type Migrations, type MigrationStep, type ObjectNamespace } from "#products/durable-objects/schema.ts";

/** What an upload with migrations is looked at with. Nothing here is changed. */
export type MigrationRequest = {
  accountId: string;
  workerId: string;
  /** Namespaces that the Worker has now. */
  current: readonly ObjectNamespace[];
  /** Tag of the last migration that was applied to it. */
  currentTag: string | undefined;
  migrations: Migrations | undefined;
  /** What the upload's code exports. */
  exported: ReadonlySet<string>;
  /** Classes that the upload's own bindings name; a delete must not leave one behind. */
  bound: ReadonlySet<string>;
  /** A namespace of another Worker of the account. */
  findOther: (scriptName: string, className: string) => ObjectNamespace | undefined;
  now: string;
};

export type MigrationPlan = {
  /** All namespaces that the Worker has afterwards. */
  namespaces: ObjectNamespace[];
  /** Those among them that are new or have another class or Worker, and what they were. */
  changes: NamespaceChange[];
  /** Ids whose data goes. */
  deleted: string[];
  tag: string | undefined;
};

/** `from` is undefined for a new one. */
export type NamespaceChange = { from: ObjectNamespace | undefined; to: ObjectNamespace };

/** Plans the migrations of an upload, or throws what Cloudflare answers; a plan is applied wholly or not at all. */
export function planMigrations(request: MigrationRequest): MigrationPlan {
  const { migrations, currentTag, exported } = request;
  const state = new State(request);
  let tag = currentTag;
  if (migrations) {
    // Without an old tag the caller believes that nothing was ever applied.
    if ((migrations.old_tag ?? undefined) !== currentTag) throw objectErrors.tagMismatch(currentTag);
    for (const step of [migrations, ...(migrations.steps ?? [])]) state.apply(step);
    tag = migrations.new_tag ?? tag;
  }
  const { namespaces, deleted, created, changes } = state;
  for (const { id, className } of namespaces)
    if (!exported.has(className))
      throw created.has(id) ? objectErrors.newNotExported(className) : objectErrors.classGone(className);
  if (namespaces.length > limits.classes) throw objectErrors.tooManyClasses(limits.classes);
  return { namespaces, changes, deleted, tag };
}

/** Namespaces while steps are applied to them one after the other. */
class State {
  namespaces: ObjectNamespace[];
  readonly deleted: string[] = [];
  readonly created = new Set<string>();
  readonly #request: MigrationRequest;
  /** What exists of `namespaces`, as it is now. */
  readonly #before: Map<string, ObjectNamespace>;

  constructor(request: MigrationRequest) {
    this.#request = request;
    this.namespaces = [...request.current];
    this.#before = new Map(request.current.map((one) => [one.id, one]));
  }

  get changes(): NamespaceChange[] {
    return this.namespaces.flatMap((to) => {
      const from = this.#before.get(to.id);
      return from && from.workerId === to.workerId && from.className === to.className ? [] : [{ from, to }];
    });
  }

  apply(step: MigrationStep): void {
    refuseTwice(step);
    for (const name of step.new_classes ?? []) this.#create(name, false);
    for (const name of step.new_sqlite_classes ?? []) this.#create(name, true);
    for (const { from, to } of step.renamed_classes ?? []) this.#rename(from, to);
    for (const { from, from_script: script, to } of step.transferred_classes ?? []) this.#transfer(script, from, to);
    for (const name of step.deleted_classes ?? []) this.#delete(name);
  }

  #create(className: string, sqlite: boolean): void {
    this.#refuseTaken(className);
    const { accountId, workerId, now } = this.#request;
    const id = newHexId();
    this.created.add(id);
    this.namespaces.push({ id, accountId, workerId, className, sqlite, createdOn: now });
  }

  #rename(from: string, to: string): void {
    const found = this.#get("rename-class", from);
    this.#refuseTaken(to);
    this.namespaces = this.namespaces.map((one) => (one === found ? { ...one, className: to } : one));
  }

  #transfer(script: string, from: string, to: string): void {
    this.#refuseTaken(to);
    const found = this.#request.findOther(script, from);
    if (!found) throw objectErrors.noSuchClass("transfer-class", from);
    this.#before.set(found.id, found);
    this.namespaces.push({ ...found, workerId: this.#request.workerId, className: to });
  }

  #delete(className: string): void {
    const found = this.#get("delete-class", className);
    if (this.#request.bound.has(className)) throw objectErrors.deletedButBound(className);
    this.namespaces = this.namespaces.filter((one) => one !== found);
    // One that this very upload made has no data.
    if (this.created.has(found.id)) this.created.delete(found.id);
    else this.deleted.push(found.id);
  }

  #get(kind: string, className: string): ObjectNamespace {
    const found = this.namespaces.find((one) => one.className === className);
    if (!found) throw objectErrors.noSuchClass(kind, className);
    return found;
  }

  #refuseTaken(className: string): void {
    if (this.namespaces.some((one) => one.className === className)) throw objectErrors.alreadyThere(className);
  }
}

/** Within one step no class is the target of two migrations. */
function refuseTwice(step: MigrationStep): void {
  const targets = [
    ...(step.new_classes ?? []),
    ...(step.new_sqlite_classes ?? []),
    ...(step.deleted_classes ?? []),
    ...(step.renamed_classes ?? []).map(({ to }) => to),
    ...(step.transferred_classes ?? []).map(({ to }) => to),
  ];
  const seen = new Set<string>();
  for (const target of targets) {
    if (seen.has(target)) throw objectErrors.severalMigrations(target);
    seen.add(target);
  }
}
