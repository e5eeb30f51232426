import { readFileSync } from "node:fs";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { expect, test } from "vitest";
import { kvCases, type KvCases } from "../support/kv-worker.ts";

/**
 * The Worker that `binding.test.ts` runs on our store, here on miniflare: what it expects is what Cloudflare's own code does.
 * Where the two differ we follow the real service:
 * - miniflare decodes bulk values leniently and drops a byte order mark; Cloudflare refuses bytes that are no text
 *   (seen: `bulk get keys: 'At least one of the requested keys corresponds to a non-text value'`) and a single get keeps the mark.
 * - miniflare loses the key `__proto__` of a bulk get, stores an empty value when a stream fails, and takes any text as a cursor.
 */
const differences = [
  "bulk get keeps a byte order mark, as get does",
  "bulk get refuses bytes that are no text",
  "bulk get has no special keys",
  "put writes nothing when its stream fails",
  "list refuses a cursor that is none",
];

test("miniflare's KV does what ours does, but for known differences", async () => {
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      modules: true,
      script: readFileSync(kvCases, "utf8"),
      kvNamespaces: ["KV"],
      compatibilityDate: "2026-10-01",
    }),
  );
  try {
    const answer = await miniflare.dispatchFetch("http://localhost/");
    const { cases, problems } = (await answer.json()) as KvCases;
    expect(cases).toBeGreaterThan(25);
    expect(problems.map(({ name }) => name)).toEqual(differences);
  } finally {
    await miniflare.dispose();
  }
});
