import { expect, test } from "vitest";
import { runVersion } from "../../test/support/worker-version.ts";

test("the probe says what the exports can be called as", async () => {
  await using worker = await runVersion({
    exports: ["Api", "Room", "default", "helper", "jobs"],
    modules: [
      {
        name: "index.js",
        source: `
      import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
      export default { fetch() {}, scheduled: () => {}, other() {} };
      class Base extends WorkerEntrypoint { fetch() {} }
      export class Api extends Base { add(a, b) { return a + b } }
      export class Room extends DurableObject { alarm() {} webSocketMessage() {} }
      export const jobs = { queue() {} };
      export const helper = () => 1;`,
      },
    ],
  });
  expect(await worker.probe()).toMatchObject({
    handlers: ["fetch", "scheduled"],
    namedHandlers: [
      { name: "Api", handlers: ["fetch"] },
      { name: "Room", handlers: ["alarm", "webSocketMessage"] },
      { name: "jobs", handlers: ["queue"] },
    ],
  });
});
