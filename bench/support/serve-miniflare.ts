import { readFileSync } from "node:fs";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";

/** Miniflare in a process of its own, with its state on disk: `node serve-miniflare.ts '{"script": FILE, "folder": DIR}'` prints its port. */
const { script, folder } = JSON.parse(process.argv[2] ?? "{}") as { script: string; folder: string };
const miniflare = new Miniflare(
  convertV4MiniflareOptions({
    modules: true,
    compatibilityDate: "2026-08-01",
    script: readFileSync(script, "utf8"),
    kvNamespaces: ["KV"],
    d1Databases: { DB: "bench" },
    r2Buckets: ["BUCKET"],
    kvPersist: `${folder}/kv`,
    d1Persist: `${folder}/d1`,
    r2Persist: `${folder}/r2`,
  }),
);
const url = await miniflare.ready;
console.log(url.port);
process.on("SIGTERM", () => void miniflare.dispose().then(() => process.exit(0)));
