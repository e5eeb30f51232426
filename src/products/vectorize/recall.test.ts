import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openDatabase, type Database } from "#db/database.ts";
import { graphFile } from "#products/vectorize/graph.ts";
import { Graphs } from "#products/vectorize/graphs.ts";
import { queryBody, type Metric, type NewVector, type VectorIndex } from "#products/vectorize/schema.ts";
import { scorings } from "#products/vectorize/score.ts";
import { vectorStore, type VectorStore } from "#products/vectorize/store.ts";

/**
 * What a query finds against what is truly nearest, on a set that is drawn anew in each run: a third in clusters, a third anywhere, and
 * a third nearly the same as another. VECTORS and DIMENSIONS make it larger, METRIC is another than cosine.
 */
const count = Number(process.env["VECTORS"] ?? 6000);
const dimensions = Number(process.env["DIMENSIONS"] ?? 48);
const metric = (process.env["METRIC"] ?? "cosine") as Metric;
const queries = 40;
const topK = 10;
const seed = Date.now() % 1_000_000;

let state = seed + 1;
const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
const normal = () => Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(2 * Math.PI * random());
const gaussian = (spread: number, around?: Float32Array) =>
  Float32Array.from({ length: dimensions }, (_, i) => (around?.[i] ?? 0) + spread * normal());

type Item = { id: string; values: Float32Array; group: number };
const centres = Array.from({ length: 30 }, () => gaussian(1));
const items: Item[] = [];
for (let i = 0; i < count; i++) {
  const kind = i % 3;
  const centre = centres[Math.floor(random() * centres.length)];
  const twin = items[Math.floor(random() * items.length)]?.values;
  const values = kind === 0 ? gaussian(0.3, centre) : kind === 1 ? gaussian(1) : gaussian(0.01, twin);
  items.push({ id: `v${i}`, values, group: i % 10 });
}
const asked = Array.from({ length: queries }, (_, i) => gaussian(0.5, items[(i * 151) % count]?.values));

const folder = mkdtempSync(join(tmpdir(), "solum-vectors-"));
const options = { folder: join(folder, "graphs"), memoryBytes: 1024 ** 3 };
let db: Database;
let graphs: Graphs;
let store: VectorStore;
let index: VectorIndex;

async function open(): Promise<void> {
  db = await openDatabase(join(folder, "vectors.db"), ["vectorize"]);
  graphs = new Graphs(db, options);
  store = vectorStore(db, graphs);
}
async function close(): Promise<void> {
  await graphs.stop();
  await db.close();
}
beforeAll(async () => {
  await open();
  index = await store.create({ accountId: "a", name: "set", description: "", dimensions, metric });
  await store.addMetadataIndex(index, { propertyName: "group", indexType: "number" });
  for (let at = 0; at < count; at += 1000)
    await store.put(index, items.slice(at, at + 1000).map(toNew), { replaces: false });
}, 120_000);
afterAll(async () => {
  await close();
  rmSync(folder, { recursive: true });
});

const toNew = ({ id, values, group }: Item): NewVector => ({
  id,
  namespace: "",
  metadata: JSON.stringify({ group }),
  values: new Uint8Array(values.buffer.slice(0)),
});

/** The share of the truly nearest that queries find, among items that `passes` lets through. */
async function recall(filter: object | undefined, passes: (item: Item) => boolean): Promise<number> {
  const current = (await store.list("a"))[0] ?? index;
  const { score, order } = scorings[metric];
  const candidates = items.filter(passes);
  let found = 0;
  for (const vector of asked) {
    const truth = candidates
      .map(({ id, values }) => ({ id, score: score(vector, values) }))
      .toSorted((a, b) => order(a.score, b.score))
      .slice(0, topK);
    const worst = truth.at(-1)?.score ?? 0;
    const matches = await store.query(current, queryBody.parse({ vector: [...vector], topK, filter }));
    const allowed = new Set(candidates.map(({ id }) => id));
    for (const { id } of matches) expect(allowed.has(id), `${id} does not pass (seed ${seed})`).toBe(true);
    // Of twins, either is as near.
    found += matches.filter((match) => order(match.score, worst) <= 1e-6).length;
  }
  return found / (queries * topK);
}

const few = { group: 3 };
const most = { group: { $lt: 9 } };
const gone = new Set<string>();
const all = async () => [
  await recall(undefined, ({ id }) => !gone.has(id)),
  await recall(few, ({ id, group }) => !gone.has(id) && group === 3),
  await recall(most, ({ id, group }) => !gone.has(id) && group < 9),
];
function expectGood([unfiltered = 0, selective = 0, broad = 0]: number[], when: string): void {
  process.stdout.write(
    `  recall@10 ${when}, seed ${seed}: ${[unfiltered, selective, broad].map((r) => r.toFixed(4)).join(", ")}\n`,
  );
  expect(unfiltered).toBeGreaterThanOrEqual(0.98);
  expect(selective).toBeGreaterThanOrEqual(0.95);
  expect(broad).toBeGreaterThanOrEqual(0.95);
}

test("queries find what is there before the graph has it, and by the graph", async () => {
  expectGood(await all(), "while the graph is made");
  await graphs.upToDate(index);
  expectGood(await all(), "by the graph");
}, 120_000);

test("what is deleted is found no more, and the rest is, also after a restart", async () => {
  for (const { id } of items) if (random() < 0.2) gone.add(id);
  const ids = [...gone];
  for (let at = 0; at < ids.length; at += 100) await store.deleteByIds(index, ids.slice(at, at + 100));
  expectGood(await all(), "after deletions");
  await close();
  await open();
  expectGood(await all(), "after a restart");
}, 120_000);

test("a replaced vector is found where it is now", async () => {
  const item = items.find(({ id }) => !gone.has(id));
  const [other] = asked;
  if (!item || !other) throw new Error("there is no item");
  item.values = other;
  await store.put(index, [toNew(item)], { replaces: true });
  const [match] = await store.query(index, queryBody.parse({ vector: [...other], topK: 1 }));
  // With the dot product another one may be longer.
  if (metric !== "dot-product") expect(match?.id).toBe(item.id);
});

test("a flipped byte in the graph's file is noticed, and the graph is made anew", async () => {
  await close();
  const file = graphFile(options.folder, index.id);
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff;
  writeFileSync(file, bytes);
  await open();
  expectGood(await all(), "while it is made anew");
  await graphs.upToDate(index);
  expectGood(await all(), "after that");
}, 120_000);
