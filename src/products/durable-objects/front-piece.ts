import { embed, type CapnpValue } from "#core/capnp-text.ts";
import type { WorkerScriptName } from "#core/entry.ts";
import { brokerService } from "#products/durable-objects/broker-protocol.ts";

/** A namespace that a version reaches, and who has its objects. */
export type ReachedNamespace = { namespaceId: string; sqlite: boolean; owner: string };

/** Where an owner process answers, and the service of the front that has it started. */
export type OwnerAddress = { owner: string; socket: string; wakeService: string };

type File = { name: string } & ({ script: WorkerScriptName } | { text: string });

/** Service of a front whose classes stand for objects that live elsewhere. */
const objectsService = "objects";

const proxyScript = "object-proxy.js";
const mainScript = "objects.js";
const compatibilityDate = "2026-11-01";

/**
 * The native namespaces of a front: same keys as in the owner, so that ids are the same, and classes of ours behind them that
 * pass every call on (workerd-runtime §14). The user's own code sees neither the debug port nor an address.
 */
export function frontObjects(
  namespaces: readonly ReachedNamespace[],
  owners: readonly OwnerAddress[],
): { services: CapnpValue[]; files: File[] } {
  const classes = namespaces.map(({ namespaceId, owner }) => {
    const index = owners.findIndex((one) => one.owner === owner);
    return `export const ${proxyClassOf(namespaceId)} = proxyFor(${JSON.stringify(namespaceId)}, ${index});`;
  });
  const text = [`import { proxyFor } from "./${proxyScript}";`, ...classes, ""].join("\n");
  const worker = {
    modules: [mainScript, proxyScript].map((name) => ({ name, esModule: embed(name) })),
    compatibilityDate,
    durableObjectNamespaces: namespaces.map(({ namespaceId, sqlite }) => ({
      className: proxyClassOf(namespaceId),
      uniqueKey: namespaceId,
      enableSql: sqlite,
    })),
    durableObjectStorage: { inMemory: null },
    bindings: [
      { name: "DEBUG", workerdDebugPort: null },
      ...owners.flatMap(({ socket, wakeService }, index) => [
        { name: `OWNER_${index}`, text: `unix:${socket}` },
        { name: `WAKE_${index}`, service: wakeService },
      ]),
    ],
  };
  return {
    services: [{ name: objectsService, worker }],
    files: [
      { name: mainScript, text },
      { name: proxyScript, script: "object-proxy" },
    ],
  };
}

/** The user's binding to a namespace of `frontObjects`. */
export function frontNamespaceBinding(name: string, namespaceId: string): CapnpValue {
  return { name, durableObjectNamespace: { className: proxyClassOf(namespaceId), serviceName: objectsService } };
}

function proxyClassOf(namespaceId: string): string {
  return `O${namespaceId}`;
}

/** A namespace whose objects an owner process has. */
export type OwnedNamespace = { namespaceId: string; className: string; sqlite: boolean };

/** What a Worker's Workflows add to its owner process; `worker`: members of the user's Worker. */
export type OwnedWorkflows = {
  worker: { [member: string]: CapnpValue };
  services: CapnpValue[];
  brokerBindings: CapnpValue[];
  files: File[];
};

type OwnerParts = { service: string; folder: string; brokerSocket: string; workflows: OwnedWorkflows };

/** Service of an owner process: the disk that its objects are on. */
export const objectsDisk = "objects-disk";

const brokerScript = "object-broker.js";

/**
 * What an owner process has besides the user's Worker `service`: that one's own namespaces on the disk at `folder`, and the
 * broker, which fronts reach through the process's debug port and the supervisor through `brokerSocket`.
 */
export function ownerObjects(
  namespaces: readonly OwnedNamespace[],
  { service, folder, brokerSocket, workflows }: OwnerParts,
): { worker: { [member: string]: CapnpValue }; services: CapnpValue[]; sockets: CapnpValue[]; files: File[] } {
  const broker = {
    modules: [{ name: brokerScript, esModule: embed(brokerScript) }],
    compatibilityDate,
    bindings: [
      ...namespaces.map(({ namespaceId, className }) => ({
        name: namespaceId,
        durableObjectNamespace: { className, serviceName: service },
      })),
      ...workflows.brokerBindings,
    ],
  };
  return {
    worker: {
      durableObjectNamespaces: namespaces.map(({ namespaceId, className, sqlite }) => ({
        className,
        uniqueKey: namespaceId,
        enableSql: sqlite,
      })),
      durableObjectStorage: { localDisk: objectsDisk },
      ...workflows.worker,
    },
    services: [
      ...workflows.services,
      { name: brokerService, worker: broker },
      { name: objectsDisk, disk: { path: folder, writable: true } },
    ],
    sockets: [{ name: brokerService, address: `unix:${brokerSocket}`, service: brokerService, http: {} }],
    files: [{ name: brokerScript, script: "object-broker" }, ...workflows.files],
  };
}
