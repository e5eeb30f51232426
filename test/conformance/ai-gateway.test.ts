import Cloudflare, { NotFoundError } from "cloudflare";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeProvider, openai, words } from "../support/fake-provider.ts";
import { Solum } from "../support/start-solum.ts";

let provider: FakeProvider;
let solum: Solum;
let client: Cloudflare;
let account: string;
const chat = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Whose is the ground?" }] };
const settings = {
  cache_invalidate_on_update: true,
  cache_ttl: 0,
  collect_logs: true,
  rate_limiting_interval: 0,
  rate_limiting_limit: 0,
};

beforeAll(async () => {
  provider = await FakeProvider.listen(openai());
  solum = await Solum.start("--ai-providers", `openai=${provider.url}`);
  account = solum.environment["CLOUDFLARE_ACCOUNT_ID"] ?? "";
  client = new Cloudflare({
    apiToken: solum.environment["CLOUDFLARE_API_TOKEN"] ?? "",
    baseURL: solum.environment["CLOUDFLARE_API_BASE_URL"] ?? "",
    maxRetries: 0,
  });
});

afterAll(async () => {
  await solum[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
});

async function ask(gateway: string, body: unknown, headers: Record<string, string> = {}) {
  return solum.request("gateway.localhost", `/v1/${account}/${gateway}/openai/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer sk-test", ...headers },
    body: JSON.stringify(body),
  });
}

test("its process is started by the first request, which waits for it", async () => {
  const processes = async () => {
    const { output } = await solum.run("status", "--json", "--data", solum.data);
    return (JSON.parse(output) as { processes: { name: string }[] }).processes.map(({ name }) => name);
  };
  expect(await processes()).not.toContain("ai");
  const answer = await ask("nowhere", chat);
  expect(JSON.parse(answer.text)).toMatchObject({ success: false });
  expect(await processes()).toContain("ai");
});

test("the official SDK makes, changes, lists and removes gateways, and a gateway answers at its address", async () => {
  const made = await client.aiGateway.create({ account_id: account, id: "main", ...settings });
  expect(made).toMatchObject({ id: "main", ...settings });
  const url = await client.aiGateway.urls.get("openai", { account_id: account, gateway_id: "main" });
  expect(url).toBe(`http://gateway.localhost:${solum.port}/v1/${account}/main/openai`);
  expect(JSON.parse((await ask("main", chat)).text)).toMatchObject({
    choices: [{ message: { content: words.join("") } }],
  });

  const changed = await client.aiGateway.update("main", { account_id: account, ...settings, cache_ttl: 300 });
  expect(changed.cache_ttl).toBe(300);
  const all = [];
  for await (const gateway of client.aiGateway.list({ account_id: account })) all.push(gateway.id);
  expect(all).toEqual(["main"]);
  await client.aiGateway.create({ account_id: account, id: "short-lived", ...settings });
  await client.aiGateway.delete("short-lived", { account_id: account });
  const gone = await client.aiGateway.get("short-lived", { account_id: account }).catch((error: unknown) => error);
  expect(gone).toBeInstanceOf(NotFoundError);
});

test("a setting that would do nothing is refused by its name, and off is no promise", async () => {
  const off = { guardrails: null, dlp: { enabled: false, action: "FLAG" }, otel: [], logpush: false, store_id: null };
  const made = await client.aiGateway.create({ account_id: account, id: "plain", ...settings, ...off } as never);
  const asked = {
    guardrails: { prompt: { S1: "BLOCK" }, response: {} },
    dlp: { enabled: true, action: "BLOCK", profiles: ["a"] },
    otel: [{ url: "https://otel.example", authorization: "", headers: {}, content_type: "json" }],
    logpush: true,
    logpush_public_key: "a-public-key-of-sixteen",
    log_classification: true,
    store_id: "a-store",
    stripe: { authorization: "sk", usage_events: [{ payload: "{}" }] },
  };
  for (const [name, value] of Object.entries(asked)) {
    for (const [method, path] of [
      ["POST", "/ai-gateway/gateways"],
      ["PUT", "/ai-gateway/gateways/plain"],
    ] as const) {
      const answer = await solum.api(method, path, { id: "promises", ...settings, [name]: value });
      expect([answer.status, answer.json.errors], name).toEqual([
        400,
        [{ code: 7001, message: `${name} is not supported: leave it out, or turn it off, for this gateway` }],
      ]);
    }
  }
  const { status } = await solum.api("GET", "/ai-gateway/gateways/promises");
  expect(status).toBe(404);
  const kept = await client.aiGateway.get("plain", { account_id: account });
  expect(kept).toEqual(made);
  await client.aiGateway.delete("plain", { account_id: account });
});

test("the official SDK reads, filters, rates and removes logs, with their bodies", async () => {
  const place = { account_id: account, gateway_id: "main" };
  const answer = await ask(
    "main",
    { ...chat, stream: true },
    { "cf-aig-metadata": '{"feature":"search","paid":true}' },
  );
  const id = String(answer.headers["cf-aig-log-id"]);
  const row = await client.aiGateway.logs.get(id, place);
  expect(row).toMatchObject({
    id,
    provider: "openai",
    model: "gpt-4o-mini",
    tokens_in: 100,
    tokens_out: 20,
    success: true,
  });
  // 60 plain, 40 cached, 20 out: 0.15, 0.075 and 0.6 dollars a million.
  expect(row.cost).toBe(0.000_024);
  expect(await client.aiGateway.logs.request(id, place)).toMatchObject(chat);
  expect(await client.aiGateway.logs.response(id, place)).toMatchObject({
    streamed_data: expect.any(Array) as unknown,
  });
  await client.aiGateway.logs.edit(id, { ...place, feedback: 1, score: 90 });
  const found = await client.aiGateway.logs.list("main", {
    account_id: account,
    filters: [{ key: "feedback", operator: "eq", value: [1] }],
  });
  expect(found.result.map((log) => log.id)).toEqual([id]);
  const none = await client.aiGateway.logs.list("main", { account_id: account, provider: "anthropic" });
  expect(none.result).toEqual([]);
  await client.aiGateway.logs.delete("main", {
    account_id: account,
    filters: [{ key: "feedback", operator: "eq", value: [1] }],
  });
  const missing = await client.aiGateway.logs.get(id, place).catch((error: unknown) => error);
  expect(missing).toBeInstanceOf(NotFoundError);
});

test("what a feature costs is the sum of its requests, to the nano-dollar", async () => {
  await client.aiGateway.create({ account_id: account, id: "features", ...settings, cache_ttl: 3600 });
  const features = ["search", "summary"];
  const asked = { search: 0, summary: 0 };
  for (let index = 0; index < 60; index++) {
    const feature = features[index % 3 === 0 ? 0 : 1] as keyof typeof asked;
    // Every fifth question of a feature was asked before.
    const repeats = asked[feature] % 5 === 4;
    asked[feature]++;
    const content = repeats ? `${feature} ${asked[feature] - 2}` : `${feature} ${asked[feature] - 1}`;
    const body = { ...chat, messages: [{ role: "user", content }] };
    const answer = await ask("features", body, { "cf-aig-metadata": JSON.stringify({ feature }) });
    expect(answer.headers["cf-aig-cache-status"]).toBe(repeats ? "HIT" : "MISS");
  }
  const { json } = await solum.api("GET", "/ai-gateway/costs?gateway_id=features&group_by=metadata.feature");
  // 20 and 40 requests, a fifth of each from the cache; 24,000 nano-dollars each of the others.
  expect(json.result).toMatchObject([
    { key: "summary", requests: 40, cached: 8, cost_nano_dollars: String(32 * 24_000), saved_cost: (8 * 24_000) / 1e9 },
    { key: "search", requests: 20, cached: 4, cost_nano_dollars: String(16 * 24_000), saved_cost: (4 * 24_000) / 1e9 },
  ]);
});

test("custom providers are managed by the official SDK; another account's do not exist", async () => {
  const made = await client.aiGateway.customProviders.create({
    account_id: account,
    name: "Local",
    slug: "local",
    base_url: `${provider.url}v1`,
    headers: '{"x-team":"solum"}',
  });
  expect(made).toMatchObject({ slug: "local", headers: '{"x-team":"solum"}' });
  const answer = await solum.request("gateway.localhost", `/v1/${account}/main/custom-local/chat/completions`, {
    method: "POST",
    body: JSON.stringify(chat),
  });
  expect(answer.status).toBe(200);
  expect(provider.last.headers["x-team"]).toBe("solum");
  expect((await client.aiGateway.customProviders.get(made.id, { account_id: account })).name).toBe("Local");
  await client.aiGateway.customProviders.delete(made.id, { account_id: account });
  const other = await solum.request("localhost", `/client/v4/accounts/${"0".repeat(32)}/ai-gateway/gateways`, {
    headers: { authorization: `Bearer ${solum.environment["CLOUDFLARE_API_TOKEN"]}` },
  });
  expect(other.status).toBe(404);
});

test("a provider's key is stored by the official SDK, used, and not shown", async () => {
  const made = await client.aiGateway.providerConfigs.create("main", {
    account_id: account,
    alias: "default",
    default_config: true,
    provider_slug: "openai",
    secret: "sk-stored-0123456789",
    secret_id: "",
  });
  expect(made).toMatchObject({ alias: "default", provider_slug: "openai", secret_preview: "…6789" });
  const listed = await client.aiGateway.providerConfigs.list("main", { account_id: account });
  expect(JSON.stringify([made, listed.result])).not.toContain("sk-stored");
  const answer = await solum.request("gateway.localhost", `/v1/${account}/main/openai/chat/completions`, {
    method: "POST",
    body: JSON.stringify(chat),
  });
  expect(answer.status).toBe(200);
  expect(provider.last.headers.authorization).toBe("Bearer sk-stored-0123456789");
});

test("SDKs work on the API's own address and token, with the keys that the gateway keeps", async () => {
  const apiKey = solum.environment["CLOUDFLARE_API_TOKEN"] ?? "";
  const baseURL = `${solum.environment["CLOUDFLARE_API_BASE_URL"]}/accounts/${account}/ai/v1`;
  const defaultHeaders = { "cf-aig-gateway-id": "main" };
  const sdk = new OpenAI({ apiKey, baseURL, defaultHeaders, maxRetries: 0 });
  const messages = [{ role: "user" as const, content: "Whose?" }];
  let text = "";
  for await (const chunk of await sdk.chat.completions.create({ model: "openai/gpt-4o-mini", messages, stream: true }))
    text += chunk.choices[0]?.delta.content ?? "";
  expect(text).toBe(words.join(""));
  // The provider gets its own key, and never the API's token.
  expect(provider.last.headers.authorization).toBe("Bearer sk-stored-0123456789");
  expect((await sdk.responses.create({ model: "openai/gpt-4o-mini", input: "Whose?" })).output_text).toBe(
    words.join(""),
  );
  const run = await solum.api("POST", "/ai/run", { model: "openai/gpt-4o-mini", input: { messages } });
  // Without a gateway's id it is the one named default, which has no keys.
  expect(run.json).toMatchObject({ success: true, result: { choices: [{ message: { content: words.join("") } }] } });
  expect(provider.last.headers.authorization).toBeUndefined();
  const lacking = await solum.api("POST", "/ai/run", { model: "@cf/meta/llama-3.1-8b-instruct", input: {} });
  expect([lacking.status, lacking.json.errors[0]?.code]).toEqual([400, 5007]);
});

test("the official SDK makes a dynamic route, changes it, and goes back", async () => {
  const place = { account_id: account, gateway_id: "main" };
  const elements = (model: string) => [
    { id: "start", type: "start" as const, outputs: { next: { elementId: "model" } } },
    {
      id: "model",
      type: "model" as const,
      properties: { provider: "openai", model, timeout: 10_000, retries: 0 },
      outputs: { success: { elementId: "end" }, fallback: { elementId: "end" } },
    },
    { id: "end", type: "end" as const, outputs: {} },
  ];
  const modelOf = async () => {
    const answer = await solum.request("gateway.localhost", `/v1/${account}/main/compat/chat/completions`, {
      method: "POST",
      body: JSON.stringify({ ...chat, model: "dynamic/answers" }),
    });
    return (JSON.parse(answer.text) as { model: string }).model;
  };
  const { dynamicRouting } = client.aiGateway;
  const made = await dynamicRouting.create("main", {
    account_id: account,
    name: "answers",
    elements: elements("gpt-4o"),
  });
  expect(JSON.parse(made.version.data)).toEqual(made.elements);
  expect(await modelOf()).toBe("gpt-4o");
  await dynamicRouting.createVersion(made.id, { ...place, elements: elements("gpt-4o-mini") });
  expect(await modelOf()).toBe("gpt-4o");
  const { data } = await dynamicRouting.listVersions(made.id, place);
  expect(data.versions.map(({ active }) => active)).toEqual(["false", "true"]);
  await dynamicRouting.createDeployment(made.id, { ...place, version_id: data.versions[0]?.version_id ?? "" });
  expect(await modelOf()).toBe("gpt-4o-mini");
  await dynamicRouting.createDeployment(made.id, { ...place, version_id: made.version.version_id });
  expect(await modelOf()).toBe("gpt-4o");
  expect((await dynamicRouting.listDeployments(made.id, place)).data.deployments.length).toBe(3);
  await dynamicRouting.update(made.id, { ...place, name: "renamed" });
  expect((await dynamicRouting.list("main", { account_id: account })).data.routes.map(({ name }) => name)).toEqual([
    "renamed",
  ]);
  await dynamicRouting.delete(made.id, place);
});

test("gateways, logs and cached answers outlive the process", async () => {
  const before = await solum.api("GET", "/ai-gateway/gateways/features/logs");
  await solum.stop();
  await solum.up();
  expect((await solum.api("GET", "/ai-gateway/gateways/features/logs")).json).toEqual(before.json);
  const asked = provider.requests.length;
  const body = { ...chat, messages: [{ role: "user", content: "search 0" }] };
  expect((await ask("features", body)).headers["cf-aig-cache-status"]).toBe("HIT");
  expect(provider.requests.length).toBe(asked);
});
