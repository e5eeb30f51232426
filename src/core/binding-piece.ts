import type { CapnpValue } from "#core/capnp-text.ts";
import type { WorkerScriptName } from "#core/entry.ts";

/** What one binding adds to the workerd configuration of a version. */
export type BindingPiece = {
  /** Members of the Worker's `bindings`. */
  bindings: CapnpValue[];
  /** Services of the process that those refer to; their names begin with the binding's own unique prefix. */
  services: CapnpValue[];
  /** Scripts of ours that wrapped bindings name. Several bindings can have the same. */
  modules?: readonly { name: string; script: WorkerScriptName }[];
};

/**
 * Header that carries a binding's capability on every request it makes. workerd injects it and thereby replaces one of the
 * same name from user code.
 */
export const bindHeader = "x-bind";

/** An HTTP service on a unix socket, whose every request carries `capability`. */
export function externalService(options: {
  name: string;
  socket: string;
  capability: string;
  http?: { [name: string]: CapnpValue };
}): CapnpValue {
  return {
    name: options.name,
    external: {
      address: `unix:${options.socket}`,
      http: { ...options.http, injectRequestHeaders: [{ name: bindHeader, value: options.capability }] },
    },
  };
}
