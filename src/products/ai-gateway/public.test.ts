import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { text as textOf } from "node:stream/consumers";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import OpenAI, { BadRequestError, RateLimitError } from "openai";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { anthropic, FakeProvider, gemini, json, openai, stream, words } from "../../../test/support/fake-provider.ts";
import { accountId, GatewayRig, goodToken } from "../../../test/support/gateway-rig.ts";

let provider: FakeProvider;
let rig: GatewayRig;
const chat = { model: "gpt-4o-mini", messages: [{ role: "user" as const, content: "Whose is the ground?" }] };

beforeAll(async () => {
  provider = await FakeProvider.listen();
  const base = provider.url;
  rig = await GatewayRig.start({
    openai: base,
    anthropic: base,
    "google-ai-studio": base,
    groq: base,
    openrouter: base,
  });
});

afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
});

beforeEach(() => {
  provider.handler = openai();
});

test("the OpenAI SDK works by its base URL alone: answers, streams, tools, responses, errors", async () => {
  const client = new OpenAI({ apiKey: "sk-secret", baseURL: rig.url("/openai"), maxRetries: 0 });
  const answer = await client.chat.completions.create(chat);
  expect(answer.choices[0]?.message.content).toBe(words.join(""));
  expect(provider.last.path).toBe("/v1/chat/completions");
  expect(provider.last.headers.authorization).toBe("Bearer sk-secret");

  const seen: unknown[] = [];
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
    seen.push(chunk);
    text += chunk.choices[0]?.delta.content ?? "";
  }
  expect(text).toBe(words.join(""));
  // Counts were asked for, and kept back from a client that did not ask.
  expect(provider.last.json["stream_options"]).toEqual({ include_usage: true });
  expect(JSON.stringify(seen)).not.toContain("prompt_tokens");

  const tools = [{ type: "function" as const, function: { name: "weather", parameters: {} } }];
  const called = await client.chat.completions.create({ ...chat, tools });
  expect(called.choices[0]?.message.tool_calls?.[0]).toMatchObject({ function: { name: "weather" } });

  const response = await client.responses.create({ model: "gpt-4o-mini", input: "Whose?" });
  expect(response.output_text).toBe(words.join(""));

  provider.handler = (_, outgoing) =>
    json(outgoing, { error: { message: "Too many", type: "rate", code: "slow" } }, 429, { "retry-after": "7" });
  const refused = await client.chat.completions.create(chat).catch((error: unknown) => error);
  if (!(refused instanceof RateLimitError)) throw refused;
  expect(refused.headers?.get("retry-after")).toBe("7");
});

test("the Anthropic SDK works by its base URL alone, and its counts are added up as Anthropic bills them", async () => {
  provider.handler = anthropic();
  const client = new Anthropic({ apiKey: "sk-ant", baseURL: rig.url("/anthropic"), maxRetries: 0 });
  const ask = { model: "claude-sonnet-4-5", max_tokens: 100, messages: chat.messages };
  const whole = await client.messages.create(ask);
  expect(whole.content[0]).toMatchObject({ text: words.join("") });
  // Version 1.14 of the SDK sends the key so; earlier ones and the API itself use x-api-key.
  expect(provider.last.headers.authorization).toBe("Bearer sk-ant");
  const streamed = await client.messages.stream(ask).finalMessage();
  expect(streamed.content[0]).toMatchObject({ text: words.join("") });
  const [first, second] = (await rig.rows()).slice(-2);
  // 50 plain, 40 read and 10 written of the cache; 3, 0.3, 3.75 and 15 dollars a million.
  const cost = 50 * 3000 + 40 * 300 + 10 * 3750 + 20 * 15_000;
  expect(first).toMatchObject({ tokensIn: 100, tokensOut: 20, costNano: cost, provider: "anthropic" });
  expect(second).toMatchObject({ tokensIn: 100, tokensOut: 20, costNano: cost, success: true });
});

