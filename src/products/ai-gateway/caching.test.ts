import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { FakeProvider, json, openai, stream } from "../../../test/support/fake-provider.ts";
import { accountId, GatewayRig } from "../../../test/support/gateway-rig.ts";

let provider: FakeProvider;
let rig: GatewayRig;
const chat = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Whose is the ground?" }] };
const path = "/openai/chat/completions";
const event = (text: string) =>
  `data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"${text}"},"finish_reason":null}]}\n\n`;
const many = Array.from({ length: 400 }, (_, index) => event(`word ${index}`));

beforeAll(async () => {
  provider = await FakeProvider.listen();
  rig = await GatewayRig.start({ openai: provider.url });
});

afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
});

beforeEach(() => {
  provider.handler = openai();
});

const lastRow = async () => (await rig.rows()).at(-1);
/** Sends a request of which the answer can be left at any time. */
function leave(
  body: unknown,
  headers: Record<string, string> = {},
): { controller: AbortController; answer: Promise<Response> } {
  const controller = new AbortController();
  const answer = fetch(rig.url(path), {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer sk-test", ...headers },
    body: JSON.stringify(body),
    signal: controller.signal,
  });
  answer.catch(() => {});
  return { controller, answer };
}

test("a kept stream is given again in the same pieces; a whole answer is never given to who wants a stream", async () => {
  const headers = { "cf-aig-cache-ttl": "600" };
  const body = { ...chat, user: "kept" };
  const whole = await (await rig.post(path, body, headers)).text();
  const first = await rig.post(path, { ...body, stream: true }, headers);
  expect(first.headers.get("cf-aig-cache-status")).toBe("MISS");
  const text = await first.text();
  const again = await rig.post(path, { ...body, stream: true }, headers);
  expect(again.headers.get("cf-aig-cache-status")).toBe("HIT");
  expect(again.headers.get("content-type")).toBe("text/event-stream");
  expect(await again.text()).toBe(text);
  const hit = await rig.post(path, body, headers);
  expect([hit.headers.get("cf-aig-cache-status"), await hit.text()]).toEqual(["HIT", whole]);
  expect(await lastRow()).toMatchObject({ cached: true, costNano: 0, tokensIn: 0, savedNano: 24_000 });
});

test("a hundred who ask the same at once are one request; who asked first may leave", async () => {
  provider.handler = (request, response) =>
    stream(request, response, [...many.slice(0, 30), "data: [DONE]\n\n"], { everyMs: 10 });
  const headers = { "cf-aig-cache-ttl": "600" };
  const body = { ...chat, stream: true, user: "shared" };
  const before = provider.requests.length;
  const { controller, answer } = leave(body, headers);
  const reader = (await answer).body?.getReader();
  await reader?.read();
  const others = Array.from({ length: 99 }, async () => (await rig.post(path, body, headers)).text());
  await pollUntil({ ms: 5000, everyMs: 5, what: "half of it" }, () => (provider.last.written > 15 ? true : undefined));
  controller.abort();
  const texts = new Set(await Promise.all(others));
  expect(texts.size).toBe(1);
  expect([...texts][0]).toContain("[DONE]");
  expect(provider.requests.length).toBe(before + 1);
  expect((await rig.rows()).slice(-100).filter(({ cached }) => cached).length).toBe(99);
});

test("an error is for those who wait for it, and not for who comes later", async () => {
  const headers = { "cf-aig-cache-ttl": "600" };
  provider.handler = (_, response) => json(response, { error: "down" }, 500);
  expect((await rig.post(path, { ...chat, user: "failing" }, headers)).status).toBe(500);
  provider.handler = openai();
  const later = await rig.post(path, { ...chat, user: "failing" }, headers);
  expect([later.status, later.headers.get("cf-aig-cache-status")]).toEqual([200, "MISS"]);
});

test("two keys, two gateways and two versions of a gateway never share an answer; a key of the caller's stays in its gateway", async () => {
  const headers = { "cf-aig-cache-ttl": "600" };
  const ask = async (more: Record<string, string>, gateway = "main") => {
    const answer = await fetch(rig.url(path, gateway), {
      method: "POST",
      headers: { "content-type": "application/json", ...headers, ...more },
      body: JSON.stringify({ ...chat, user: "poison" }),
    });
    await answer.text();
    return answer.headers.get("cf-aig-cache-status");
  };
  await rig.gateways.create(accountId, "other", rig.settings());
  expect(await ask({ authorization: "Bearer a" })).toBe("MISS");
  expect(await ask({ authorization: "Bearer a" })).toBe("HIT");
  expect(await ask({ authorization: "Bearer b" })).toBe("MISS");
  expect(await ask({ authorization: "Bearer a" }, "other")).toBe("MISS");
  expect(await ask({ authorization: "Bearer a", "cf-aig-skip-cache": "true" })).toBe(null);
  await rig.change({});
  expect(await ask({ authorization: "Bearer a" })).toBe("MISS");
  expect(await ask({ "cf-aig-cache-key": "mine" })).toBe("MISS");
  expect(await ask({ "cf-aig-cache-key": "mine", authorization: "Bearer c" })).toBe("HIT");
  expect(await ask({ "cf-aig-cache-key": "mine" }, "other")).toBe("MISS");
});
