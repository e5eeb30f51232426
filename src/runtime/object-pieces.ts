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

/** Workers whose objects a version can call: its own, bound or not, and those of the Workers that it binds. */
export function ownersOf({ workerId, ownNamespaces, bindings }: RunnableVersion): string[] {
  const bound = bindings.flatMap((binding) => (binding.type === "durable_object_namespace" ? [binding.owner] : []));
  return [...new Set([...(ownNamespaces.length > 0 ? [workerId] : []), ...bound])];
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
  if (namespaces.length === 0) return { services: [], files: [] };
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
  return { services: [...wakes, ...objects.services], files: objects.files };
}

function reachedOwn({ workerId: owner, ownNamespaces: own }: RunnableVersion): ReachedNamespace[] {
  return own.map(({ namespaceId, sqlite }) => ({ namespaceId, sqlite, owner }));
}

function reachedBy(binding: ResolvedBinding): ReachedNamespace[] {
  if (binding.type !== "durable_object_namespace") return [];
  const { namespaceId, sqlite, owner } = binding;
  return [{ namespaceId, sqlite, owner }];
}

/**
 * In a process that has not the Worker's objects: its own namespaces, for `ctx.exports`, which has nothing but the classes there.
 * The entry module takes them out of `env`.
 */
export function exportedNamespaces({ ownNamespaces: own }: RunnableVersion): CapnpValue[] {
  return own.map(({ className, namespaceId }) => frontNamespaceBinding(namespacePrefix + className, namespaceId));
}