test("the Google SDK works by its base URL alone; thoughts count as output", async () => {
  provider.handler = gemini();
  const client = new GoogleGenAI({ apiKey: "g-key", httpOptions: { baseUrl: rig.url("/google-ai-studio") } });
  const ask = { model: "gemini-2.5-flash", contents: "Whose?" };
  expect((await client.models.generateContent(ask)).text).toBe(words.join(""));
  expect(provider.last.headers["x-goog-api-key"]).toBe("g-key");
  let text = "";
  for await (const chunk of await client.models.generateContentStream(ask)) text += chunk.text ?? "";
  expect(text).toBe(words.join(""));
  const [first, second] = (await rig.rows()).slice(-2);
  const cost = 60 * 300 + 40 * 30 + 20 * 2500;
  expect(first).toMatchObject({ model: "gemini-2.5-flash", tokensIn: 100, tokensOut: 20, costNano: cost });
  expect(second).toMatchObject({ model: "gemini-2.5-flash", tokensIn: 100, tokensOut: 20, costNano: cost });
});

test("a list of steps falls back to the next one and says which answered", async () => {
  provider.handler = (request, response) =>
    request.path.startsWith("/v1/") ? json(response, { error: "down" }, 500) : openai()(request, response);
  const answer = await rig.post("", [
    { provider: "openai", endpoint: "chat/completions", headers: { Authorization: "Bearer one" }, query: chat },
    { provider: "groq", endpoint: "chat/completions", headers: { Authorization: "Bearer two" }, query: chat },
  ]);
  expect(answer.status).toBe(200);
  expect(answer.headers.get("cf-aig-step")).toBe("1");
  expect(provider.last.headers.authorization).toBe("Bearer two");
  const row = (await rig.rows()).at(-1);
  expect(row).toMatchObject({ provider: "groq", step: 1, id: answer.headers.get("cf-aig-log-id") });
  expect(row?.attempts.map(({ provider: name, status }) => [name, status])).toEqual([
    ["openai", 500],
    ["groq", 200],
  ]);
  // Keys in the headers of steps are not kept.
  expect(Buffer.from(row?.request ?? []).toString()).not.toMatch(/Bearer (one|two)/);
});

test("a step that names compat goes to the provider before the slash, and every step answers in OpenAI's words", async () => {
  const step = (model: string) => ({ provider: "compat", endpoint: "chat/completions", query: { ...chat, model } });
  provider.handler = (request, response) =>
    request.path.includes("/messages")
      ? anthropic()(request, response)
      : json(response, { error: { message: "down" } }, 500);
  const answer = await rig.post("", [step("openai/gpt-4o-mini"), step("anthropic/claude-sonnet-4-5")]);
  expect(answer.headers.get("cf-aig-step")).toBe("1");
  expect(await answer.json()).toMatchObject({ choices: [{ message: { content: words.join("") } }] });
  provider.handler = openai();
  for (const wrong of [{ ...step("gpt-4o-mini") }, { ...step("openai/gpt-4o-mini"), endpoint: "responses" }])
    expect((await rig.post("", [wrong])).status).toBe(400);
});

test("a gateway's own retries hold where a request says nothing of them", async () => {
  await rig.change({ retry_max_attempts: 3, retry_delay: 1, retry_backoff: "linear" });
  provider.handler = (_, response) => json(response, { error: { message: "down" } }, 500);
  const asked = async (headers: Record<string, string> = {}) => {
    const before = provider.requests.length;
    expect((await rig.post("/openai/chat/completions", chat, headers)).status).toBe(500);
    return provider.requests.length - before;
  };
  expect([await asked(), await asked({ "cf-aig-max-attempts": "2" })]).toEqual([3, 2]);
  provider.handler = openai();
  await rig.change({});
});

test("OpenAI's chat goes to any provider by the name before the slash", async () => {
  const client = new OpenAI({ apiKey: "sk-g", baseURL: rig.url("/compat"), maxRetries: 0 });
  const answer = await client.chat.completions.create({ ...chat, model: "groq/llama-3.3-70b-versatile" });
  expect(answer.model).toBe("llama-3.3-70b-versatile");
  expect(provider.last.path).toBe("/chat/completions");
  const unknown = await client.chat.completions.create({ ...chat, model: "nobody/x" }).catch((error: unknown) => error);
  expect(unknown).toBeInstanceOf(BadRequestError);
});

