/** How a property path of an object is stood for by another one, in a front and in an owner (workerd-runtime §14). */

/** Names that workerd looks for on an instance once, to know which handlers there are. */
const handlerNames = new Set(
  "connect alarm tail trace scheduled test tailStream webSocketMessage webSocketClose webSocketError self ctx env".split(
    " ",
  ),
);

/** For one instance: whether a property that is read now is meant for the instance itself rather than for the object. */
export function localReads(): (property: string) => boolean {
  const read = new Set<string>();
  return (property) => {
    if (property === "then" || property === "constructor") return true;
    if (!handlerNames.has(property) || read.has(property)) return false;
    read.add(property);
    return true;
  };
}

/** What calling and reading a path means. */
export type RemoteUse = {
  call: (path: readonly string[], args: unknown[]) => Promise<unknown>;
  read: (path: readonly string[]) => Promise<unknown>;
};

/**
 * A path below an object: it can be called, awaited (which reads the property) and gone on from, as workerd does with a
 * property that it was asked for over RPC.
 */
export function remotePath(path: readonly string[], use: RemoteUse): unknown {
  return new Proxy(function () {}, {
    getPrototypeOf: () => Object.prototype,
    has: () => true,
    getOwnPropertyDescriptor: (_target, property) => ({
      value: typeof property === "string" ? remotePath([...path, property], use) : undefined,
      writable: true,
      enumerable: true,
      configurable: true,
    }),
    apply: (_target, _self, args: unknown[]) => use.call(path, args),
    get(_target, property): unknown {
      if (typeof property === "symbol") return undefined;
      if (property === "then")
        return (resolve: (value: unknown) => void, reject: (error: unknown) => void) => {
          use.read(path).then(resolve, reject);
        };
      return remotePath([...path, property], use);
    },
  });
}

/** Reads or calls what `path` names on a stub. */
export async function reach(stub: unknown, path: readonly string[], args?: unknown[]): Promise<unknown> {
  let at = stub as Record<string, unknown>;
  const last = path.length - 1;
  for (const name of path.slice(0, last)) at = at[name] as Record<string, unknown>;
  const name = path[last] ?? "";
  if (!args) return at[name];
  const method = at as Record<string, (...args: unknown[]) => unknown>;
  return method[name]?.(...args);
}
