import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pollUntil, sleep } from "#core/deadline.ts";
import { findChildren } from "#runtime/proc.ts";
import { type Followed, Solum, testedWranglers } from "../support/start-solum.ts";
import { messagesOf, pathOf, until, type TailMessage } from "../support/tail-messages.ts";

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

/** Sends a request that passes the filters until one was shown; with `--format json` wrangler does not say that it listens. */
async function untilShown(followed: Followed, send: () => Promise<unknown>): Promise<void> {
  await pollUntil({ ms: 60_000, everyMs: 300, what: `a line of ${followed.output()}` }, async () => {
    await send();
    return messagesOf(followed).length > 0 || /Ok @|Exception Thrown @/.test(followed.output()) ? true : undefined;
  });
}

describe.each(testedWranglers)("wrangler %s tail", (version) => {
  test("--format pretty shows each kind of invocation, and ends cleanly", async () => {
    const tail = solum.followWrangler(project, ["tail", "--format", "pretty"], version);
    await until("a connection", () => tail.output().includes("Connected to tail, waiting for logs...") || undefined);
    expect(tail.output()).toMatch(/Successfully created tail, expires at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/);
    const sentAt = performance.now();
    await solum.request(host, "/log");
    await until("the first line", () => tail.output().includes("/log - Ok @") || undefined);
    // About 150 ms where nothing else runs: a batch and two hops. The bound is for a machine that does more.
    expect(performance.now() - sentAt).toBeLessThan(5000);
    for (const path of ["/throw", "/status?code=418", "/rpc", "/escape"]) await solum.request(host, path);
    const output = await until("all", () => (tail.output().includes("/escape - Ok") ? tail.output() : undefined));
    // What a Worker says soon after its answer is told with it. Where the 50 ms take longer it comes by itself: then once more.
    await until("a line after the answer", async () => {
      await solum.request(host, "/later?ms=50");
      await sleep(500);
      return /\/later\?ms=50 - Ok @ .*\n {2}\(log\) later/.test(tail.output()) || undefined;
    });
    const url = `http://${host}:${solum.port}`;
    expect(output).toContain(`GET ${url}/log - Ok @ `);
    for (const line of [
      "(log) a line { with: 'data' } 3",
      "(debug) details",
      "(info) for information",
      "(warn) careful",
    ])
      expect(output).toContain(line);
    expect(output).toContain("(error) TypeError: said, not thrown");
    expect(output).toMatch(/\/throw - Exception Thrown @ .*\n {2}\(log\) before it\n.*RangeError: thrown on purpose/);
    expect(output).toMatch(/at Object\.fetch \(index\.js:\d+:\d+\)/);
    expect(output).toContain("Greeter.greet - Ok @ ");
    expect(output).toContain("(log) greeted you");
    // Newer ones show control characters as text; the older one hands them to the terminal.
    if (version === "4.156") expect(output).toContain("red \\u001b[31m text");
    expect(await tail.stop("SIGINT")).toBe(0);
    expect(tail.output()).toContain("Stopping tail...");
    expect(tail.output()).not.toContain("Tail connection lost");
    expect((await solum.api("GET", "/workers/scripts/tail/tails")).json.result).toBeNull();
  });

  test("--format json prints Cloudflare's messages", async () => {
    const tail = solum.followWrangler(project, ["tail", "--format", "json"], version);
    await untilShown(tail, () => solum.request(host, "/hello"));
    const before = Date.now();
    await solum.request(host, "/log?x=1", {
      method: "POST",
      headers: { "x-mine": "1", authorization: "Bearer secret", cookie: "a=b" },
    });
    await solum.request(host, "/throw");
    const [message, thrown] = await until("both", () => {
      const found = ["/log?x=1", "/throw"].map((path) => messagesOf(tail).find((one) => pathOf(one) === path));
      return found.includes(undefined) ? undefined : (found as [TailMessage, TailMessage]);
    });
    expect(Object.keys(message)).toEqual([
      "wallTime",
      "cpuTime",
      "truncated",
      "executionModel",
      "outcome",
      "scriptVersion",
      "scriptName",
      "entrypoint",
      "diagnosticsChannelEvents",
      "exceptions",
      "logs",
      "eventTimestamp",
      "event",
    ]);
    expect(message).toMatchObject({
      truncated: false,
      executionModel: "stateless",
      outcome: "ok",
      scriptVersion: { id: versionId },
      scriptName: "tail",
      entrypoint: "default",
      diagnosticsChannelEvents: [],
      exceptions: [],
      event: {
        request: {
          url: `http://${host}:${solum.port}/log?x=1`,
          method: "POST",
          headers: { "x-mine": "1", authorization: "REDACTED", cookie: "REDACTED", "cf-connecting-ip": "127.0.0.1" },
          cf: { colo: "SOL", httpProtocol: "HTTP/1.1" },
        },
        response: { status: 200 },
      },
    });
    expect(message.eventTimestamp).toBeGreaterThanOrEqual(before - 1000);
    expect(message.logs[0]).toMatchObject({ level: "log", message: ["a line", { with: "data" }, 3] });
    expect(thrown).toMatchObject({
      outcome: "exception",
      exceptions: [
        { name: "RangeError", message: "thrown on purpose", stack: expect.stringContaining("at ") as string },
      ],
      event: { request: { method: "GET" } },
    });
    expect(thrown.event?.response).toBeUndefined();
    expect(await tail.stop()).toBe(0);
  });

  test("each filter shows what it says, and nothing else", async () => {
    const good = () => solum.request(host, "/hello", { headers: { "x-mine": "one two" } });
    const cases: { args: string[]; send?: () => Promise<unknown>; shown: (message: TailMessage) => boolean }[] = [
      {
        args: ["--status", "error"],
        send: () => solum.request(host, "/throw"),
        shown: ({ outcome }) => outcome === "exception",
      },
      { args: ["--status", "ok"], shown: ({ outcome }) => outcome === "ok" },
      {
        args: ["--method", "POST", "--method", "put"],
        send: () => solum.request(host, "/", { method: "PUT" }),
        shown: ({ event }) => ["POST", "PUT"].includes(event?.request?.method ?? ""),
      },
      { args: ["--header", "X-Mine"], shown: ({ event }) => event?.request?.headers["x-mine"] !== undefined },
      { args: ["--header", "x-mine: two"], shown: ({ event }) => event?.request?.headers["x-mine"] === "one two" },
      {
        args: ["--search", "needle"],
        send: () => solum.request(host, "/needle"),
        shown: (one) => pathOf(one) === "/needle",
      },
      { args: ["--ip", "self", "--method", "GET"], shown: ({ event }) => event?.request?.method === "GET" },
      { args: ["--version-id", versionId], shown: ({ scriptVersion }) => scriptVersion.id === versionId },
    ];
    const all = async () => {
      await good();
      await solum.request(host, "/hello", { headers: { "x-mine": "three" } });
      for (const path of ["/throw", "/needle", "/log"]) await solum.request(host, path);
      for (const method of ["POST", "PUT", "DELETE"]) await solum.request(host, `/once`, { method });
    };
    // Two at a time: each wrangler takes a core while it starts.
    for (let at = 0; at < cases.length; at += 2) {
      const some = cases.slice(at, at + 2).map((one) => ({
        ...one,
        tail: solum.followWrangler(project, ["tail", "--format", "json", ...one.args], version),
      }));
      for (const { tail, send } of some) await untilShown(tail, send ?? good);
      const counts = some.map(({ tail }) => messagesOf(tail).length);
      await all();
      await solum.request(host, "/hello?last", { headers: { "x-mine": "one two" } });
      for (const [index, { tail, args, shown, send }] of some.entries()) {
        // Something that passes the filter comes last.
        await (send ?? good)();
        await until(args.join(" "), () => (messagesOf(tail).length > (counts[index] ?? 0) ? true : undefined));
        for (const message of messagesOf(tail))
          expect(shown(message), `${args.join(" ")} ${pathOf(message)}`).toBe(true);
        expect(await tail.stop(), args.join(" ")).toBe(0);
      }
    }
    const rate = solum.followWrangler(project, ["tail", "--format", "json", "--sampling-rate", "0.5"], version);
    await untilShown(rate, good);
    for (let count = 0; count < 60; count++) await solum.request(host, `/sampled?${count}`);
    await until("some of them", () => messagesOf(rate).some((one) => pathOf(one)?.startsWith("/sampled")) || undefined);
    expect(await rate.stop()).toBe(0);
    const sampled = messagesOf(rate).filter((one) => pathOf(one)?.startsWith("/sampled")).length;
    // All or none of 60 would be one case in 10^18.
    expect(sampled).toBeGreaterThan(0);
    expect(sampled).toBeLessThan(60);
  });

  test("of a Worker that does not exist is Cloudflare's error", async () => {
    const { code, output } = await solum.wrangler(project, ["tail", "nobody", "--format", "pretty"], { version });
    expect(code).toBe(1);
    expect(output).toContain("This Worker does not exist on your account. [code: 10007]");
  });
});

