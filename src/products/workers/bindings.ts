import { isHexId, isUuid, newUuid } from "#core/ids.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { objectErrors } from "#products/durable-objects/errors.ts";
import type { NamedNamespace } from "#products/durable-objects/store.ts";
import type { OwnNamespace, ResolvedBinding } from "#products/workers/runnable.ts";
import { limits, type ApiBinding } from "#products/workers/schema.ts";
import { workflowErrors } from "#products/workflows/errors.ts";
import { workflowName, type Workflow } from "#products/workflows/schema.ts";

/** What an upload may bind, looked up in the products that hold it. Everything is of the account or does not exist. */
export interface Resources {
  hasKvNamespace(accountId: string, namespaceId: string): Promise<boolean>;
  findD1Host(accountId: string, databaseId: string): Promise<number | undefined>;
  findQueueId(accountId: string, name: string): Promise<string | undefined>;
  findBucketId(accountId: string, bucket: { name: string; jurisdiction?: string }): Promise<string | undefined>;
  hasWorker(accountId: string, name: string): Promise<boolean>;
  findVectorIndexId(accountId: string, name: string): Promise<string | undefined>;
  /** Every Workflow of the account. */
  listWorkflows(accountId: string): Promise<Workflow[]>;
  /** Every Durable Object namespace of the account. */
  listNamespaces(accountId: string): Promise<NamedNamespace[]>;
}

/** Cloudflare's binding types that Solum lacks (wrangler-api §3.5). A name that is not here is a mistake of the caller. */
const lacking = new Set(
  `hyperdrive analytics_engine ratelimit dispatch_namespace send_email
   secrets_store_secret secret_key mtls_certificate pipelines browser images worker_loader stream media analytics websearch
   logfwdr ai_search ai_search_namespace agent_memory artifacts vpc_service vpc_network flagship k2`.split(/\s+/),
);

type RawBinding = { name?: string | undefined; type?: string | undefined } & Record<string, unknown>;

export type BindingRequest = {
  accountId: string;
  scriptName: string;
  format: "modules" | "service-worker" | "assets-only";
  hasAssets: boolean;
  workerId: string;
  /** The Worker's, after the upload's migrations. */
  ownNamespaces: readonly OwnNamespace[];
  /** What the upload's code exports. */
  exported: readonly string[];
  /** Bindings of the upload. */
  wanted: readonly RawBinding[];
  /** Types of the previous version's bindings to keep; secrets are kept in any case. */
  keep: readonly string[];
  previous: readonly ApiBinding[];
  /** Blobs of a service worker by part name. */
  partHashes: ReadonlyMap<string, string>;
  unsupportedBindings: "refuse" | "stub";
};

export type BindingPlan = {
  api: ApiBinding[];
  resolved: ResolvedBinding[];
  /** Texts given with this upload. */
  newSecrets: Map<string, string>;
  /** Binding name → name under which the previous version holds the secret. */
  keptSecrets: Map<string, string>;
};

/** Checks and fixes what a version binds. Nothing is written. */
export async function planBindings(request: BindingRequest, resources: Resources): Promise<BindingPlan> {
  const plan: BindingPlan = { api: [], resolved: [], newSecrets: new Map(), keptSecrets: new Map() };
  const bindings = withKept(request, withInherited(request));
  checkNames(bindings);
  for (const binding of bindings) {
    const resolved = await resolve(request, binding, resources);
    plan.resolved.push(resolved);
    plan.api.push(readBack(binding, resolved));
    if (binding.type !== "secret_text") continue;
    if (binding.keptFrom === undefined) plan.newSecrets.set(binding.name, text(binding, "text"));
    else plan.keptSecrets.set(binding.name, binding.keptFrom);
  }
  return plan;
}

type Binding = ApiBinding & { keptFrom?: string };

/** Replaces `inherit` bindings by those of the previous version. */
function withInherited({ wanted, previous }: BindingRequest): Binding[] {
  const missing: string[] = [];
  const bindings = wanted.map((raw, index): Binding => {
    const { name, type } = raw;
    if (!name) throw workerErrors.bindingWithoutName(index);
    if (!type) throw workerErrors.invalidUpload(`binding ${name} has no type`);
    if (type !== "inherit") return { ...raw, name, type };
    const oldName = typeof raw["old_name"] === "string" ? raw["old_name"] : name;
    const found = previous.find((candidate) => candidate.name === oldName);
    if (!found) missing.push(name);
    return { ...found, name, type: found?.type ?? type, keptFrom: oldName };
  });
  if (missing.length > 0) throw workerErrors.inheritInvalid(missing);
  return bindings;
}

