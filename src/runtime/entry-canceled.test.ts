import { expect, test } from "vitest";
import type { LogMessage } from "#products/logs/schema.ts";
import { runVersion } from "../../test/support/worker-version.ts";

const main = (source: string) => [{ name: "index.js", source }];
const pathOf = ({ event }: LogMessage) => {
  const request = event?.["request"] as { url: string } | undefined;
  return request && new URL(request.url).pathname;
};
const linesOf = (messages: LogMessage[], path: string) =>
  messages.filter((message) => pathOf(message) === path).flatMap(({ logs }) => logs.map(({ message }) => message[0]));

test("a client that leaves ends its invocation as canceled, whatever its handler still does", async () => {
  await using worker = await runVersion({
    exports: ["default", "Other"],
    modules: main(`
      import { WorkerEntrypoint } from "cloudflare:workers";
      const work = async (request, ctx) => {
        console.log("begins");
        if (request.url.endsWith("/goes-on")) ctx.waitUntil(scheduler.wait(400).then(() => console.log("background")));
        await scheduler.wait(300);
        console.log("goes on");
        if (request.url.endsWith("/fails")) throw new Error("nobody cares");
        await scheduler.wait(60_000);
        return new Response("x");
      };
      export class Other extends WorkerEntrypoint { fetch(request) { return work(request, this.ctx) } }
      export default { async fetch(request, env, ctx) {
        if (request.url.endsWith("/quick")) return new Response("x");
        return request.url.endsWith("/class") ? ctx.exports.Other.fetch(request) : work(request, ctx);
      } }`),
  });
  for (const path of ["/plain", "/goes-on", "/fails", "/class"])
    await expect(worker.get(path, { signal: AbortSignal.timeout(150) }), path).rejects.toThrow();
  await worker.get("/quick");
  // The entrypoint that another one asked is an invocation of its own.
  const canceled = await worker.messages(
    (messages) => messages.filter(({ outcome }) => outcome === "canceled").length >= 5,
  );
  for (const path of ["/plain", "/goes-on", "/fails", "/class"]) {
    for (const message of canceled.filter((one) => pathOf(one) === path && one.part === undefined))
      expect([message.outcome, message.event?.["response"]], path).toEqual(["canceled", undefined]);
    expect(linesOf(canceled, path), path).toContain("begins");
  }
  expect((await worker.probe()).inFlight).toBe(0);
  const all = await worker.messages(
    (messages) =>
      linesOf(messages, "/goes-on").includes("background") && messages.some(({ outcome }) => outcome === "ok"),
  );
  expect(all.filter(({ outcome }) => outcome === "ok").map(pathOf)).toEqual(["/quick"]);
});
