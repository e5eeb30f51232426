import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { ownerProcesses } from "../support/objects-worker.ts";
import { Solum } from "../support/start-solum.ts";

/** Cloudflare's `agents` SDK from npm, both its sides as they are. */
let solum: Solum;
let project: string;
beforeAll(async () => {
  solum = await Solum.start();
  project = solum.project("agents");
  const { code, output } = await solum.wrangler(project, ["deploy"]);
  expect(code, output).toBe(0);
}, 120_000);
afterAll(() => solum[Symbol.asyncDispose]());

type Line = {
  state?: { count: number; log: string[] };
  hello?: string;
  method?: string;
  result?: unknown;
  error?: string;
};

/** The SDK's client as a process of its own. */
class Client implements Disposable {
  readonly lines: Line[] = [];
  readonly #child: ChildProcess;
  #output = "";

  constructor(name: string) {
    const program = join(project, "client.mjs");
    this.#child = spawn(process.execPath, [program, `agents.localhost:${solum.port}`, name], { stdio: "pipe" });
    this.#child.stderr?.resume();
    this.#child.stdout?.on("data", (bytes: Buffer) => {
      this.#output += bytes.toString();
      const lines = this.#output.split("\n");
      this.#output = lines.pop() ?? "";
      this.lines.push(...lines.map((line) => JSON.parse(line) as Line));
    });
  }

  call(...call: unknown[]): void {
    this.#child.stdin?.write(`${JSON.stringify(call)}\n`);
  }

  async saw(what: Line, ms = 10_000): Promise<void> {
    const wait = { ms, everyMs: 10, what: `${JSON.stringify(what)} among ${JSON.stringify(this.lines)}` };
    await pollUntil(wait, () => (this.lines.some((line) => contains(line, what)) ? true : undefined));
  }

  [Symbol.dispose](): void {
    this.#child.kill();
  }
}

const contains = (line: Line, what: Line) =>
  Object.entries(what).every(([key, value]) => JSON.stringify(line[key as keyof Line]) === JSON.stringify(value));

test("state, calls, a schedule, SQL and HTTP", async () => {
  using client = new Client("room");
  using other = new Client("room");
  await client.saw({ hello: "room" });
  await other.saw({ state: { count: 0, log: [] } });
  client.call("increment", 2);
  await client.saw({ method: "increment", result: 2 });
  // Everybody who is connected learns of it.
  await other.saw({ state: { count: 2, log: [] } });
  client.call("two");
  await client.saw({ method: "two", result: [{ two: 2 }] });
  client.call("onLater", { text: "not meant for callers" });
  await client.saw({ method: "onLater", error: "Method onLater is not callable" });
  other.call("later", 1, "a second later");
  await client.saw({ state: { count: 2, log: ["a second later"] } });
  const { text } = await solum.request("agents.localhost", "/agents/counter/room");
  expect(JSON.parse(text)).toEqual({ count: 2, log: ["a second later"] });
});

test("state, connections and schedules outlive a kill -9 of the agents' process", async () => {
  using client = new Client("kept");
  await client.saw({ hello: "kept" });
  client.call("increment", 5);
  await client.saw({ method: "increment", result: 5 });
  client.call("later", 3, "after the kill");
  await pollUntil({ ms: 5000, everyMs: 10, what: "the schedule" }, () =>
    client.lines.some(({ method, result }) => method === "later" && result !== undefined) ? true : undefined,
  );
  for (const { facts } of ownerProcesses(solum.runtime)) process.kill(facts.pid, "SIGKILL");
  // The client connects again by itself.
  await client.saw({ state: { count: 5, log: ["after the kill"] } }, 20_000);
});
