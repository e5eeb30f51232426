import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findChildren } from "#runtime/proc.ts";
import { giveAddress, uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";
import { pathOf, until, type TailMessage } from "../support/tail-messages.ts";
import { clientFrame, openingRequest, serverMessages } from "../support/websocket-frames.ts";

const host = "tail.localhost";
let solum: Solum;
let project: string;
/** Of the version in force. */
let versionId: string;

beforeAll(async () => {
  solum = await Solum.start();
  project = solum.project("tail");
  const { output } = await solum.wrangler(project, ["deploy"]);
  versionId = /Current Version ID: (\S+)/.exec(output)?.[1] ?? "";
});
afterAll(() => solum[Symbol.asyncDispose]());

describe("the API of tails", () => {
  const path = "/workers/scripts/tail/tails";
  type Tail = { id: string; url: string; expires_at: string };
  const create = async (body?: unknown) => {
    const answer = await solum.api("POST", path, body);
    return { ...answer, tail: answer.json.result as Tail };
  };

  test("makes, shows and deletes one", async () => {
    const { tail } = await create();
    expect(Object.keys(tail)).toEqual(["id", "url", "expires_at"]);
    expect(tail.url).toMatch(new RegExp(`^ws://localhost:${solum.port}/client/v4/tails/[\\w-]{43}$`));
    const hours = (Date.parse(tail.expires_at) - Date.now()) / 3_600_000;
    expect(hours).toBeGreaterThan(5.9);
    expect(hours).toBeLessThan(6.1);
    expect((await solum.api("GET", path)).json.result).toEqual(tail);
    expect((await solum.api("DELETE", `${path}/${tail.id}`)).json).toMatchObject({ success: true, result: null });
    expect((await solum.api("GET", path)).json.result).toBeNull();
    const again = await solum.api("DELETE", `${path}/${tail.id}`);
    expect([again.status, again.json.errors[0]?.code]).toEqual([404, 7003]);
    const nobody = await solum.api("POST", "/workers/scripts/nobody/tails", { filters: [] });
    expect(nobody).toMatchObject({ status: 404, json: { errors: [{ code: 10007 }] } });
  });

  test.each<[string, unknown]>([
    ["no object", []],
    ["filters that are no list", { filters: {} }],
    ["an unknown filter", { filters: [{ colour: "red" }] }],
    ["an empty filter", { filters: [{}] }],
    ["two in one", { filters: [{ query: "a", sampling_rate: 0.5 }] }],
    ["a rate of 0", { filters: [{ sampling_rate: 0 }] }],
    ["a rate above 1", { filters: [{ sampling_rate: 1.1 }] }],
    ["an unknown outcome", { filters: [{ outcome: ["fine"] }] }],
    ["no outcome at all", { filters: [{ outcome: [] }] }],
    ["a header without a key", { filters: [{ header: { query: "x" } }] }],
    ["a text that is too long", { filters: [{ query: "x".repeat(1025) }] }],
    ["too many filters", { filters: Array.from({ length: 33 }, () => ({ query: "x" })) }],
    ["too many methods", { filters: [{ method: Array.from({ length: 65 }, () => "GET") }] }],
  ])("refuses %s", async (_, body) => {
    const { status, json } = await create(body);
    expect(status).toBe(400);
    expect(json.errors[0]).toMatchObject({ code: 10001, message: expect.stringMatching(/./) as string });
    expect((await solum.api("GET", path)).json.result).toBeNull();
  });

  test("no more than ten clients of a Worker at one time", async () => {
    const made: Tail[] = [];
    for (let count = 0; count < 10; count++) made.push((await create({ filters: [] })).tail);
    const { output, code } = await solum.wrangler(project, ["tail", "--format", "pretty"]);
    expect(code).toBe(1);
    expect(output).toContain("10 clients are already viewing this Worker's logs, and no more may at one time.");
    for (const { id } of made) await solum.api("DELETE", `${path}/${id}`);
  });

  test("its WebSocket passes the ingress as raw bytes", async () => {
    const { tail } = await create({ filters: [] });
    const socket = connect(solum.port, "127.0.0.1");
    let received = "";
    socket.setEncoding("latin1").on("data", (text: string) => (received += text));
    const opening = openingRequest(`localhost:${solum.port}`, new URL(tail.url).pathname);
    socket.write(opening.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: trace-v1\r\n\r\n"));
    await until("the opening", () => received.includes("\r\n\r\n") || undefined);
    expect(received).toMatch(/^HTTP\/1\.1 101 [\s\S]*sec-websocket-protocol: trace-v1/i);
    // The first frame without a mask, a ping in the middle of a message, and then one more frame without.
    socket.write(Buffer.concat([Buffer.from([0x81, 2]), Buffer.from("{}")]));
    socket.write(Buffer.from(clientFrame("ping me", 9), "latin1"));
    await until("a pong", () => serverMessages(received).includes("ping me") || undefined);
    await solum.request(host, "/raw");
    await until("a message", () => serverMessages(received).some((text) => text.includes("/raw")) || undefined);
    socket.write(Buffer.concat([Buffer.from([0x81, 2]), Buffer.from("{}")]));
    await once(socket, "close");
    expect(serverMessages(received).at(-1)).toContain("a frame is not masked");
    await solum.api("DELETE", `${path}/${tail.id}`);
  });

  test("its WebSocket is nobody else's: a wrong address, and one that is no tail", async () => {
    for (const target of ["/client/v4/tails/x", "/client/v4/user/tokens/verify"]) {
      const socket = connect(solum.port, "127.0.0.1");
      let received = "";
      socket.setEncoding("latin1").on("data", (text: string) => (received += text));
      const protocol = "\r\nSec-WebSocket-Protocol: trace-v1\r\n\r\n";
      socket.write(openingRequest(`localhost:${solum.port}`, target).replace("\r\n\r\n", protocol));
      await until("an answer", () => received.includes("\r\n\r\n") || undefined);
      expect(received, target).toMatch(/^HTTP\/1\.1 (?:404|401) /);
      socket.destroy();
    }
  });
});

describe("a WebSocket client like any other", () => {
  /** A tail of a Worker, over the WebSocket of Node, which masks all of its frames. */
  async function listen(script: string, filters: unknown[] = []) {
    const { json } = await solum.api("POST", `/workers/scripts/${script}/tails`, { filters });
    const webSocket = new WebSocket((json.result as { url: string }).url, "trace-v1");
    const messages: TailMessage[] = [];
    webSocket.addEventListener("message", ({ data }) => messages.push(JSON.parse(String(data)) as TailMessage));
    await once(webSocket, "open");
    const linesOf = () => messages.flatMap(({ logs }) => logs.map(({ message }) => message[0]));
    return { messages, linesOf, [Symbol.dispose]: () => webSocket.close() };
  }

  test("gets every message, in order, from the first one on", async () => {
    using tail = await listen("tail");
    for (let count = 0; count < 200; count++) await solum.request(host, `/n?${count}`);
    await until("all", () => tail.messages.length >= 200 || undefined);
    expect(tail.messages.map(pathOf)).toEqual(Array.from({ length: 200 }, (_, count) => `/n?${count}`));
    for (const { event } of tail.messages) expect(event?.request?.headers["cf-connecting-ip"]).toBe("127.0.0.1");
  });

  test("gets lines of a WebSocket as they are written, and of work that goes on", async () => {
    using tail = await listen("tail");
    const socket = connect(solum.port, "127.0.0.1");
    socket.write(openingRequest(`${host}:${solum.port}`, "/socket"));
    await once(socket, "data");
    const opened = await until("the opening", () => tail.messages.find((one) => pathOf(one) === "/socket"));
    expect(opened.event?.response?.status).toBe(101);
    for (const text of ["one", "two"]) {
      socket.write(Buffer.from(clientFrame(text), "latin1"));
      const line = `heard ${text}`;
      const message = await until(line, () => tail.messages.find(({ logs }) => logs[0]?.message[0] === line));
      expect(pathOf(message)).toBe("/socket");
    }
    socket.destroy();
    // Longer than an invocation is held back for its background work.
    await solum.request(host, "/later?ms=1500");
    await until("the late line", () => tail.linesOf().includes("later") || undefined);
    expect(tail.messages.filter((one) => pathOf(one) === "/later?ms=1500")).toHaveLength(2);
  });

  test("gets those of a service worker", async () => {
    await solum.wrangler(solum.project("service-worker"), ["deploy"]);
    using tail = await listen("old-style");
    await solum.request("old-style.localhost", "/x", { headers: { cookie: "a=b", "x-mine": "1" } });
    const [message] = await until("its message", () => (tail.messages.length > 0 ? tail.messages : undefined));
    expect(message).toMatchObject({
      outcome: "ok",
      scriptName: "old-style",
      event: { request: { headers: { cookie: "REDACTED", "x-mine": "1" } }, response: { status: 200 } },
    });
    expect(tail.linesOf()).toContain("service worker");
  });

  test("gets nothing of static assets, which invoke no Worker", async () => {
    await solum.wrangler(solum.project("site"), ["deploy"]);
    using assets = await listen("site");
    using code = await listen("tail");
    expect((await solum.request("site.localhost", "/")).status).toBe(200);
    await solum.request(host, "/after");
    await until("what came after", () => code.messages.length > 0 || undefined);
    expect(assets.messages).toEqual([]);
  });

  test("filters by headers that are there, whatever they are called", async () => {
    const names = ["constructor", "__proto__", "tostring"];
    for (const name of names) {
      using named = await listen("tail", [{ header: { key: name } }]);
      using all = await listen("tail");
      await solum.request(host, "/without");
      await solum.request(host, "/with", { headers: Object.fromEntries([[name, "mine"]]) });
      await until("both", () => all.messages.length >= 2 || undefined);
      const message = await until(`what has ${name}`, () => named.messages[0]);
      expect(pathOf(message), name).toBe("/with");
      const { headers = {} } = message.event?.request ?? {};
      expect(Object.entries(headers)).toContainEqual([name, "mine"]);
      expect(named.messages).toHaveLength(1);
    }
  });

  test("finds no Worker and no outcome in what every object has", async () => {
    for (const name of ["constructor", "__proto__", "toString"]) {
      const missing = await solum.api("POST", `/workers/scripts/${name}/tails`, { filters: [] });
      expect.soft(missing.json.errors, name).toMatchObject([{ code: 10007 }]);
      const outcome = await solum.api("POST", "/workers/scripts/tail/tails", { filters: [{ outcome: [name] }] });
      expect.soft(outcome.json.success, name).toBe(false);
    }
    await uploadWorker(solum, "constructor", `export default { fetch: () => new Response("made") };`);
    await giveAddress(solum, "constructor");
    using tail = await listen("constructor");
    expect((await solum.request("constructor.localhost", "/")).text).toBe("made");
    const message = await until("its message", () => tail.messages[0]);
    expect([message.outcome, pathOf(message)]).toEqual(["ok", "/"]);
  });

  test("is told of a client that left before the answer, with the lines until then", async () => {
    using tail = await listen("tail", [{ outcome: ["canceled"] }]);
    const message = await until("its message", async () => {
      await expect(solum.request(host, "/hangs", { signal: AbortSignal.timeout(300) })).rejects.toThrow();
      return tail.messages.find((one) => pathOf(one) === "/hangs");
    });
    expect([message.outcome, message.logs[0]?.message]).toEqual(["canceled", ["begins to hang"]]);
    expect(message.event?.response).toBeUndefined();
  });
});

describe("solum logs", () => {
  test("shows what happens, for people", async () => {
    const logs = solum.follow("logs", "tail");
    await until("a connection", () => logs.output().includes("Waiting for tail ... (Ctrl-C ends it)") || undefined);
    for (const path of ["/log", "/throw", "/status?code=418", "/rpc", "/escape"]) await solum.request(host, path);
    const output = await until("all", () => (logs.output().includes("red ") ? logs.output() : undefined));
    const short = versionId.slice(0, 8);
    const url = `http://${host}:${solum.port}`;
    expect(output).toMatch(
      new RegExp(`^\\d\\d:\\d\\d:\\d\\d\\.\\d{3} GET ${url}/log 200 - Ok \\(\\d+ ms, ${short}\\)$`, "m"),
    );
    expect(output).toMatch(/^ {2}\S+ log {4}a line \{ with: 'data' \} 3$/m);
    expect(output).toMatch(/^ {2}\S+ warn {3}careful$/m);
    expect(output).toMatch(
      /GET \S+\/throw - Exception Thrown .*\n.*before it\n {2}RangeError: thrown on purpose\n {4}at Object\.fetch \(index\.js:\d+/,
    );
    expect(output).toContain("Greeter.greet() - Ok");
    expect(output).toContain("red \\u001b[31m text");
    // No colour where nobody would see it.
    // oxlint-disable-next-line no-control-regex -- it is what is looked for.
    expect(output).not.toMatch(/\u001b/);
    expect(await logs.stop("SIGINT")).toBe(0);
  });

  test("--json and the filters of wrangler tail", async () => {
    const args = ["--json", "--status", "error", "--method", "POST", "--header", "x-mine:two", "--ip", "self"];
    const more = ["--search", "before", "--version-id", versionId];
    const logs = solum.follow("logs", "tail", ...args, ...more);
    const headers = { "x-mine": "one two" };
    await until("a line", async () => {
      await solum.request(host, "/throw?no", { headers });
      await solum.request(host, "/throw?no", { method: "POST" });
      await solum.request(host, "/log?no", { method: "POST", headers });
      await solum.request(host, "/throw?yes", { method: "POST", headers });
      return logs.output().includes("\n") || undefined;
    });
    await logs.stop();
    const lines = logs.output().trim().split("\n");
    for (const line of lines) expect(pathOf(JSON.parse(line) as TailMessage)).toBe("/throw?yes");
    expect((await solum.run("logs", "tail", "--status", "fine")).output).toBe(
      '--status is ok, error or canceled, and not "fine".\n',
    );
    expect((await solum.run("logs", "tail", "--sampling-rate", "2")).output).toContain("between 0 and 1");
    expect(await solum.run("logs", "nobody")).toMatchObject({
      code: 1,
      output: expect.stringContaining("This Worker does not exist on your account.") as string,
    });
  });

  test("comes back with the control process, and says when Solum stops", async () => {
    const logs = solum.follow("logs", "tail", "--json");
    await until("a line", async () => {
      await solum.request(host, "/one");
      return logs.output().includes("/one") || undefined;
    });
    const control = findChildren(solum.runtime).find(({ mark }) => mark.name === "control");
    if (!control) throw new Error("no control process");
    process.kill(control.facts.pid, "SIGKILL");
    await until("a line", async () => {
      await solum.request(host, "/two");
      return logs.output().includes("/two") || undefined;
    });
    expect(logs.output()).toContain("Connecting again");
    await solum.stop();
    expect(await logs.ended).toBe(1);
    expect(logs.output()).toContain("Solum is not running");
    expect(await solum.run("logs", "tail", "--data", solum.data)).toMatchObject({
      code: 1,
      output: expect.stringContaining("Solum is not running") as string,
    });
  });
});