test("nothing of ours and nothing of this hop reaches a provider", async () => {
  const outgoing = httpRequest(rig.url("/openai/chat/completions"), {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "cf-aig-metadata": '{"feature":"search"}',
      "cf-connecting-ip": "203.0.113.9",
      "x-forwarded-for": "203.0.113.9",
      "proxy-authorization": "Basic x",
      cookie: "session=1",
      connection: "x-hop",
      "x-hop": "1",
      "openai-beta": "assistants=v2",
    },
  });
  outgoing.end(JSON.stringify(chat));
  await once(outgoing, "response");
  const names = Object.keys(provider.last.headers);
  expect(names.filter((name) => /^(cf-|x-forwarded|proxy-|cookie|x-hop)/.test(name))).toEqual([]);
  expect(provider.last.headers["openai-beta"]).toBe("assistants=v2");
  expect(provider.last.headers.host).toBe(`127.0.0.1:${provider.port}`);
});

test("a path cannot leave its provider", async () => {
  const hosts = [
    "/openai/../../custom",
    "/openai/%2e%2e/%2e%2e/x",
    "/openai//evil.example/v1",
    "/openai/@evil.example/",
    "/openai/\\evil.example",
  ];
  for (const path of hosts) {
    const before = provider.requests.length;
    const { raw } = await rawGet(path);
    // Either refused, or asked of the provider itself.
    if (!raw.startsWith("HTTP/1.1 4")) expect(provider.requests.length, path).toBe(before + 1);
    expect(raw, path).not.toContain("evil.example:");
  }
});

async function rawGet(path: string): Promise<{ raw: string }> {
  const socket = connect(rig.port, "127.0.0.1");
  socket.write(`GET /v1/${accountId}/main${path} HTTP/1.1\r\nhost: gateway.localhost\r\nconnection: close\r\n\r\n`);
  return { raw: await textOf(socket) };
}

test("custom providers may be on this machine, but not be Solum itself, nor link-local or metadata addresses", async () => {
  const make = (slug: string, base_url: string) =>
    rig.gateways.createProvider(accountId, { name: slug, slug, base_url });
  await make("local", `${provider.url}v1`);
  await make("own", `http://127.0.0.1:${rig.port}/`);
  await make("mapped", `http://[::ffff:7f00:1]:${rig.port}/`);
  await make("metadata", "http://169.254.169.254/");
  await make("named", `http://localhost:${rig.port}/`);
  expect((await rig.post("/custom-local/chat/completions", chat)).status).toBe(200);
  expect(provider.last.path).toBe("/v1/chat/completions");
  const compat = await rig.post("/compat/chat/completions", { ...chat, model: "custom-local/llama3" });
  expect(((await compat.json()) as { model: string }).model).toBe("llama3");
  expect(provider.last.path).toBe("/v1/chat/completions");
  for (const slug of ["own", "mapped", "metadata", "named"]) {
    const refused = await rig.post(`/custom-${slug}/chat/completions`, chat);
    expect(refused.status, slug).toBe(400);
    expect(await refused.text(), slug).toContain("cannot be a provider");
  }
});

test("an authenticated gateway wants a token of its account, wherever a client can put it", async () => {
  await rig.gateways.create(accountId, "closed", rig.settings({ authentication: true }));
  const ask = (headers: Record<string, string>) =>
    fetch(rig.url("/openai/chat/completions", "closed"), { method: "POST", headers, body: JSON.stringify(chat) });
  const refused = await ask({ authorization: "Bearer sk-provider" });
  expect(refused.status).toBe(401);
  expect(await refused.json()).toMatchObject({ success: false, error: [{ code: 2009 }] });
  expect((await ask({ "cf-aig-authorization": `Bearer ${goodToken}`, authorization: "Bearer sk-p" })).status).toBe(200);
  expect(provider.last.headers.authorization).toBe("Bearer sk-p");
  expect((await ask({ authorization: `Bearer ${goodToken}` })).status).toBe(200);
  // The gateway's token is nobody else's business.
  expect(provider.last.headers.authorization).toBeUndefined();
});

test("the gateway `default` is made by the first request with a token, others are not", async () => {
  const ask = (gateway: string, headers: Record<string, string>) =>
    fetch(rig.url("/openai/chat/completions", gateway), { method: "POST", headers, body: JSON.stringify(chat) });
  expect((await ask("default", {})).status).toBe(401);
  expect((await ask("default", { "cf-aig-authorization": `Bearer ${goodToken}` })).status).toBe(200);
  expect(rig.gateways.find(accountId, "default")?.settings.authentication).toBe(true);
  const unknown = await ask("nobody", { "cf-aig-authorization": `Bearer ${goodToken}` });
  expect(unknown.status).toBe(400);
  expect(await unknown.json()).toMatchObject({ error: [{ code: 2001 }] });
});