/** Adds what stays from the previous version. Secrets survive every deploy that does not redefine them (wrangler-api §3.9). */
function withKept({ keep, previous }: BindingRequest, bindings: Binding[]): Binding[] {
  const names = new Set(bindings.map(({ name }) => name));
  const kept = previous.filter(({ name, type }) => !names.has(name) && (type === "secret_text" || keep.includes(type)));
  return [...bindings, ...kept.map((binding) => ({ ...binding, keptFrom: binding.name }))];
}

function checkNames(bindings: readonly Binding[]): void {
  const seen = new Set<string>();
  for (const { name, type } of bindings) {
    if (seen.has(name))
      throw workerErrors.invalidUpload(
        `Binding name '${name}' already in use. Please use a different name and try again.`,
      );
    if (/^__SOLUM|[^\x20-\x7e\u00a0-\uffff]/.test(name) || name.length > 255)
      throw workerErrors.invalidUpload(`binding name ${JSON.stringify(name.slice(0, 255))} cannot be used`);
    if (type === "assets" && seen.has("\0assets"))
      throw workerErrors.invalidUpload("A Worker has at most one binding of type assets.");
    seen.add(type === "assets" ? "\0assets" : name);
    seen.add(name);
  }
  const variables = bindings.filter(({ type }) => type === "plain_text" || type === "json" || type === "secret_text");
  if (variables.length > limits.variables)
    throw workerErrors.invalidUpload(`A Worker has at most ${limits.variables} variables and secrets.`);
}

async function resolve(request: BindingRequest, binding: Binding, resources: Resources): Promise<ResolvedBinding> {
  const { name, type } = binding;
  const { accountId } = request;
  switch (type) {
    case "plain_text":
      return { name, type, text: bounded(binding, text(binding, "text")) };
    case "json":
      bounded(binding, JSON.stringify(binding["json"] ?? null));
      return { name, type, json: binding["json"] ?? null };
    case "secret_text":
      if (binding.keptFrom === undefined) bounded(binding, text(binding, "text"));
      return { name, type };
    case "kv_namespace": {
      const namespaceId = text(binding, "namespace_id");
      if (!isHexId(namespaceId)) throw workerErrors.kvInvalid(namespaceId);
      if (!(await resources.hasKvNamespace(accountId, namespaceId))) throw workerErrors.kvNotFound(namespaceId);
      return { name, type, namespaceId };
    }
    case "d1": {
      const databaseId = binding["id"] ?? binding["database_id"];
      if (typeof databaseId !== "string" || !isUuid(databaseId)) throw workerErrors.d1Invalid(name);
      const host = await resources.findD1Host(accountId, databaseId);
      if (host === undefined) throw workerErrors.d1NotFound(name, databaseId);
      return { name, type, databaseId, host };
    }
    case "r2_bucket": {
      const bucket = { name: text(binding, "bucket_name"), ...optionalText(binding, "jurisdiction") };
      const bucketId = await resources.findBucketId(accountId, bucket);
      if (bucketId === undefined) throw workerErrors.r2NotFound(bucket.name);
      return { name, type, bucketId };
    }
    case "queue": {
      const queue = text(binding, "queue_name");
      const queueId = await resources.findQueueId(accountId, queue);
      if (queueId === undefined) throw workerErrors.queueNotFound(queue);
      return { name, type, queueId };
    }
    case "vectorize": {
      const index = text(binding, "index_name");
      const indexId = await resources.findVectorIndexId(accountId, index);
      if (indexId === undefined) throw workerErrors.vectorIndexNotFound(name, index);
      return { name, type, indexId };
    }
    case "durable_object_namespace": {
      return resolveNamespace(request, binding, resources);
    }
    case "workflow":
      return resolveWorkflow(request, binding, resources);
    case "service":
      return resolveService(request, binding, resources);
    case "assets":
      if (!request.hasAssets)
        throw workerErrors.invalidUpload(`binding ${name} of type assets needs assets, and the upload has none`);
      return { name, type };
    case "version_metadata":
    case "ai":
      return { name, type };
    case "wasm_module":
    case "text_blob":
    case "data_blob": {
      const hash = request.partHashes.get(text(binding, "part"));
      if (request.format !== "service-worker")
        throw workerErrors.invalidUpload(
          `binding ${name} of type ${type} is for service workers; import a module instead`,
        );
      if (hash === undefined) throw workerErrors.invalidUpload(`binding ${name} names a part that was not uploaded`);
      return { name, type, hash };
    }
    default:
      if (!lacking.has(type)) throw workerErrors.unknownBinding(name, type);
      return lackingBinding(request, name, type);
  }
}

