import { externalService, type BindingPiece } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { capabilityKinds } from "#products/d1/host-protocol.ts";

/** A D1 binding: workerd's own `D1Database` class over the socket of the host that has the database. */
export function d1Piece(options: {
  /** Of the binding: `env.<name>`. */
  name: string;
  databaseId: string;
  host: number;
  workerId: string;
  socket: string;
  capabilityKey: Buffer;
}): BindingPiece {
  const service = `${options.name}:d1-${options.host}`;
  const capability = signCapability(options.capabilityKey, {
    kind: capabilityKinds.use,
    scope: options.workerId,
    resource: options.databaseId,
  });
  return {
    bindings: [
      {
        name: options.name,
        wrapped: {
          moduleName: "cloudflare-internal:d1-api",
          innerBindings: [{ name: "fetcher", service }],
        },
      },
    ],
    services: [externalService({ name: service, socket: options.socket, capability })],
  };
}
