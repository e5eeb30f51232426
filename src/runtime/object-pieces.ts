import { externalService } from "#core/binding-piece.ts";
import { namespacePrefix } from "#runtime/entry/namespaces.ts";
import { signCapability } from "#core/capability.ts";
import type { CapnpValue } from "#core/capnp-text.ts";
import type { WorkerLayout } from "#core/layout.ts";
import {
  frontNamespaceBinding,
  frontObjects,
  type OwnerAddress,
  type ReachedNamespace,
} from "#products/durable-objects/front-piece.ts";
import { ownsObjects } from "#products/workers/places.ts";
import { workflowKey } from "#products/workflows/key.ts";
import { frontWorkflows, ownWorkflowBinding } from "#products/workflows/piece.ts";
import type { ResolvedBinding, RunnableVersion } from "#products/workers/runnable.ts";

/** Kind of the capability to have the process of another's objects, or one's own, started; the resource is its Worker's id. */
export const ownerCapability = "owner";

type NamespaceBinding = ResolvedBinding & { type: "durable_object_namespace" };

/** A namespace in `env`: native where its objects are, else one whose objects stand for those. */
export function namespaceBinding(binding: NamespaceBinding, version: RunnableVersion, isOwner: boolean): CapnpValue {
  const { name, namespaceId, owner } = binding;
  const own = version.ownNamespaces.find((one) => one.namespaceId === namespaceId);
  if (isOwner && own && owner === version.workerId) return { name, durableObjectNamespace: own.className };
  return frontNamespaceBinding(name, namespaceId);
}

/** Workers whose objects and Workflows a version can call: its own, bound or not, and those of the Workers that it binds. */
export function ownersOf(version: RunnableVersion): string[] {
  const bound = version.bindings.flatMap((binding) => {
    if (binding.type === "durable_object_namespace") return [binding.owner];
    return binding.type === "workflow" && binding.placed ? [binding.placed.owner] : [];
  });
  return [...new Set([...(ownsObjects(version) ? [version.workerId] : []), ...bound])];
}

type Options = {
  layout: WorkerLayout;
  capabilityKey: Buffer;
  /** Where a Worker's objects are called. */
  ownerSocket: (workerId: string) => string;
  /** Set for the process that has the Worker's own objects. */
  objects?: unknown;
};

/** What a process needs to call objects that live in another; nothing when there are none. */
export function reachedObjects(version: RunnableVersion, options: Options): ReturnType<typeof frontObjects> {
  const { workerId: scope } = version;
  const isElsewhere = ({ owner }: ReachedNamespace) => options.objects === undefined || owner !== scope;
  const all = [...reachedOwn(version), ...version.bindings.flatMap(reachedBy)].filter(isElsewhere);
  const namespaces = [...new Map(all.map((one) => [one.namespaceId, one])).values()];
  const workflows = proxiedWorkflows(version, options);
  if (namespaces.length === 0) return workflows;
  const owners = ownersOf(version).filter((owner) => namespaces.some((one) => one.owner === owner));
  const addresses = owners.map((owner): OwnerAddress => ({
    owner,
    socket: options.ownerSocket(owner),
    wakeService: `wake:${owner}`,
  }));
  const wakes = addresses.map(({ owner, wakeService }) =>
    externalService({
      name: wakeService,
      socket: options.layout.owner,
      capability: signCapability(options.capabilityKey, { scope, kind: ownerCapability, resource: owner }),
    }),
  );
  const objects = frontObjects(namespaces, addresses);
  return {
    services: [...wakes, ...objects.services, ...workflows.services],
    files: [...objects.files, ...workflows.files],
  };
}

/** For the Workflows that a process calls and has not; a binding to one that nobody has leads there as well, and fails. */
function proxiedWorkflows(version: RunnableVersion, { objects }: Options): ReturnType<typeof frontObjects> {
  const { workerId, ownWorkflows, bindings } = version;
  const bound = bindings.flatMap((binding) => (binding.type === "workflow" ? [binding] : []));
  const elsewhere = bound.filter(({ placed }) => objects === undefined || placed?.owner !== workerId);
  const own = objects === undefined ? ownWorkflows.map(({ workflowId }) => workflowId) : [];
  if (elsewhere.length === 0 && own.length === 0) return { services: [], files: [] };
  const ids = [...own, ...elsewhere.flatMap(({ placed }) => placed?.workflowId ?? [])];
  return frontWorkflows([...new Set(ids.map(workflowKey))]);
}

function reachedOwn({ workerId: owner, ownNamespaces, ownWorkflows }: RunnableVersion): ReachedNamespace[] {
  return [
    ...ownNamespaces.map(({ namespaceId, sqlite }) => ({ namespaceId, sqlite, owner })),
    ...ownWorkflows.map(({ workflowId }) => ({ namespaceId: workflowKey(workflowId), sqlite: false, owner })),
  ];
}

function reachedBy(binding: ResolvedBinding): ReachedNamespace[] {
  if (binding.type === "workflow" && binding.placed) {
    const { workflowId, owner } = binding.placed;
    return [{ namespaceId: workflowKey(workflowId), sqlite: false, owner }];
  }
  if (binding.type !== "durable_object_namespace") return [];
  const { namespaceId, sqlite, owner } = binding;
  return [{ namespaceId, sqlite, owner }];
}

/**
 * In a process that has not the Worker's objects: its own namespaces and Workflows, for `ctx.exports`, which has nothing but the
 * classes there. The entry module takes them out of `env`.
 */
export function exportedNamespaces({ ownNamespaces, ownWorkflows }: RunnableVersion): CapnpValue[] {
  return [
    ...ownNamespaces.map(({ className, namespaceId }) =>
      frontNamespaceBinding(namespacePrefix + className, namespaceId),
    ),
    ...ownWorkflows.map((workflow) => ownWorkflowBinding(namespacePrefix + workflow.className, workflow)),
  ];
}
