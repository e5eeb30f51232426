import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeProvider, json, openai } from "../../../test/support/fake-provider.ts";
import { accountId, GatewayRig } from "../../../test/support/gateway-rig.ts";
import type { Gateway } from "#products/ai-gateway/schema.ts";

let provider: FakeProvider;
let rig: GatewayRig;
let main: Gateway;
const chat = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Whose is the ground?" }] };

beforeAll(async () => {
  provider = await FakeProvider.listen(openai());
  rig = await GatewayRig.start({ openai: provider.url, anthropic: provider.url, "aws-bedrock": provider.url });
  const gateway = rig.gateways.find(accountId, "main");
  if (!gateway) throw new Error("no gateway");
  main = gateway;
});

afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
});

const ask = (path: string, headers: Record<string, string> = {}, body: unknown = chat) =>
  fetch(rig.url(path), {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });

test("a stored key is put into requests that bring none, by its alias, and never comes out", async () => {
  const body = { provider_slug: "openai", default_config: true };
  const made = await rig.keys.create(main, { ...body, alias: "team-a", secret: "sk-stored-aaaa1111" });
  await rig.keys.create(main, { ...body, alias: "team-b", default_config: false, secret: "sk-stored-bbbb2222" });
  expect(JSON.stringify([made, rig.keys.list(main)])).not.toContain("stored");
  await ask("/openai/chat/completions");
  expect(provider.last.headers.authorization).toBe("Bearer sk-stored-aaaa1111");
  await ask("/openai/chat/completions", { "cf-aig-byok-alias": "team-b" });
  expect(provider.last.headers.authorization).toBe("Bearer sk-stored-bbbb2222");
  await ask("/openai/chat/completions", { authorization: "Bearer sk-own" });
  expect(provider.last.headers.authorization).toBe("Bearer sk-own");
  expect((await rig.rows()).map(({ byok }) => byok)).toEqual([true, true, false]);
  await expect(rig.keys.create(main, { ...body, alias: "team-a", secret: "sk-again" })).rejects.toThrow("already");
});

test("keys are sealed on disk", async () => {
  await rig.rows();
  for (const file of readdirSync(rig.folder).filter((name) => name.startsWith("ai.db")))
    expect(readFileSync(join(rig.folder, file)).includes("stored-"), file).toBe(false);
});

test("a provider's key goes where that provider looks for it", async () => {
  await rig.keys.create(main, {
    provider_slug: "anthropic",
    alias: "default",
    default_config: true,
    secret: "sk-ant-stored",
  });
  await ask("/anthropic/v1/messages");
  expect(provider.last.headers["x-api-key"]).toBe("sk-ant-stored");
});

test("requests to Bedrock are signed with the stored key, and counts in its binary events are read", async () => {
  const secret = JSON.stringify({ accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret", region: "eu-west-1" });
  await rig.keys.create(main, { provider_slug: "aws-bedrock", alias: "default", default_config: true, secret });
  // The events of ConverseStream: a binary frame around JSON (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html).
  const frame = (text: string) => Buffer.concat([Buffer.from([0, 0, 0, text.length, 255, 7, 0]), Buffer.from(text)]);
  provider.handler = (_, response) =>
    void response
      .writeHead(200, { "content-type": "application/vnd.amazon.eventstream" })
      .end(
        Buffer.concat([
          frame('{"contentBlockIndex":0,"delta":{"text":"yours"}}'),
          frame(
            '{"metrics":{"latencyMs":9},"usage":{"inputTokens":50,"outputTokens":20,"cacheReadInputTokens":10,"totalTokens":80}}',
          ),
        ]),
      );
  const model = "anthropic.claude-3-5-sonnet-20241022-v2:0";
  await (
    await ask(
      `/aws-bedrock/bedrock-runtime/eu-west-1/model/${encodeURIComponent(model)}/converse-stream`,
      {},
      { messages: [] },
    )
  ).arrayBuffer();
  expect(provider.last.headers.authorization).toMatch(
    /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-west-1\/bedrock\/aws4_request, SignedHeaders=\S+, Signature=[0-9a-f]{64}$/,
  );
  expect(provider.last.headers["x-amz-date"]).toMatch(/^\d{8}T\d{6}Z$/);
  expect((await rig.rows()).at(-1)).toMatchObject({
    model,
    tokensIn: 60,
    tokensOut: 20,
    usage: { input_cached_tokens: 10 },
  });
});

test("keys go with their gateway: one made anew under its name has none", async () => {
  const other = await rig.gateways.create(accountId, "other", rig.settings());
  await rig.keys.create(other, { provider_slug: "openai", alias: "default", default_config: true, secret: "sk-other" });
  await rig.gateways.delete(accountId, "other");
  rig.keys.forget(other);
  const again = await rig.gateways.create(accountId, "other", rig.settings());
  expect(rig.keys.list(again)).toEqual([]);
  provider.handler = (_, response) => json(response, {});
  await fetch(rig.url("/openai/chat/completions", "other"), { method: "POST", body: JSON.stringify(chat) });
  expect(provider.last.headers.authorization).toBeUndefined();
});
