import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { anthropic, FakeProvider, json, openai, stream } from "../../../test/support/fake-provider.ts";
import { accountId, GatewayRig } from "../../../test/support/gateway-rig.ts";

/** What breaks gateways that take the easy way, one test each. */
let provider: FakeProvider;
let second: FakeProvider;
let rig: GatewayRig;
const chat = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Whose is the ground?" }] };
const path = "/openai/chat/completions";
const event = (text: string) =>
  `data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"${text}"},"finish_reason":null}]}\n\n`;
const many = Array.from({ length: 400 }, (_, index) => event(`word ${index}`));

beforeAll(async () => {
  provider = await FakeProvider.listen();
  second = await FakeProvider.listen();
  rig = await GatewayRig.start({ openai: provider.url, anthropic: provider.url, groq: second.url });
});

afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
});

beforeEach(() => {
  provider.handler = openai();
  second.handler = openai();
});

const lastRow = async () => (await rig.rows()).at(-1);
const steps = (headers: Record<string, string> = {}) =>
  ["openai", "groq"].map((name) => ({ provider: name, endpoint: "chat/completions", headers, query: chat }));

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

test("a client that leaves in the middle of a stream stops the provider at once, and is logged as one that left", async () => {
  provider.handler = (request, response) => stream(request, response, many, { everyMs: 10 });
  const { controller, answer } = leave({ ...chat, stream: true });
  const reader = (await answer).body?.getReader();
  for (let piece = 0; piece < 5; piece++) await reader?.read();
  const seen = provider.last.written;
  controller.abort();
  await pollUntil({ ms: 5000, everyMs: 5, what: "the provider's end" }, () => (provider.last.left ? true : undefined));
  expect(provider.last.written).toBeLessThan(seen + 60);
  const row = await pollUntil({ ms: 5000, everyMs: 20, what: "the row" }, async () => {
    const last = await lastRow();
    return last?.status === 499 ? last : undefined;
  });
  expect(row).toMatchObject({ success: false, usage: { estimated: true } });
  expect(row.tokensOut).toBeGreaterThan(0);
  expect(row.costNano).toBeGreaterThan(0);
});

test("a client that leaves before an answer begins stops the provider, and nobody else is asked", async () => {
  provider.handler = async () => new Promise(() => {});
  const before = second.requests.length;
  const asked = provider.requests.length;
  const rows = (await rig.rows()).length;
  const { controller } = leave(chat, { "cf-aig-max-attempts": "3" });
  await pollUntil({ ms: 5000, everyMs: 5, what: "the request" }, () =>
    provider.requests.length > asked && provider.last.body.length > 0 ? true : undefined,
  );
  controller.abort();
  await pollUntil({ ms: 5000, everyMs: 5, what: "the provider's end" }, () => (provider.last.left ? true : undefined));
  expect(second.requests.length).toBe(before);
  await pollUntil({ ms: 5000, everyMs: 20, what: "the row" }, async () =>
    (await rig.rows()).length > rows ? true : undefined,
  );
  expect(await lastRow()).toMatchObject({ status: 499, success: false });
});

test("an upstream socket that dies in a stream is an error to the client, never a clean end, and is not kept", async () => {
  provider.handler = (request, response) => stream(request, response, many.slice(0, 5), { cut: true, everyMs: 1 });
  const headers = { "cf-aig-cache-ttl": "600" };
  const answer = await rig.post(path, { ...chat, stream: true }, headers);
  await expect(answer.text()).rejects.toThrow();
  provider.handler = openai();
  const again = await rig.post(path, { ...chat, stream: true }, headers);
  expect(again.headers.get("cf-aig-cache-status")).toBe("MISS");
  expect(await again.text()).toContain("[DONE]");
});

test.each([
  ["OpenAI's", path, many.slice(0, 3)],
  [
    "Anthropic's",
    "/anthropic/v1/messages",
    ['event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":5}}}\n\n'],
  ],
])("%s stream that ends without its last event is an error", async (_, where, events) => {
  provider.handler = (request, response) => stream(request, response, events);
  const answer = await rig.post(where, { ...chat, stream: true });
  await expect(answer.text()).rejects.toThrow();
  expect(await lastRow()).toMatchObject({ success: false });
});

