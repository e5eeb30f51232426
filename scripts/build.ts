import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { rolldown } from "rolldown";

/**
 * Bundles what runs into `dist/`: the program and its threads for Node (one start reads a few files and no types), and
 * each `*.worker.ts` for workerd. `dist/build-id` names the result; processes of another build are replaced, not adopted.
 */
const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");
const workers = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter((file) =>
  file.endsWith(".worker.ts"),
);

rmSync(join(dist, "build-id"), { force: true });
await Promise.all([bundleForNode(), ...workers.map(bundleForWorkerd)]);
mkdirSync(dist, { recursive: true });
writeFileSync(join(dist, "build-id"), buildId());

async function bundleForNode(): Promise<void> {
  const bundle = await rolldown({
    cwd: root,
    input: { main: "src/main.ts", writer: "src/roles/writer.ts", hasher: "src/roles/hasher.ts" },
    platform: "node",
    external: [/^node:/, "es-module-lexer", "usearch"],
    logLevel: "warn",
  });
  await bundle.write({
    dir: dist,
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    minify: false,
  });
  await bundle.close();
}

async function bundleForWorkerd(file: string): Promise<void> {
  const bundle = await rolldown({
    cwd: root,
    input: join("src", file),
    platform: "neutral",
    external: [
      /^cloudflare(-internal)?:/,
      /^node(-internal)?:/,
      /^solum:/,
      /^\/workerd\//,
      /^\.\/(user|d1)\.js$/,
      "workerd-workflows",
    ],
    logLevel: "warn",
  });
  await bundle.write({
    file: join(dist, "workers", `${basename(file, ".worker.ts")}.js`),
    format: "esm",
  });
  await bundle.close();
}

function buildId(): string {
  const hash = createHash("sha256");
  const files = readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".js"));
  for (const file of files.toSorted()) hash.update(file).update(readFileSync(join(dist, file)));
  return hash.digest("hex").slice(0, 16);
}
