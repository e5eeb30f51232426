import type { RunnableVersion } from "#products/workers/runnable.ts";

/**
 * Name of the module that `entry.worker.ts` becomes, and of the generated one that workerd starts. An extension module must
 * be ASCII: workerd reads its bytes as Latin-1.
 */
export const entryLibrary = "solum:entry";
export const mainModule = "solum-main.js";

/** Entrypoint that answers probes, on the `probe` socket of a module Worker. */
export const probeEntrypoint = "__solum";

/**
 * The main module of a version in the modules format: the user's main module with every export wrapped. The library comes
 * first, so that it is evaluated before anything of the user's. What `exports` does not name (which would be a mistake of
 * the upload) still gets through, unwrapped. `aliases`: further names of its classes, which the entry hides from code.
 */
export function entryModule(
  version: Pick<RunnableVersion, "modules" | "exports">,
  aliases: readonly { className: string; alias: string }[] = [],
): string {
  const [main] = version.modules;
  if (!main) throw new Error("a version without modules has no entry module");
  const from = JSON.stringify(`./${main.name}`);
  const exports = version.exports.map((name, index) => ({ name: JSON.stringify(name), local: `e${index}` }));
  const again = aliases.flatMap(({ className, alias }) => {
    const at = version.exports.indexOf(className);
    return at < 0 ? [] : [`e${at} as ${alias}`];
  });
  return [
    `import { probe, wrapExport } from ${JSON.stringify(entryLibrary)};`,
    `import * as user from ${from};`,
    `export * from ${from};`,
    ...exports.map(({ name, local }) => `const ${local} = wrapExport(user[${name}], ${name});`),
    `export { ${[...exports.map(({ name, local }) => `${local} as ${name}`), ...again, `probe as ${probeEntrypoint}`].join(", ")} };`,
    "",
  ].join("\n");
}