describe("a tail goes on", () => {
  test("through deploys, both versions of a split, and the death of their processes", async () => {
    const tail = solum.followWrangler(project, ["tail", "--format", "json"]);
    await untilShown(tail, () => solum.request(host, "/hello"));
    const file = join(project, "index.js");
    writeFileSync(file, `${readFileSync(file, "utf8")}\n// another version\n`);
    const { output } = await solum.wrangler(project, ["deploy"]);
    const second = /Current Version ID: (\S+)/.exec(output)?.[1] ?? "";
    const split = await solum.wrangler(project, ["versions", "deploy", `${versionId}@50`, `${second}@50`, "-y"]);
    expect(split.code).toBe(0);
    await until("both versions", async () => {
      await solum.request(host, "/split");
      const seen = messagesOf(tail).filter((one) => pathOf(one) === "/split");
      return new Set(seen.map(({ scriptVersion }) => scriptVersion.id)).size === 2 ? true : undefined;
    });
    const fronts = findChildren(solum.runtime).filter(({ mark }) => mark.name.startsWith("front/"));
    expect(fronts.length).toBeGreaterThan(1);
    for (const { facts } of fronts) process.kill(facts.pid, "SIGKILL");
    await until("an answer", async () => ((await solum.request(host, "/alive")).status === 200 ? true : undefined));
    const message = await until("its message", () => messagesOf(tail).find((one) => pathOf(one) === "/alive"));
    // A process that has just started tells everything: nothing is missing from its first message.
    expect(message.event?.request?.headers["cf-connecting-ip"]).toBe("127.0.0.1");
    expect(await tail.stop()).toBe(0);
    versionId = second;
    await solum.wrangler(project, ["versions", "deploy", `${second}@100`, "-y"]);
  });

  test("after the control process was killed: wrangler says so and connects again", async () => {
    const tail = solum.followWrangler(project, ["tail", "--format", "pretty"]);
    await until("a connection", () => tail.output().includes("Connected to tail") || undefined);
    const control = findChildren(solum.runtime).find(({ mark }) => mark.name === "control");
    if (!control) throw new Error("no control process");
    process.kill(control.facts.pid, "SIGKILL");
    await until("the second connection", () => tail.output().includes("Reconnected to tail.") || undefined);
    expect(tail.output()).toContain("Tail connection lost. Reconnecting (attempt 1 of 5) in 1s...");
    await solum.request(host, "/back");
    await until("a line", () => tail.output().includes("/back - Ok") || undefined);
    expect(await tail.stop("SIGINT")).toBe(0);
  });

  test("until its Worker is deleted, which ends it", async () => {
    const other = solum.project("hello");
    await solum.wrangler(other, ["deploy", "--name", "short-lived"]);
    const tail = solum.followWrangler(other, ["tail", "short-lived", "--format", "pretty"]);
    await until("a connection", () => tail.output().includes("Connected to short-lived") || undefined);
    const logs = solum.follow("logs", "short-lived");
    await until("a connection", () => logs.output().includes("Waiting for short-lived") || undefined);
    expect((await solum.api("DELETE", "/workers/scripts/short-lived")).json.success).toBe(true);
    expect(await tail.ended).toBe(0);
    expect(await logs.ended).toBe(1);
    expect(logs.output()).toContain("This Worker does not exist on your account.");
  });
});
