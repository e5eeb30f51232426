import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { FakeProvider, json, openai } from "../../../test/support/fake-provider.ts";
import { accountId, GatewayRig } from "../../../test/support/gateway-rig.ts";
import { matches, type RouteElements } from "#products/ai-gateway/route-graph.ts";
import type { Gateway } from "#products/ai-gateway/schema.ts";

let provider: FakeProvider;
let rig: GatewayRig;
let main: Gateway;
const chat = { model: "dynamic/support", messages: [{ role: "user", content: "Whose is the ground?" }] };

beforeAll(async () => {
  provider = await FakeProvider.listen();
  rig = await GatewayRig.start({ openai: provider.url, groq: `${provider.url}groq/` });
  await rig.gateways.createProvider(accountId, { name: "Local", slug: "local", base_url: `${provider.url}local/` });
  const gateway = rig.gateways.find(accountId, "main");
  if (!gateway) throw new Error("no gateway");
  main = gateway;
});

afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
});

beforeEach(async () => {
  provider.handler = openai();
  for (const { id } of rig.routes.list(main)) await rig.routes.delete(main, id);
});

const to = (elementId: string) => ({ elementId });
const start = { id: "start", type: "start" as const, outputs: { next: to("first") } };
const end = { id: "end", type: "end" as const };
const model = (id: string, name: string, options: { fallback?: string; timeout?: number; retries?: number } = {}) => ({
  id,
  type: "model" as const,
  properties: { provider: name, model: `${name}-model`, timeout: options.timeout ?? 0, retries: options.retries ?? 0 },
  outputs: { success: to("end"), fallback: to(options.fallback ?? "end") },
});
const ask = (headers: Record<string, string> = {}) => rig.post("/compat/chat/completions", chat, headers);
const answeredBy = async (headers: Record<string, string> = {}) => {
  const answer = await ask(headers);
  await answer.text();
  return answer.headers.get("cf-aig-provider");
};

test("a route's fallback answers when its first model fails or is late; custom providers are models like others", async () => {
  const elements = [
    start,
    model("first", "openai", { fallback: "second", timeout: 300, retries: 1 }),
    model("second", "custom-local"),
    end,
  ];
  await rig.routes.create(main, "support", elements);
  provider.handler = (request, response) =>
    request.path.startsWith("/local/") ? openai()(request, response) : json(response, { error: "down" }, 500);
  const answer = await ask();
  expect(answer.status).toBe(200);
  expect([
    answer.headers.get("cf-aig-provider"),
    answer.headers.get("cf-aig-model"),
    answer.headers.get("cf-aig-step"),
  ]).toEqual(["custom-local", "custom-local-model", "1"]);
  const row = (await rig.rows()).at(-1);
  expect(row).toMatchObject({ route: "support", provider: "custom-local" });
  expect(row?.attempts.map(({ provider: name, status }) => [name, status])).toEqual([
    ["openai", 500],
    ["openai", 500],
    ["custom-local", 200],
  ]);
  provider.handler = (request, response) =>
    request.path.startsWith("/local/") ? openai()(request, response) : undefined;
  expect(await answeredBy()).toBe("custom-local");
});

test("conditions on metadata, headers and body decide the way", async () => {
  const conditions = { "metadata.plan": { $eq: "free" } };
  await rig.routes.create(main, "support", [
    start,
    {
      id: "first",
      type: "conditional",
      properties: { conditions, condition: undefined },
      outputs: { true: to("free"), false: to("paid") },
    },
    model("free", "groq"),
    model("paid", "openai"),
    end,
  ]);
  expect(await answeredBy({ "cf-aig-metadata": '{"plan":"free"}' })).toBe("groq");
  expect(await answeredBy({ "cf-aig-metadata": '{"plan":"team"}' })).toBe("openai");
  expect(await answeredBy()).toBe("openai");
  const values = { metadata: { plan: "free", "a.b": 1, seats: 5 }, headers: { "x-team": "red" }, body: { n: 2 } };
  const holds: [unknown, boolean][] = [
    [{ "metadata.seats": { $gt: 4, $lte: 5 } }, true],
    [{ "metadata.a.b": 1 }, true],
    [{ "headers.x-team": { $in: ["red", "blue"] } }, true],
    [{ $or: [{ "body.n": 1 }, { "body.n": { $gte: 2 } }] }, true],
    [{ $and: [{ "body.n": 2 }, { $not: { "metadata.plan": "free" } }] }, false],
    [{ "metadata.nothing": { $exists: false } }, true],
    [{ "metadata.plan": { $unknown: 1 } }, false],
    [undefined, false],
  ];
  for (const [condition, expected] of holds)
    expect(matches(condition, values), JSON.stringify(condition)).toBe(expected);
});

test("percentages share the requests out", async () => {
  await rig.routes.create(main, "support", [
    start,
    { id: "first", type: "percentage", outputs: { "30%": to("a"), else: to("b") } },
    model("a", "openai"),
    model("b", "groq"),
    end,
  ]);
  const seen = await Promise.all(Array.from({ length: 300 }, () => answeredBy()));
  const share = seen.filter((name) => name === "openai").length / seen.length;
  // Six standard deviations of 300 throws.
  expect(Math.abs(share - 0.3)).toBeLessThan(0.16);
});

test.each([
  ["count", { key: "metadata.user", limit: 2, limitType: "count", window: 86_400 }],
  ["cost", { key: "metadata.user", limit: 0.000_04, limitType: "cost", interval: 86_400 }],
])("a limit on %s leads to the other model when it is reached, for each value of its key", async (_, properties) => {
  provider.handler = openai({ model: "gpt-4o-mini" });
  await rig.routes.create(main, "support", [
    start,
    { id: "first", type: "rate", properties: properties as never, outputs: { success: to("a"), fallback: to("b") } },
    { ...model("a", "openai"), properties: { provider: "openai", model: "gpt-4o-mini", timeout: 0, retries: 0 } },
    model("b", "groq"),
    end,
  ]);
  const seen = [];
  for (const user of ["ada", "ada", "ada", "bob"])
    seen.push(
      await answeredBy({
        "cf-aig-metadata": JSON.stringify({ user }),
        "cf-aig-custom-cost": '{"total_cost":0.000024}',
      }),
    );
  expect(seen).toEqual(["openai", "openai", "groq", "openai"]);
});

test("only what was deployed answers, and an older version can be deployed again", async () => {
  const route = await rig.routes.create(main, "support", [start, model("first", "openai"), end]);
  const changed = await rig.routes.addVersion(main, route.id, [start, model("first", "groq"), end]);
  expect(await answeredBy()).toBe("openai");
  await rig.routes.deploy(main, route.id, changed.versions.at(-1)?.id ?? "");
  expect(await answeredBy()).toBe("groq");
  await rig.routes.deploy(main, route.id, route.versions[0]?.id ?? "");
  expect(await answeredBy()).toBe("openai");
});

test("graphs that lead nowhere or in a circle are refused, and so is a route that is not there", async () => {
  const bad: RouteElements[] = [
    [end],
    [start, end],
    [start, start, model("first", "openai"), end],
    [start, model("first", "openai", { fallback: "first" }), end],
  ];
  for (const elements of bad) await expect(rig.routes.create(main, "bad", elements)).rejects.toThrow();
  const answer = await rig.post("/compat/chat/completions", { ...chat, model: "dynamic/nothing" });
  expect([answer.status, ((await answer.json()) as { message: string }).message]).toEqual([
    400,
    "There is no route nothing, or it leads to no model",
  ]);
});
