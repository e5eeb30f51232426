import { createHmac, timingSafeEqual } from "node:crypto";

/**
 * What a Worker's binding may touch. It travels as the header `x-bind` that workerd injects into every request of that
 * binding (a header of the same name from user code is replaced). `scope` is the id of the Worker that holds it.
 */
export type Capability = { scope: string; kind: string; resource: string };

/**
 * `kind:scope:resource:mac`. A process that holds one cannot make another: the MAC covers Worker, kind and resource, and
 * its key never enters a Worker's process. `resource` may contain any text but control characters.
 */
export function signCapability(key: Buffer, capability: Capability): string {
  const { kind, scope, resource } = capability;
  return `${kind}:${scope}:${encodeURIComponent(resource)}:${mac(key, capability)}`;
}

/** The capability that `token` carries, or undefined when it was not made with `key`. */
export function readCapability(key: Buffer, token: string): Capability | undefined {
  const parts = token.split(":");
  if (parts.length !== 4) return undefined;
  const [kind, scope, encoded, given] = parts as [string, string, string, string];
  let resource: string;
  try {
    resource = decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
  const capability = { kind, scope, resource };
  const wanted = Buffer.from(mac(key, capability));
  const got = Buffer.from(given);
  return wanted.length === got.length && timingSafeEqual(wanted, got) ? capability : undefined;
}

const tokensRemembered = 4096;

/** `readCapability` for one Worker's socket, remembering tokens: a binding sends the same few for ever. */
export function capabilityReader(
  key: Buffer,
  scope: string,
): (token: string | undefined, kind: string) => string | undefined {
  const known = new Map<string, Capability>();
  return (token, kind) => {
    if (token === undefined) return undefined;
    let capability = known.get(token);
    if (!capability) {
      capability = readCapability(key, token);
      if (!capability || capability.scope !== scope) return undefined;
      if (known.size >= tokensRemembered) known.clear();
      known.set(token, capability);
    }
    return capability.kind === kind ? capability.resource : undefined;
  };
}

function mac(key: Buffer, { kind, scope, resource }: Capability): string {
  return createHmac("sha256", key).update(`${kind}\n${scope}\n${resource}`).digest("base64url").slice(0, 32);
}