async function resolveNamespace(
  request: BindingRequest,
  binding: Binding,
  resources: Resources,
): Promise<ResolvedBinding> {
  const { name } = binding;
  const type = "durable_object_namespace";
  const className = text(binding, "class_name");
  const script = typeof binding["script_name"] === "string" ? binding["script_name"] : request.scriptName;
  if (script === request.scriptName) {
    const own = request.ownNamespaces.find((one) => one.className === className);
    if (own) return { name, type, ...own, owner: request.workerId };
    throw request.exported.includes(className)
      ? objectErrors.notConfigured(className)
      : objectErrors.notExported(className);
  }
  const others = await resources.listNamespaces(request.accountId);
  const found = others.find((one) => one.scriptName === script && one.className === className);
  if (found) return { name, type, namespaceId: found.id, className, sqlite: found.sqlite, owner: found.workerId };
  const isThere = await resources.hasWorker(request.accountId, script);
  throw isThere ? objectErrors.notConfigured(className) : objectErrors.scriptNotFound(script, className);
}

/** One that nobody has becomes this Worker's when the version is deployed; what another has stays there until it is taken (wrangler-api §3.7). */
async function resolveWorkflow(
  request: BindingRequest,
  binding: Binding,
  resources: Resources,
): Promise<ResolvedBinding> {
  const { name } = binding;
  const { accountId, scriptName, workerId } = request;
  const workflow = text(binding, "workflow_name");
  if (!workflowName.safeParse(workflow).success) throw workflowErrors.invalidName(workflow);
  const script = typeof binding["script_name"] === "string" ? binding["script_name"] : scriptName;
  const className =
    script === scriptName ? text(binding, "class_name") : (optionalText(binding, "class_name")["class_name"] ?? "");
  if (script === scriptName && !request.exported.includes(className))
    throw workflowErrors.classNotFound(scriptName, className);
  const found = (await resources.listWorkflows(accountId)).find((one) => one.name === workflow);
  const taken = found && { workflowId: found.id, owner: found.workerId };
  const own = { workflowId: taken?.workflowId ?? newUuid(), owner: workerId };
  const placed = script === scriptName && (!found || found.scriptName === scriptName) ? own : taken;
  return { name, type: "workflow", workflow, className, script, ...(placed ? { placed } : {}) };
}

async function resolveService(
  request: BindingRequest,
  binding: Binding,
  resources: Resources,
): Promise<ResolvedBinding> {
  const { name } = binding;
  const service = text(binding, "service");
  const known = service === request.scriptName || (await resources.hasWorker(request.accountId, service));
  if (!known) throw workerErrors.serviceTargetNotFound(name, service);
  const entrypoint = binding["entrypoint"] == null ? "default" : text(binding, "entrypoint");
  return {
    name,
    type: "service",
    service,
    ...(entrypoint === "default" ? {} : { entrypoint }),
    ...propsOf(binding),
  };
}

function lackingBinding({ unsupportedBindings }: BindingRequest, name: string, wanted: string): ResolvedBinding {
  if (unsupportedBindings === "refuse") throw workerErrors.unsupportedBinding(name, wanted);
  return { name, type: "unsupported", wanted };
}

/** What the API shows of a binding: as it came, without secrets and without our own marks. */
function readBack(binding: Binding, resolved: ResolvedBinding): ApiBinding {
  const { keptFrom: _kept, ...shown } = binding;
  if (binding.type === "secret_text") return { name: binding.name, type: binding.type };
  if (resolved.type === "durable_object_namespace") return { ...shown, namespace_id: resolved.namespaceId };
  if (resolved.type === "d1") return { ...shown, id: resolved.databaseId, database_id: resolved.databaseId };
  return shown;
}

function text(binding: Binding, member: string): string {
  const value = binding[member];
  if (typeof value !== "string" || value === "") {
    if (typeof value === "string" && member === "text") return value;
    throw workerErrors.invalidUpload(
      `binding ${binding.name} of type ${binding.type} must have a valid \`${member}\` specified`,
    );
  }
  return value;
}

function optionalText(binding: Binding, member: string): Record<string, string> {
  const value = binding[member];
  return typeof value === "string" && value !== "" ? { [member]: value } : {};
}

/** They travel with every call, so they are no larger than a variable may be. */
function propsOf(binding: Binding): { props?: object } {
  const props = binding["props"] ?? undefined;
  if (props === undefined) return {};
  if (typeof props !== "object" || Array.isArray(props))
    throw workerErrors.invalidUpload(
      `binding ${binding.name} of type ${binding.type} must have valid \`props\` specified: an object`,
    );
  bounded(binding, JSON.stringify(props));
  return { props };
}

function bounded(binding: Binding, value: string): string {
  if (Buffer.byteLength(value) > limits.variableBytes) {
    throw workerErrors.invalidUpload(`binding ${binding.name} is larger than ${limits.variableBytes} bytes`);
  }
  return value;
}
