import { posix } from "node:path";
import { init, parse } from "es-module-lexer";
import type { UploadedModule } from "#products/workers/upload.ts";

/**
 * Names that the main module exports. `export * from` is followed into the other modules of the upload. A module that does
 * not parse has none: starting it will say what is wrong, in workerd's words.
 */
export async function exportsOf(modules: readonly UploadedModule[]): Promise<string[]> {
  await init();
  const [main] = modules;
  if (!main) return [];
  const byName = new Map(modules.map((module) => [module.name, module]));
  const names = new Set<string>();
  const seen = new Set<string>();
  const visit = (module: UploadedModule, isMain: boolean) => {
    if (seen.has(module.name) || module.type !== "esm") return;
    seen.add(module.name);
    const source = Buffer.from(module.bytes).toString("utf8");
    const parsed = tryParse(source);
    if (!parsed) return;
    for (const name of parsed.exports) if (isMain || name !== "default") names.add(name);
    for (const specifier of parsed.starred) {
      const target = byName.get(posix.normalize(posix.join(posix.dirname(module.name), specifier)));
      if (target) visit(target, false);
    }
  };
  visit(main, true);
  return [...names].toSorted();
}

function tryParse(source: string): { exports: string[]; starred: string[] } | undefined {
  try {
    const [, exports] = parse(source);
    return {
      exports: exports.flatMap((found) => (found.type === "reexport-all" ? [] : [found.name])),
      starred: exports.flatMap((found) => (found.type === "reexport-all" ? [found.from] : [])),
    };
  } catch {
    return undefined;
  }
}
