import { join } from "node:path";
import { bindHeader } from "#core/binding-piece.ts";
import { capabilityReader } from "#core/capability.ts";
import { messageOf } from "#core/errors.ts";
import { createWireServer, type WireHandler } from "#http/wire/server.ts";
import { replacedText, trustHeader, wakePath } from "#products/durable-objects/broker-protocol.ts";
import { ownerCapability } from "#runtime/object-pieces.ts";
import type { Owners } from "#runtime/owners.ts";
import { serveEachWorker, type Listener } from "#runtime/worker-folders.ts";

type Doors = { workersFolder: string; capabilityKey: Buffer };

/** In each Worker's folder the socket at which its processes have owners started: of the Workers whose objects it binds, and no others. */
export async function serveOwnerDoors(owners: Owners, options: Doors): Promise<Listener> {
  return serveEachWorker(options.workersFolder, async (workerId, folder) => {
    const server = createWireServer(ownerDoor(workerId, owners, options));
    await server.listen(join(folder, "owner.sock"));
    return server;
  });
}

function ownerDoor(workerId: string, owners: Owners, { capabilityKey }: Doors): WireHandler {
  const ownerOf = capabilityReader(capabilityKey, workerId);
  return async (request) => {
    const owner = ownerOf(request.header(bindHeader), ownerCapability);
    if (owner === undefined) return { status: 403 };
    if (request.method !== "POST" || request.target !== wakePath) return { status: 404 };
    try {
      const replaced = await owners.wake(owner);
      return { status: 200, headers: { [trustHeader]: String(owners.trustMs) }, body: replaced ? replacedText : "" };
    } catch (error) {
      return { status: 503, body: messageOf(error) };
    }
  };
}
