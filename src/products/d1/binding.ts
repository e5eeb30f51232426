import { externalService, type BindingPiece } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { capabilityKinds } from "#products/d1/host-protocol.ts";

/**
 * A D1 binding: workerd's own `D1Database` class over the sockets of the hosts, of which one has the database. Which one can
 * change while a version runs, so that it has them all; each lets it at this database only.
 */
export function d1Piece(options: {
  /** Of the binding: `env.<name>`. */
  name: string;
  databaseId: string;
  /** That has the database now. */
  host: number;
  /** How many there are. */
  hosts: number;
  workerId: string;
  socketOf: (host: number) => string;
  capabilityKey: Buffer;
}): BindingPiece {
  const { name, databaseId, host, hosts, workerId, socketOf, capabilityKey } = options;
  const capability = signCapability(capabilityKey, {
    kind: capabilityKinds.use,
    scope: workerId,
    resource: databaseId,
  });
  const services = Array.from({ length: Math.max(hosts, host + 1) }, (_, index) => `${name}:d1-${index}`);
  return {
    bindings: [
      {
        name,
        wrapped: {
          moduleName: bindingModule.name,
          innerBindings: [
            { name: "home", json: JSON.stringify(host) },
            ...services.map((service, index) => ({ name: `host${index}`, service })),
          ],
        },
      },
    ],
    services: services.map((service, index) => externalService({ name: service, socket: socketOf(index), capability })),
    modules: [bindingModule],
  };
}

const bindingModule = { name: "solum-internal:d1", script: "d1-binding" } as const;