test("a short Content-Length is an error too", async () => {
  provider.handler = (_, response) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
    response.write('{"half":');
    setTimeout(() => response.destroy(), 20);
  };
  const outcome = await rig
    .post(path, chat)
    .then((answer) => answer.text())
    .catch(() => "broken");
  expect(outcome).toBe("broken");
});

test.each([
  ["seconds", { "retry-after": "1" }],
  ["a date", { "retry-after": new Date(Date.now() + 1500).toUTCString() }],
  ["milliseconds", { "retry-after-ms": "300" }],
])("Retry-After as %s is waited for", async (_, headers) => {
  let times = 0;
  provider.handler = (request, response) =>
    times++ === 0 ? json(response, { error: "slow" }, 429, headers) : openai()(request, response);
  const answer = await rig.post(path, chat, { "cf-aig-max-attempts": "2" });
  expect(answer.status).toBe(200);
  expect(await lastRow()).toMatchObject({ attempts: [{ status: 429 }, { status: 200 }] });
});

test("a provider that asks for a long pause is not asked while it lasts, as long as another one is there", async () => {
  provider.handler = (_, response) => json(response, { error: "slow" }, 429, { "retry-after": "60" });
  const headers = { Authorization: "Bearer sk-cooling" };
  expect((await rig.post("", steps(headers))).headers.get("cf-aig-step")).toBe("1");
  const before = provider.requests.length;
  expect((await rig.post("", steps(headers))).headers.get("cf-aig-step")).toBe("1");
  expect(provider.requests.length).toBe(before);
  // Alone it is asked all the same, and its status and header are passed on.
  const alone = await rig.post("", steps(headers).slice(0, 1));
  expect([alone.status, alone.headers.get("retry-after")]).toEqual([429, "60"]);
  // Another key's pause is another matter.
  provider.handler = openai();
  expect((await rig.post("", steps({ Authorization: "Bearer sk-other" }))).headers.get("cf-aig-step")).toBe("0");
});

test.each([400, 401, 403, 404, 413, 422])("%i is not tried again", async (status) => {
  let times = 0;
  provider.handler = (_, response) => {
    times++;
    json(response, { error: "no" }, status);
  };
  const answer = await rig.post(path, chat, { "cf-aig-max-attempts": "3" });
  expect([answer.status, times]).toEqual([status, 1]);
});

test.each([408, 409, 429, 500, 502, 503, 504, 529])("%i is tried again", async (status) => {
  let times = 0;
  provider.handler = (request, response) =>
    times++ < 2 ? json(response, { error: "not now" }, status) : openai()(request, response);
  expect((await rig.post(path, chat, { "cf-aig-max-attempts": "3" })).status).toBe(200);
});

test("a provider that does not begin in time is left for the next one; the last one has all the time it needs", async () => {
  provider.handler = async () => new Promise(() => {});
  second.handler = async (request, response) => {
    await new Promise((resolve) => setTimeout(resolve, 150));
    await openai()(request, response);
  };
  const answer = await rig.post("", steps(), { "cf-aig-request-timeout": "400" });
  expect(answer.headers.get("cf-aig-step")).toBe("1");
  const late = await rig.post(path, chat, { "cf-aig-request-timeout": "100" });
  expect(late.status).toBe(504);
  let times = 0;
  provider.handler = async (request, response) => {
    if (times++ === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
    await openai()(request, response);
  };
  const patient = await rig.post(path, chat, { "cf-aig-request-timeout": "100", "cf-aig-max-attempts": "2" });
  expect(patient.status).toBe(200);
});

test("a stream whose first event is an error is a failure while nothing was sent; later it is passed on and logged", async () => {
  const failure = 'data: {"error":{"message":"overloaded","code":502}}\n\n';
  provider.handler = (request, response) => stream(request, response, [failure]);
  const query = { ...chat, stream: true };
  const answer = await rig.post(
    "",
    steps().map((step) => ({ ...step, query })),
  );
  expect(answer.headers.get("cf-aig-step")).toBe("1");
  expect(await answer.text()).toContain("[DONE]");
  provider.handler = (request, response) =>
    stream(request, response, [...many.slice(0, 2), failure, "data: [DONE]\n\n"]);
  const passed = await rig.post(path, query);
  expect(passed.status).toBe(200);
  expect(await passed.text()).toContain("overloaded");
  expect(await lastRow()).toMatchObject({ status: 200, success: false });
});

test("nothing is tried again after the first byte was passed on", async () => {
  let times = 0;
  provider.handler = async (request, response) => {
    times++;
    await stream(request, response, many.slice(0, 3), { cut: true, everyMs: 1 });
  };
  const answer = await rig.post(path, { ...chat, stream: true }, { "cf-aig-max-attempts": "3" });
  await expect(answer.text()).rejects.toThrow();
  expect(times).toBe(1);
});

test("forms and binary answers pass through byte by byte; the model is read from the form", async () => {
  const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, index) => index % 256));
  provider.handler = (_, response) => void response.writeHead(200, { "content-type": "audio/mpeg" }).end(bytes);
  const form = new FormData();
  form.append("model", "whisper-1");
  form.append("file", new Blob([bytes]), "a.mp3");
  const answer = await fetch(rig.url("/openai/audio/transcriptions"), { method: "POST", body: form });
  expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
  expect(provider.last.body.includes(bytes)).toBe(true);
  expect(await lastRow()).toMatchObject({ model: "whisper-1", requestType: "audio" });
});

