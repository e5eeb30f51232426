/** Names of the bindings that are a Worker's own namespaces: this and the name of the class. */
export const namespacePrefix = "__SOLUM_NS_";

/** Takes the namespaces that are not meant for the user out of `env`. Answers them by class. */
export function takeNamespaces(env: object): [className: string, namespace: unknown][] {
  const names = Object.keys(env).filter((name) => name.startsWith(namespacePrefix));
  // The last one first: taking the last property away keeps `env` a fast object.
  return names.toReversed().map((name) => {
    const namespace: unknown = Reflect.get(env, name);
    Reflect.deleteProperty(env, name);
    return [name.slice(namespacePrefix.length), namespace];
  });
}
