import { readFileSync } from "node:fs";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";

/** Miniflare with a queue, in a process of its own: `node serve-miniflare-queue.ts '{"script": FILE}'` prints its port. */
const { script } = JSON.parse(process.argv[2] ?? "{}") as { script: string };
const miniflare = new Miniflare(
  convertV4MiniflareOptions({
    modules: true,
    compatibilityDate: "2026-08-01",
    script: readFileSync(script, "utf8"),
    queueProducers: { JOBS: "bench" },
    queueConsumers: { bench: { maxBatchSize: 100, maxBatchTimeout: 1 } },
  }),
);
const url = await miniflare.ready;
console.log(url.port);
process.on("SIGTERM", () => void miniflare.dispose().then(() => process.exit(0)));
