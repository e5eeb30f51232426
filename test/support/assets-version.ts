import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { AssetsConfig } from "#products/workers/runnable.ts";
import { runVersion, type RunningVersion } from "./worker-version.ts";
import { temporaryFolder } from "./workerd.ts";

/** Runs a version with these files as assets; each file holds its own path. */
export async function runAssets(options: {
  files: readonly string[];
  config?: AssetsConfig;
  worker?: string;
  types?: Record<string, string>;
  date?: string;
  flags?: string[];
}): Promise<RunningVersion> {
  const tree = temporaryFolder();
  for (const file of options.files) {
    const path = join(tree.path, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, file);
  }
  const { worker } = options;
  const running = await runVersion(
    {
      format: worker === undefined ? "assets-only" : "modules",
      exports: worker === undefined ? [] : ["default"],
      modules: worker === undefined ? [] : [{ name: "index.js", source: worker }],
      bindings: worker === undefined ? [] : [{ name: "ASSETS", type: "assets" }],
      assets: { tree: "unused", config: options.config ?? {} },
      compatibilityDate: options.date ?? "2026-11-01",
      compatibilityFlags: options.flags ?? [],
    },
    { assetsFolder: () => tree.path, contentTypes: new Map(Object.entries(options.types ?? {})) },
  );
  return {
    ...running,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      tree[Symbol.dispose]();
    },
  };
}
