import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeProvider, json, openai, words } from "../support/fake-provider.ts";
import { Solum } from "../support/start-solum.ts";

/** workerd's own AI binding, in a Worker that wrangler deployed. Shapes: workerd's `internal/test/ai` and `internal/test/aig`. */
let provider: FakeProvider;
let solum: Solum;

beforeAll(async () => {
  const answers = openai();
  provider = await FakeProvider.listen((request, response) =>
    request.json["model"] === "refused"
      ? json(response, { error: { message: "No such model", type: "invalid_request_error" } }, 404)
      : answers(request, response),
  );
  solum = await Solum.start("--ai-providers", `openai=${provider.url}`);
  const outcome = await solum.wrangler(solum.project("ai"), ["deploy"]);
  expect(outcome.code, outcome.output).toBe(0);
  await solum.api("POST", "/ai-gateway/gateways", {
    id: "bound",
    cache_invalidate_on_update: false,
    cache_ttl: 0,
    collect_logs: true,
    rate_limiting_interval: 0,
    rate_limiting_limit: 0,
  });
});

afterAll(async () => {
  await solum[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
});

const ask = async (path: string) => {
  const answer = await solum.request("ai.localhost", path);
  expect(answer.status, answer.text).toBe(200);
  return answer;
};

test("gateway().run, getLog and patchLog", async () => {
  const told = JSON.parse((await ask("/universal")).text) as Record<string, unknown>;
  expect(told).toMatchObject({
    body: { choices: [{ message: { content: words.join("") } }] },
    isDate: true,
    log: {
      provider: "openai",
      model: "gpt-4o-mini",
      tokens_in: 100,
      tokens_out: 20,
      cost: 0.000_024,
      event_id: "event-1",
      metadata: { feature: "from-a-worker", paid: true },
      worker_id: expect.stringMatching(/^[0-9a-f]{32}$/) as unknown,
    },
    after: { feedback: -1, score: 40, metadata: { feature: "from-a-worker", reviewed: "yes" } },
  });
  expect(provider.last.headers).toMatchObject({ authorization: "Bearer sk-worker", "x-count": "3" });
  expect(Object.keys(provider.last.headers).filter((name) => /^(cf-|x-bind)/.test(name))).toEqual([]);
});

test("run() of another provider's model, whole and as a stream", async () => {
  const told = JSON.parse((await ask("/run")).text) as { id: string };
  expect(told).toMatchObject({ answer: { choices: [{ message: { content: words.join("") } }] } });
  expect(told.id).toMatch(/^[0-9a-f-]{36}$/);
  expect((await ask("/stream")).text).toContain("data: [DONE]");
});

test("an SDK inside a Worker works with the address of getUrl()", async () => {
  const account = solum.environment["CLOUDFLARE_ACCOUNT_ID"];
  expect(JSON.parse((await ask("/sdk")).text)).toEqual({
    baseURL: `http://gateway.localhost:${solum.port}/v1/${account}/bound/openai`,
    universal: `http://gateway.localhost:${solum.port}/v1/${account}/bound`,
    text: words.join(""),
  });
  expect(provider.last.headers.authorization).toBe("Bearer sk-inside");
});

test("errors have the binding's classes, and say what is wrong", async () => {
  const told = JSON.parse((await ask("/errors")).text) as Record<string, string>;
  expect(told).toMatchObject({
    log: "AiGatewayLogNotFound: Log not found",
    patch: "AiGatewayLogNotFound: Log not found",
    model: expect.stringContaining("5007: No such model @cf/openai/whisper or task") as unknown,
    provider: expect.stringContaining("404: ") as unknown,
    gateway: expect.stringContaining("2001: ") as unknown,
    markdown: expect.stringContaining("not supported") as unknown,
  });
});

test("Cloudflare's models have an answer of our own, by the binding and by REST", async () => {
  const told = JSON.parse((await ask("/local")).text) as Record<string, unknown>;
  expect(told).toMatchObject({
    embedded: { shape: [1, 768] },
    said: { response: expect.stringMatching(/no language model.* The ground is yours\.$/) as unknown },
    streamed: expect.stringMatching(/^data: \{"response":[\s\S]*data: \[DONE\]\n\n$/) as unknown,
  });
  const rest = await solum.api("POST", "/ai/run/@cf/baai/bge-base-en-v1.5", { text: "ground" });
  expect(rest.json).toMatchObject({ success: true, result: told["embedded"] });
});

test("models() is empty: Solum has none of its own", async () => {
  expect(JSON.parse((await ask("/models")).text)).toEqual([]);
});

test("300 calls of three routes and two features cost what a table by hand says, to the nano-dollar", async () => {
  const made = await solum.api("POST", "/ai-gateway/gateways", {
    id: "costs",
    cache_invalidate_on_update: false,
    cache_ttl: 3600,
    collect_logs: true,
    rate_limiting_interval: 0,
    rate_limiting_limit: 0,
  });
  expect(made.status).toBe(200);
  const before = provider.requests.length;
  // Each route is asked 100 times, 20 of them what it was asked before.
  for (const route of ["search", "summary", "title"])
    for (let n = 0; n < 100; n++) {
      const repeats = n % 5 === 4;
      const { cache } = JSON.parse((await ask(`/${route}?q=${route}-${repeats ? n - 1 : n}`)).text) as {
        cache: string;
      };
      expect(cache).toBe(repeats ? "HIT" : "MISS");
    }
  expect(provider.requests.length - before).toBe(240);
  const costsBy = async (key: string) => {
    const { json: told } = await solum.api("GET", `/ai-gateway/costs?gateway_id=costs&group_by=${key}`);
    const rows = told.result as { key: string; requests: number; cached: number; cost_nano_dollars: string }[];
    const table = rows.map((row) => [row.key, row.requests, row.cached, row.cost_nano_dollars] as const);
    return table.toSorted(([a], [b]) => (a < b ? -1 : 1));
  };
  // 60 new and 40 cached tokens in and 20 out: gpt-4o-mini at 0.15, 0.075 and 0.60 dollars a million, gpt-4o at 2.50, 1.25 and 10.
  const mini = 60 * 150 + 40 * 75 + 20 * 600;
  const large = 60 * 2500 + 40 * 1250 + 20 * 10_000;
  expect(await costsBy("metadata.route")).toEqual([
    ["/search", 100, 20, String(80 * mini)],
    ["/summary", 100, 20, String(80 * large)],
    ["/title", 100, 20, String(80 * mini)],
  ]);
  expect(await costsBy("metadata.feature")).toEqual([
    ["documents", 200, 40, String(80 * (large + mini))],
    ["search", 100, 20, String(80 * mini)],
  ]);
  expect(await costsBy("model")).toEqual([
    ["gpt-4o", 100, 20, String(80 * large)],
    ["gpt-4o-mini", 200, 40, String(160 * mini)],
  ]);
  const { json: byWorker } = await solum.api("GET", "/ai-gateway/costs?gateway_id=costs&group_by=worker");
  expect(byWorker.result).toMatchObject([{ requests: 300, cost_nano_dollars: String(80 * large + 160 * mini) }]);
});
