import type { Reader } from "#db/schema.ts";
import { ownerOf } from "#products/durable-objects/store.ts";
import type { ResolvedBinding, RunnableVersion } from "#products/workers/runnable.ts";

/**
 * A version with its Durable Objects where they are now. Namespaces move to other Workers and are deleted after it was
 * uploaded; its bindings go where they went (https://developers.cloudflare.com/durable-objects/reference/durable-objects-migrations/).
 */
export function withObjectsPlaced(db: Reader, version: RunnableVersion): RunnableVersion {
  const { workerId, ownNamespaces, bindings } = version;
  if (ownNamespaces.length === 0 && !bindings.some(isNamespace)) return version;
  return {
    ...version,
    ownNamespaces: ownNamespaces.filter(({ namespaceId }) => ownerOf(db, namespaceId) === workerId),
    bindings: bindings.map((binding) =>
      isNamespace(binding) ? { ...binding, owner: ownerOf(db, binding.namespaceId) ?? binding.owner } : binding,
    ),
  };
}

/** Tells apart versions whose processes call the same objects in different places. Empty for one without objects. */
export function placesOf({ ownNamespaces, bindings }: RunnableVersion): string {
  const own = ownNamespaces.map(({ namespaceId }) => namespaceId);
  return [...own, ...bindings.filter(isNamespace).map(({ namespaceId, owner }) => `${namespaceId}@${owner}`)].join();
}

function isNamespace(binding: ResolvedBinding): binding is ResolvedBinding & { type: "durable_object_namespace" } {
  return binding.type === "durable_object_namespace";
}