test("a large request and a large answer pass whole; the log keeps their beginning, and never half a character", async () => {
  const content = "ż".repeat(3 * 1024 * 1024);
  provider.handler = (request, response) =>
    json(response, {
      object: "chat.completion",
      length: request.body.length,
      content,
      usage: { prompt_tokens: 1, completion_tokens: 2 },
    });
  const body = JSON.stringify({ ...chat, content });
  const answer = (await (await rig.post(path, { ...chat, content })).json()) as { length: number; content: string };
  expect(answer.length).toBe(Buffer.byteLength(body));
  expect(answer.content).toBe(content);
  const row = await lastRow();
  expect(row).toMatchObject({
    requestComplete: false,
    responseComplete: false,
    requestSize: Buffer.byteLength(body),
    tokensOut: 2,
  });
  expect(Buffer.from(row?.request ?? []).toString()).not.toContain("\ufffd");
  expect(row?.request?.length).toBeLessThanOrEqual(1024 * 1024);
});

test("an answer that comes compressed all the same is passed on as it is, and its tokens are counted", async () => {
  const text = JSON.stringify({ model: "gpt-4o-mini", usage: { prompt_tokens: 7, completion_tokens: 3 } });
  provider.handler = (request, response) => {
    expect(request.headers["accept-encoding"]).toBe("identity");
    response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" }).end(gzipSync(text));
  };
  expect(await (await rig.post(path, chat)).text()).toBe(text);
  expect(await lastRow()).toMatchObject({ tokensIn: 7, tokensOut: 3 });
});

test("a provider's error keeps its status, its bytes and the headers that a client needs", async () => {
  provider.handler = (_, response) =>
    json(response, { error: { message: "é", odd: 1 } }, 429, {
      "retry-after": "9",
      "x-request-id": "req_1",
      "x-ratelimit-remaining-tokens": "0",
      "set-cookie": "__cf_bm=1",
    });
  const answer = await rig.post(path, chat);
  expect(answer.status).toBe(429);
  expect(await answer.text()).toBe('{"error":{"message":"é","odd":1}}');
  expect(Object.fromEntries(answer.headers)).toMatchObject({
    "retry-after": "9",
    "x-request-id": "req_1",
    "x-ratelimit-remaining-tokens": "0",
  });
  expect(answer.headers.get("set-cookie")).toBeNull();
});

test("a client that leaves during the pause between two tries ends it", async () => {
  provider.handler = (_, response) => json(response, { error: "down" }, 500);
  const before = provider.requests.length;
  const { controller, answer } = leave(chat, { "cf-aig-max-attempts": "3", "cf-aig-retry-delay": "400" });
  await pollUntil({ ms: 5000, everyMs: 5, what: "the first try" }, () =>
    provider.requests.length > before ? true : undefined,
  );
  controller.abort();
  await expect(answer).rejects.toThrow();
  await pollUntil({ ms: 5000, everyMs: 20, what: "the row" }, async () =>
    (await lastRow())?.status === 499 ? true : undefined,
  );
  // Longer than the pause would have been.
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(provider.requests.length).toBe(before + 1);
});