test("what a provider says of its price goes before the price list; no price is null and not 0", async () => {
  provider.handler = openai({ usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15, cost: 0.000_123 } });
  await rig.post("/openrouter/v1/chat/completions", chat);
  expect((await rig.rows()).at(-1)).toMatchObject({ costNano: 123_000 });
  provider.handler = openai({ model: "nobody-knows-this" });
  await rig.post("/openai/chat/completions", { ...chat, model: "nobody-knows-this" });
  expect((await rig.rows()).at(-1)).toMatchObject({ costNano: null, tokensIn: 100, tokensOut: 20 });
  await rig.post(
    "/openai/chat/completions",
    { ...chat, model: "nobody-knows-this" },
    {
      "cf-aig-custom-cost": '{"per_token_in":0.000001,"per_token_out":0.000002,"per_cache_read_token":0.0000001}',
    },
  );
  // 60 at 1, 40 read of the cache at 0.1, 20 at 2 micro-dollars.
  expect((await rig.rows()).at(-1)).toMatchObject({ costNano: 60_000 + 4000 + 40_000, customCost: true });
});

test("logs keep neither bodies nor rows when told so", async () => {
  const before = (await rig.rows()).length;
  await rig.post("/openai/chat/completions", chat, { "cf-aig-collect-log": "false" });
  expect((await rig.rows()).length).toBe(before);
  await rig.post("/openai/chat/completions", chat, { "cf-aig-collect-log-payload": "false" });
  expect((await rig.rows()).at(-1)).toMatchObject({ request: null, response: null, tokensIn: 100 });
  await rig.change({ zdr: true });
  await rig.post("/openai/chat/completions", chat);
  expect((await rig.rows()).at(-1)).toMatchObject({ request: null, response: null, tokensIn: 100 });
  await rig.change({});
  await rig.post("/google-ai-studio/v1beta/models/gemini-2.5-flash:generateContent?key=secret-key", {});
  expect((await rig.rows()).at(-1)?.path).toBe("v1beta/models/gemini-2.5-flash:generateContent?key=redacted");
});

test("a key in the address of a universal step is in no log, whatever the provider calls it", async () => {
  const names = ["key", "api_key", "api-key", "apikey", "access_token"];
  const steps = names.map((name) => ({
    provider: "google-ai-studio",
    endpoint: `v1beta/models/gemini-2.5-flash:generateContent?${name}=secret-key&alt=json`,
    query: {},
  }));
  await rig.post("", steps);
  const row = (await rig.rows()).at(-1);
  const request = Buffer.from(row?.request ?? []).toString();
  expect(JSON.stringify({ ...row, request, response: Buffer.from(row?.response ?? []).toString() })).not.toContain(
    "secret-key",
  );
  expect(request).toContain("generateContent?api_key=redacted&alt=json");
});

test("the counts of a stream stay when its client asked for them", async () => {
  const answer = await rig.post("/openai/chat/completions", {
    ...chat,
    stream: true,
    stream_options: { include_usage: true },
  });
  expect(await answer.text()).toContain('"prompt_tokens":100');
});

test("a server that does not know how to count is asked again without, and remembered", async () => {
  await rig.gateways.createProvider(accountId, { name: "strict", slug: "strict", base_url: provider.url });
  provider.handler = (request, response) =>
    request.json["stream_options"] === undefined
      ? openai()(request, response)
      : json(response, { error: { message: "Unrecognized request argument supplied: stream_options" } }, 400);
  const before = provider.requests.length;
  for (let time = 0; time < 2; time++)
    expect(await (await rig.post("/custom-strict/v1/chat/completions", { ...chat, stream: true })).text()).toContain(
      "[DONE]",
    );
  expect(provider.requests.length - before).toBe(3);
});

test("events that begin and end anywhere in the pieces of a stream arrive as they are", async () => {
  const text =
    'data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"żółw 🐢"}}]}\r\n\r\n: keep-alive\r\n\r\ndata: [DONE]';
  const bytes = Buffer.from(text);
  provider.handler = async (request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (let at = 0; at < bytes.length; at += 3) {
      response.write(bytes.subarray(at, at + 3));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await stream(request, response, []);
  };
  expect(await (await rig.post("/openai/chat/completions", { ...chat, stream: true })).text()).toBe(text);
});
