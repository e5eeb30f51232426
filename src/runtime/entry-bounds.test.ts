import { describe, expect, test } from "vitest";
import { logLimits, type LogMessage } from "#products/logs/schema.ts";
import { runVersion, type RunningVersion } from "../../test/support/worker-version.ts";

const main = (source: string) => [{ name: "index.js", source }];
const eventAt = async (worker: RunningVersion, path: string) => {
  const isIt = ({ event }: LogMessage) => {
    const request = event?.["request"] as { url: string } | undefined;
    return request !== undefined && new URL(request.url).pathname === path;
  };
  return (await worker.messages((messages) => messages.some(isIt))).find(isIt);
};

describe("bounds", () => {
  test("the lines of one invocation end at their limit, and the event says so", async () => {
    await using worker = await runVersion({
      modules: main(
        `export default { fetch() { for (let n = 0; n < 400; n++) console.log(n, "x".repeat(1000)); console.log("y".repeat(2_000_000)); return new Response("x") } }`,
      ),
    });
    await worker.get("/much");
    const message = await eventAt(worker, "/much");
    expect(message?.truncated).toBe(true);
    expect(message?.logs.at(-1)).toMatchObject({
      level: "warn",
      message: [expect.stringContaining(String(logLimits.invocationBytes))],
    });
    const bytes = JSON.stringify(message?.logs).length;
    expect(bytes).toBeGreaterThan(logLimits.invocationBytes * 0.9);
    expect(bytes).toBeLessThan(logLimits.invocationBytes * 1.3);
  });

  test("one huge argument is cut", async () => {
    await using worker = await runVersion({
      modules: main(
        `export default { fetch() { console.log({ big: "y".repeat(2_000_000) }); return new Response("x") } }`,
      ),
    });
    await worker.get("/huge");
    const message = await eventAt(worker, "/huge");
    expect(JSON.stringify(message).length).toBeLessThan(logLimits.invocationBytes * 1.3);
    const text = String(message?.logs[0]?.message[0]);
    expect([text.slice(0, 10), text.slice(-36)]).toEqual(['{"big":"yy', "y... [truncated: 2000010 characters]"]);
  });

  test("a Worker works the same without its log socket", async () => {
    await using worker = await runVersion({
      modules: main(`export default { fetch() { console.log("x".repeat(10_000)); return new Response("x") } }`),
    });
    await worker.stopLogs();
    const answers = await Promise.all(Array.from({ length: 300 }, async () => worker.get()));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    // workerd writes a line for every attempt, so there are few.
    expect(worker.workerd.output.stderr.split("\n").length).toBeLessThan(20);
  });
});
