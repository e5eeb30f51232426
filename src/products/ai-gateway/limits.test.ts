import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeProvider, json, openai } from "../../../test/support/fake-provider.ts";
import { GatewayRig } from "../../../test/support/gateway-rig.ts";
import { RateLimiter } from "#products/ai-gateway/rate-limiter.ts";

let provider: FakeProvider;
let rig: GatewayRig;
const usage = { prompt_tokens: 50, completion_tokens: 1000, total_tokens: 1050 };
/** 2.5 and 10 dollars a million. */
const costNano = 50 * 2500 + 1000 * 10_000;
const chat = { model: "gpt-4o", max_tokens: 1000, messages: [{ role: "user", content: "Whose is the ground?" }] };

beforeAll(async () => {
  provider = await FakeProvider.listen(openai({ usage, everyMs: 1 }));
  rig = await GatewayRig.start({ openai: provider.url, groq: provider.url });
});

afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
});

const spend = (...rules: object[]) => rig.change({ spend_limits: { enabled: true, rules: rules as never } });
const day = 24 * 60 * 60;

test("a fixed window stands on the clock, a sliding one holds exactly the last seconds", () => {
  const limiter = new RateLimiter();
  const fixed = { limit: 2, windowMs: 10_000, sliding: false };
  expect([1000, 9000, 9999].map((now) => limiter.takes("f", fixed, now))).toEqual([true, true, false]);
  expect(limiter.takes("f", fixed, 10_000)).toBe(true);
  const sliding = { limit: 2, windowMs: 10_000, sliding: true };
  expect([1000, 9000, 10_999].map((now) => limiter.takes("s", sliding, now))).toEqual([true, true, false]);
  expect(limiter.takes("s", sliding, 11_001)).toBe(true);
  expect(limiter.takes("s", sliding, 18_999)).toBe(false);
});

test("a gateway takes so many requests a window; what the cache answers does not count", async () => {
  await rig.change({ rate_limiting_limit: 2, rate_limiting_interval: day, cache_ttl: 600 });
  const statuses = [];
  for (const content of ["one", "one", "two", "three", "one"])
    statuses.push(
      (await rig.post("/openai/chat/completions", { ...chat, messages: [{ role: "user", content }] })).status,
    );
  expect(statuses).toEqual([200, 200, 200, 429, 200]);
  const refused = await rig.post("/openai/chat/completions", chat);
  expect(await refused.json()).toMatchObject({ success: false, error: [{ code: 2003, message: "Rate limited" }] });
  // What was refused is in the log too, under the id that its answer names.
  expect((await rig.rows()).at(-1)).toMatchObject({
    id: refused.headers.get("cf-aig-log-id"),
    status: 429,
    success: false,
  });
});

test("1,000 calls at once never pass a limit of one dollar by more than one call", async () => {
  await spend({ id: "dollar", limit: 1, window: day });
  const before = provider.requests.length;
  const answers = await Promise.all(
    Array.from({ length: 1000 }, async () => {
      const answer = await rig.post("/openai/chat/completions", chat);
      return { status: answer.status, text: await answer.text() };
    }),
  );
  const good = answers.filter(({ status }) => status === 200).length;
  const refused = answers.filter(({ status }) => status === 429);
  expect(good + refused.length).toBe(1000);
  expect(provider.requests.length - before).toBe(good);
  expect(good * costNano).toBeLessThanOrEqual(1e9 + costNano);
  expect(refused[0]?.text).toContain("2045");
  // What was set aside comes back: in the end the dollar is used up, to less than two calls.
  for (let more = 0; more < 100; more++) await (await rig.post("/openai/chat/completions", chat)).text();
  const spent = (provider.requests.length - before) * costNano;
  expect(spent).toBeGreaterThan(1e9 - 2 * costNano);
  expect(spent).toBeLessThanOrEqual(1e9 + costNano);
}, 120_000);

test("a limit is divided or filtered by provider, model and metadata, and its error names the rule", async () => {
  const perUser = { id: "per-user", limit: 0.01, window: day, metadata: { user: { mode: "partition" } } };
  const onlyGroq = { id: "groq", limit: 0.001, window: day, provider: { mode: "filter", values: ["groq"] } };
  await spend(perUser, onlyGroq);
  const ask = (path: string, user: string) =>
    rig.post(path, chat, { "cf-aig-metadata": JSON.stringify({ user }), "cf-aig-custom-cost": '{"total_cost":0.006}' });
  const statuses = [];
  for (const user of ["ada", "ada", "bob", "ada", "bob", "bob"])
    statuses.push((await ask("/openai/chat/completions", user)).status);
  // 0.006 each: the second one begins below the limit and passes it, as the one call that may.
  expect(statuses).toEqual([200, 200, 200, 429, 200, 429]);
  const refused = await ask("/openai/chat/completions", "ada");
  expect(((await refused.json()) as { message: string }).message).toBe(
    "Spend limit exceeded: rule 'per-user' (cost limit 0.01 per 86400s, fixed) for openai gpt-4o",
  );
  // A request that is larger than the whole limit goes once, alone.
  expect((await ask("/groq/chat/completions", "eve")).status).toBe(200);
  expect((await ask("/groq/chat/completions", "kim")).status).toBe(429);
});

test("a provider's failure costs nothing, and a fallback is paid once", async () => {
  await spend({ id: "failures", limit: 0.011, window: day });
  const answers = openai({ usage });
  provider.handler = (request, response) =>
    request.path.startsWith("/v1/") ? json(response, { error: "down" }, 500) : answers(request, response);
  const steps = ["openai", "groq"].map((name) => ({
    provider: name,
    endpoint: "chat/completions",
    headers: {},
    query: chat,
  }));
  const custom = { "cf-aig-custom-cost": '{"total_cost":0.01}' };
  const statuses = [];
  for (let time = 0; time < 3; time++) statuses.push((await rig.post("", steps, custom)).status);
  expect(statuses).toEqual([200, 200, 429]);
  const rows = await rig.rows();
  expect(rows.at(-2)).toMatchObject({ costNano: 10_000_000, attempts: [{ costNano: 0 }, { costNano: 10_000_000 }] });
  expect(rows.at(-1)).toMatchObject({ status: 429, costNano: 0 });
});
