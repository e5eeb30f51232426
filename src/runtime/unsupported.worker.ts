/**
 * The value of a binding whose type Solum lacks (`unsupportedBindings = "stub"`): whatever a Worker does with it throws an
 * Error that names the type. Looking at it does not, for code that lists `env` must go on working.
 */
export default function unsupported(env: { about: { name: string; type: string } }): unknown {
  const { name, type } = env.about;
  // Not an arrow function: `new env.X()` must get this far.
  const fail = function (): never {
    throw new Error(`The binding "${name}" is of type "${type}", which this Solum does not support.`);
  };
  const quiet = new Set<PropertyKey>(["then", "toJSON", "constructor"]);
  return new Proxy(fail, {
    get: (_, key) => (typeof key === "symbol" || quiet.has(key) ? undefined : fail()),
    set: fail,
    apply: fail,
    construct: fail,
  });
}