test("of counts that come more than once the last ones are right", async () => {
  const usage = (out: number) =>
    `data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":10,"completion_tokens":${out}}}\n\n`;
  provider.handler = (request, response) =>
    stream(request, response, [usage(1), usage(2), usage(3), "data: [DONE]\n\n"]);
  await (await rig.post(path, { ...chat, stream: true })).text();
  expect(await lastRow()).toMatchObject({ tokensIn: 10, tokensOut: 3 });
  provider.handler = anthropic();
  await (await rig.post("/anthropic/v1/messages", { ...chat, model: "claude-sonnet-4-5", stream: true })).text();
  expect(await lastRow()).toMatchObject({ tokensIn: 100, tokensOut: 20, usage: { input_cached_tokens: 40 } });
});

test("an event of more than a megabyte passes whole", async () => {
  const image = "A".repeat(1_500_000);
  const events = [
    `data: {"object":"chat.completion.chunk","choices":[{"delta":{"image":"${image}"}}]}\n\n`,
    "data: [DONE]\n\n",
  ];
  provider.handler = (request, response) => stream(request, response, events);
  expect(await (await rig.post(path, { ...chat, stream: true })).text()).toBe(events.join(""));
});

test("each piece of a stream arrives before the next one is sent", async () => {
  let next: () => void = () => {};
  provider.handler = async (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const text of ["one", "two", "three"]) {
      const read = new Promise<void>((resolve) => (next = resolve));
      response.write(event(text));
      await read;
    }
    response.end("data: [DONE]\n\n");
  };
  const answer = await rig.post(path, { ...chat, stream: true });
  const reader = answer.body?.getReader();
  for (const text of ["one", "two", "three"]) {
    const piece = await reader?.read();
    expect(Buffer.from(piece?.value ?? []).toString()).toBe(event(text));
    next();
  }
});

test("a connection that the provider closed while idle costs the client nothing", async () => {
  const sockets: Socket[] = [];
  let requests = 0;
  const body = JSON.stringify({ usage: { prompt_tokens: 1, completion_tokens: 1 } });
  // Answers once on each connection, and hangs up when asked a second time.
  const server = createServer((socket) => {
    sockets.push(socket);
    let answered = false;
    socket.on("error", () => {});
    socket.on("data", () => {
      requests++;
      if (answered) return void socket.destroy();
      answered = true;
      socket.write(
        `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  await rig.gateways.createProvider(accountId, { name: "idle", slug: "idle", base_url: `http://127.0.0.1:${port}/` });
  for (let time = 0; time < 3; time++) expect((await rig.post("/custom-idle/v1/x", chat)).status).toBe(200);
  expect(requests).toBeGreaterThan(3);
  for (const socket of sockets) socket.destroy();
  server.close();
});

test("a request is answered by the settings with which it came", async () => {
  provider.handler = (request, response) =>
    stream(request, response, [...many.slice(0, 20), "data: [DONE]\n\n"], { everyMs: 10 });
  const answer = await rig.post(path, { ...chat, stream: true });
  await rig.change({ collect_logs: false });
  expect(await answer.text()).toContain("[DONE]");
  expect(await lastRow()).toMatchObject({ id: answer.headers.get("cf-aig-log-id") });
  await rig.change({});
});

test("requests that two servers could read differently are refused", async () => {
  const send = async (head: string) => {
    const socket = connect(rig.port, "127.0.0.1");
    socket.write(`POST /v1/${accountId}/main${path} HTTP/1.1\r\nhost: x\r\n${head}\r\n\r\n`);
    const [bytes] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    return bytes.toString("latin1", 0, 12);
  };
  const before = provider.requests.length;
  expect(await send("content-length: 2\r\ntransfer-encoding: chunked")).toBe("HTTP/1.1 400");
  expect(await send("content-length: 2\r\ncontent-length: 3")).toBe("HTTP/1.1 400");
  const forged = [{ provider: "openai", endpoint: "chat/completions", headers: { "x-a": "1\r\nx-b: 2" }, query: chat }];
  expect((await rig.post("", forged)).status).toBe(400);
  expect(provider.requests.length).toBe(before);
});
