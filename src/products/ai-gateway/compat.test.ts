import { generateText, streamText } from "ai";
import { createAiGateway } from "ai-gateway-provider";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { anthropic, FakeProvider, json, openai, words } from "../../../test/support/fake-provider.ts";
import { GatewayRig } from "../../../test/support/gateway-rig.ts";

/** OpenAI's chat for Anthropic's models, and the AI SDK with its provider for gateways. */
let provider: FakeProvider;
let second: FakeProvider;
let rig: GatewayRig;
let client: OpenAI;
const model = "anthropic/claude-sonnet-4-5";
const weather = { type: "function" as const, function: { name: "weather", parameters: { type: "object" } } };

beforeAll(async () => {
  provider = await FakeProvider.listen(anthropic());
  second = await FakeProvider.listen(openai());
  rig = await GatewayRig.start({ anthropic: provider.url, openai: second.url, groq: second.url });
  client = new OpenAI({ apiKey: "sk-ant-test", baseURL: rig.url("/compat"), maxRetries: 0 });
});

afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
});

test("a conversation with a system prompt, an image and tools is put into Anthropic's words", async () => {
  const call = { id: "call_1", type: "function" as const, function: { name: "weather", arguments: '{"city":"Rome"}' } };
  const answer = await client.chat.completions.create({
    model,
    max_completion_tokens: 300,
    stop: "END",
    tool_choice: "required",
    parallel_tool_calls: false,
    tools: [weather],
    messages: [
      { role: "system", content: "Be brief." },
      {
        role: "user",
        content: [
          { type: "text", text: "What is this?" },
          { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=" } },
        ],
      },
      { role: "assistant", tool_calls: [call, { ...call, id: "call_2" }] },
      { role: "tool", tool_call_id: "call_1", content: "sunny" },
      { role: "tool", tool_call_id: "call_2", content: "warm" },
    ],
  });
  expect(provider.last.path).toBe("/v1/messages");
  expect(provider.last.headers).toMatchObject({ "x-api-key": "sk-ant-test", "anthropic-version": "2023-06-01" });
  expect(provider.last.json).toEqual({
    model: "claude-sonnet-4-5",
    max_tokens: 300,
    system: "Be brief.",
    stop_sequences: ["END"],
    tool_choice: { type: "any", disable_parallel_tool_use: true },
    tools: [{ name: "weather", input_schema: { type: "object" } }],
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: "What is this?" },
          { type: "image", source: { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" } },
        ],
      },
      {
        role: "assistant",
        content: ["call_1", "call_2"].map((id) => ({ type: "tool_use", id, name: "weather", input: { city: "Rome" } })),
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "call_1", content: "sunny" },
          { type: "tool_result", tool_use_id: "call_2", content: "warm" },
        ],
      },
    ],
  });
  expect(answer.choices[0]).toMatchObject({
    finish_reason: "tool_calls",
    message: {
      content: null,
      tool_calls: [{ id: "toolu_1", function: { name: "weather", arguments: '{"city":"Rome"}' } }],
    },
  });
  expect(answer.usage).toMatchObject({
    prompt_tokens: 100,
    completion_tokens: 20,
    prompt_tokens_details: { cached_tokens: 40 },
  });
  expect((await rig.rows()).at(-1)).toMatchObject({
    provider: "anthropic",
    model: "claude-sonnet-4-5",
    tokensIn: 100,
    tokensOut: 20,
  });
});

test("Anthropic's stream comes as OpenAI's chunks, tools and counts included, from the cache as well", async () => {
  const messages = [{ role: "user" as const, content: "Whose?" }];
  for (const status of ["MISS", "HIT"]) {
    const { data: stream, response } = await client.chat.completions
      .create(
        { model, messages, stream: true, stream_options: { include_usage: true } },
        { headers: { "cf-aig-cache-ttl": "600" } },
      )
      .withResponse();
    let text = "";
    let usage: unknown;
    let finish: unknown;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    expect([response.headers.get("cf-aig-cache-status"), text, finish]).toEqual([status, words.join(""), "stop"]);
    expect(usage).toMatchObject({ prompt_tokens: 100, completion_tokens: 20 });
  }
  const tools = client.chat.completions.stream({ model, messages, tools: [weather] });
  const final = await tools.finalChatCompletion();
  expect(final.choices[0]?.message.tool_calls?.[0]).toMatchObject({
    id: "toolu_1",
    function: { arguments: '{"city":"Rome"}' },
  });
});

test("an error of Anthropic's has OpenAI's shape, with the original in it", async () => {
  const before = provider.handler;
  const original = { type: "error", error: { type: "invalid_request_error", message: "max_tokens is too large" } };
  provider.handler = (_, response) => json(response, original, 400);
  const answer = await rig.post("/compat/chat/completions", { model, messages: [] });
  expect([answer.status, await answer.json()]).toEqual([
    400,
    {
      error: {
        message: "max_tokens is too large",
        type: "invalid_request_error",
        param: null,
        code: null,
        metadata: { raw: original },
      },
    },
  ]);
  provider.handler = before;
});

test("the AI SDK works by the base URL alone", async () => {
  const sdk = createOpenAICompatible({ name: "solum", apiKey: "sk-ai", baseURL: rig.url("/openai") });
  expect((await generateText({ model: sdk("gpt-4o-mini"), prompt: "Whose?" })).text).toBe(words.join(""));
  let text = "";
  for await (const piece of streamText({ model: sdk("gpt-4o-mini"), prompt: "Whose?" }).textStream) text += piece;
  expect(text).toBe(words.join(""));
});

test("the AI SDK's own provider for gateways falls back from one model to the next", async () => {
  // It has Cloudflare's address built in; inside a Worker it takes `env.AI.gateway(id)`, whose `run` sends exactly this.
  const binding = {
    run: async (data: unknown, options?: { signal?: AbortSignal }) =>
      fetch(rig.url(), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(Array.isArray(data) ? data : [data]),
        ...(options?.signal ? { signal: options.signal } : {}),
      }),
  };
  const gateway = createAiGateway({ binding });
  const at = (base: string) => createOpenAICompatible({ name: "x", apiKey: "sk-x", baseURL: base });
  const answers = second.handler;
  second.handler = (request, response) =>
    request.path.startsWith("/v1/") ? json(response, { error: { message: "down" } }, 500) : answers(request, response);
  const models = [
    at("https://api.openai.com/v1")("gpt-4o"),
    at("https://api.groq.com/openai/v1")("llama-3.3-70b-versatile"),
  ];
  expect((await generateText({ model: gateway(models), prompt: "Whose?" })).text).toBe(words.join(""));
  expect((await rig.rows()).at(-1)).toMatchObject({ provider: "groq", step: 1 });
  second.handler = answers;
});
