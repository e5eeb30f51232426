import { writeFileSync } from "node:fs";
import { join } from "node:path";
import Cloudflare from "cloudflare";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Solum } from "../support/start-solum.ts";

/** Vectorize by every command of wrangler, by the official SDK and by the binding (wrangler-api §9, workerd-runtime §1). */
let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start();
});
afterAll(() => solum[Symbol.asyncDispose]());

const run = async (...args: string[]) => {
  const outcome = await solum.wrangler(solum.project("hello"), ["vectorize", ...args]);
  expect(outcome.code, `${args.join(" ")}\n${outcome.output}`).toBe(0);
  return outcome.output;
};
const fails = async (...args: string[]) => {
  const outcome = await solum.wrangler(solum.project("hello"), ["vectorize", ...args]);
  expect(outcome.code, outcome.output).not.toBe(0);
  return outcome.output;
};
/** The JSON that a command with `--json`, or one that always does, prints. */
const printed = (output: string) => JSON.parse(output.slice(output.search(/[[{]\s*["{\n]/))) as unknown;

test("wrangler's fourteen commands", async () => {
  expect(await run("create", "films", "--dimensions", "3", "--metric", "cosine")).toMatch(/Successfully created/);
  expect(await run("create", "preset", "--preset", "@cf/baai/bge-small-en-v1.5")).toMatch(/Successfully created/);
  expect(printed(await run("list", "--json"))).toMatchObject([
    { name: "films", config: { dimensions: 3, metric: "cosine" } },
    { name: "preset", config: { dimensions: 384, metric: "cosine" } },
  ]);
  expect(printed(await run("get", "films", "--json"))).toMatchObject({ name: "films" });
  expect(await fails("create", "films", "--dimensions", "3", "--metric", "cosine")).toMatch(/duplicate_name.*3002/s);
  expect(await fails("get", "nothing")).toMatch(/vectorize.index.not_found.*3000/s);

  expect(await run("create-metadata-index", "films", "--propertyName", "year", "--type", "number")).toMatch(/Mutation/);
  expect(await run("list-metadata-index", "films")).toMatch(/year.*Number/s);
  const folder = solum.project("hello");
  const lines = [
    { id: "a", values: [1, 0, 0], metadata: { year: 1999, title: "A" } },
    { id: "b", values: [0, 1, 0], metadata: { year: 2005, title: "B" } },
    { id: "c", values: [0.9, 0.1, 0], metadata: { year: 2010, title: "C" }, namespace: "new" },
  ];
  writeFileSync(join(folder, "v.ndjson"), lines.map((line) => JSON.stringify(line)).join("\n"));
  const insert = await solum.wrangler(folder, ["vectorize", "insert", "films", "--file", "v.ndjson"]);
  expect(insert.output).toMatch(/Enqueued 3 vectors/);
  const again = await solum.wrangler(folder, ["vectorize", "upsert", "films", "--file", "v.ndjson"]);
  expect(again.output).toMatch(/Enqueued 3 vectors/);
  expect(await run("info", "films")).toMatch(/3\s*│\s*3/);

  const query = async (...more: string[]) =>
    printed(await run("query", "films", "--vector", "1", "0", "0", ...more)) as { matches: object[] };
  expect(await query("--top-k", "2")).toMatchObject({ count: 2, matches: [{ id: "a", score: 1 }, { id: "c" }] });
  expect((await query("--namespace", "new")).matches).toEqual([
    { id: "c", score: expect.closeTo(0.9939, 3), namespace: "new" },
  ]);
  expect(await query("--filter", '{"year":{"$gt":2000,"$lt":2010}}', "--return-metadata", "all")).toMatchObject({
    count: 1,
    matches: [{ id: "b", metadata: { year: 2005, title: "B" } }],
  });
  expect(await run("get-vectors", "films", "--ids", "b")).toMatch(/"title": "B"/);
  expect(await run("list-vectors", "films", "--count", "2")).toMatch(/a.*b/s);
  expect(await run("delete-vectors", "films", "--ids", "a", "b")).toMatch(/2 vectors.*deletion/);
  expect(await query()).toMatchObject({ count: 1, matches: [{ id: "c" }] });
  expect(await run("delete-metadata-index", "films", "--propertyName", "year")).toMatch(/Mutation/);
  await run("delete", "preset", "--force");
  expect(printed(await run("list", "--json"))).toMatchObject([{ name: "films" }]);
}, 120_000);

test("the official SDK makes an index, fills it and asks it", async () => {
  const client = new Cloudflare({
    apiToken: solum.environment["CLOUDFLARE_API_TOKEN"] ?? "",
    baseURL: solum.environment["CLOUDFLARE_API_BASE_URL"] ?? "",
  });
  const account = { account_id: solum.environment["CLOUDFLARE_ACCOUNT_ID"] ?? "" };
  const { indexes } = client.vectorize;
  await indexes.create({ ...account, name: "sdk", config: { dimensions: 2, metric: "euclidean" } });
  const body = ['{"id":"1","values":[3,4]}', '{"id":"2","values":[0,1],"metadata":{"on":true}}'].join("\n");
  const inserted = await indexes.insert("sdk", { ...account, body: new File([body], "vectors.ndjson") });
  expect(inserted?.mutationId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);
  const answer = await indexes.query("sdk", { ...account, vector: [0, 0], topK: 5, returnValues: true });
  expect(answer?.matches).toEqual([
    { id: "2", score: 1, values: [0, 1] },
    { id: "1", score: 5, values: [3, 4] },
  ]);
  expect(await indexes.info("sdk", account)).toMatchObject({ vectorCount: 2, dimensions: 2 });
  const removed = await indexes.deleteByIDs("sdk", { ...account, ids: ["1", "no"] });
  expect((removed?.mutationId ?? "") > (inserted?.mutationId ?? "")).toBe(true);
  await indexes.delete("sdk", account);
});

/** Each path tells what the binding answers or throws. */
const worker = `
const thrown = async (f) => { try { return await f(); } catch (e) { return String(e.message); } };
const vector = (id, values, more) => ({ id, values, ...more });
export default {
  async fetch(request, { V }) {
    const answers = {
      empty: await V.describe(),
      insert: typeof (await V.insert([
        vector("1", [1, 0], { metadata: { kind: "x", deep: { on: true }, n: 1 }, namespace: "first" }),
        vector("2", new Float32Array([0, 1]), { metadata: { kind: "y", n: 2 } }),
      ])).mutationId,
      twice: await V.insert([vector("1", [0, 1]), vector("3", [0.6, 0.8])]).then(() => V.getByIds(["1", "3", "9"])),
      query: await V.query([1, 0]),
      byId: (await V.queryById("2", { topK: 1, returnValues: true, returnMetadata: "all" })).matches,
      upsert: await V.upsert([vector("3", [-1, 0])]).then(() => V.query([1, 0], { topK: 1, returnMetadata: true })),
      namespace: (await V.query([0, 1], { namespace: "first" })).matches.map(({ id }) => id),
      deleted: await V.deleteByIds(["2"]).then(() => V.query([0, 1])).then(({ matches }) => matches.map(({ id }) => id)),
      dimensions: await thrown(() => V.query([1, 2, 3])),
      wrong: await thrown(() => V.insert([vector("4", [1])])),
      nan: await thrown(() => V.insert([vector("4", [1, NaN])])),
      topK: await thrown(() => V.query([1, 0], { topK: 101 })),
      topKWithMore: await thrown(() => V.query([1, 0], { topK: 51, returnValues: true })),
      many: await thrown(() => V.insert(Array.from({ length: 1001 }, (_, i) => vector("m" + i, [1, 0])))),
      longId: await thrown(() => V.insert([vector("i".repeat(65), [1, 0])])),
      filter: await thrown(() => V.query([1, 0], { filter: { kind: { $like: "x" } } })),
      missing: await thrown(() => V.queryById("nobody")),
      count: (await V.describe()).vectorCount,
    };
    return Response.json(answers);
  },
};`;

test("the binding, from a Worker that wrangler deployed", async () => {
  await run("create", "bound", "--dimensions", "2", "--metric", "cosine");
  const folder = solum.project("hello");
  writeFileSync(join(folder, "index.js"), worker);
  const config = { name: "vectors", main: "index.js", compatibility_date: "2026-11-01" };
  const deploy = async (index: string) => {
    const vectorize = [{ binding: "V", index_name: index }];
    writeFileSync(join(folder, "wrangler.jsonc"), JSON.stringify({ ...config, vectorize }));
    return solum.wrangler(folder, ["deploy"]);
  };
  expect((await deploy("nothing")).output).toMatch(/references index 'nothing' which was not found/);
  expect((await deploy("bound")).code).toBe(0);
  const { text, status } = await solum.request("vectors.localhost", "/");
  expect(status, text).toBe(200);
  expect(JSON.parse(text)).toEqual({
    empty: { dimensions: 2, vectorCount: 0, processedUpToDatetime: null, processedUpToMutation: null },
    insert: "string",
    twice: [
      { id: "1", namespace: "first", values: [1, 0], metadata: { kind: "x", deep: { on: true }, n: 1 } },
      { id: "3", values: [expect.closeTo(0.6), expect.closeTo(0.8)] },
    ],
    query: {
      count: 3,
      matches: [
        { id: "1", score: 1, namespace: "first" },
        { id: "3", score: expect.closeTo(0.6) },
        { id: "2", score: 0 },
      ],
    },
    byId: [{ id: "2", score: 1, values: [0, 1], metadata: { kind: "y", n: 2 } }],
    upsert: {
      count: 1,
      matches: [{ id: "1", score: 1, namespace: "first", metadata: { kind: "x", deep: { on: true }, n: 1 } }],
    },
    namespace: ["1"],
    deleted: ["1", "3"],
    dimensions: "VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 2 dimensions, and got 3 dimensions",
    wrong: 'VECTOR_INSERT_ERROR (code = 40012): invalid vector for id="4", expected 2 dimensions, and got 1 dimensions',
    nan: expect.stringMatching(/^VECTOR_INSERT_ERROR \(code = 40008\): invalid vector in line 1/),
    topK: "VECTOR_QUERY_ERROR (code = 40005): invalid query: topK must be at most 100, got 101",
    topKWithMore:
      "VECTOR_QUERY_ERROR (code = 40025): with returnValues=true or returnMetadata=all, max top K is 50, but got 51; for a top K up to 100, retry with returnValues=false and returnMetadata=indexed",
    many: "VECTOR_INSERT_ERROR (code = 40007): too many vectors: an insert has at most 1000",
    longId: "VECTOR_INSERT_ERROR (code = 40008): id too long; max is 64 bytes, got 65 bytes",
    filter: expect.stringMatching(/^VECTOR_QUERY_ERROR/),
    missing: 'VECTOR_QUERY_ERROR (code = 40025): vector with id "nobody" was not found',
    count: 2,
  });
});

test("what was answered is still there after kill -9 of the process", async () => {
  const { pid } = (await solum.status()).services.find(({ name }) => name === "vectors") ?? {};
  if (pid === undefined) throw new Error("the process does not run");
  process.kill(pid, "SIGKILL");
  expect(await run("info", "bound")).toMatch(/2\s*│\s*2/);
  expect(printed(await run("query", "bound", "--vector", "1", "0"))).toMatchObject({
    matches: [{ id: "1" }, { id: "3" }],
  });
});
