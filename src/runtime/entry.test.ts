import { expect, test } from "vitest";
import { runVersion } from "../../test/support/worker-version.ts";

test("a hello Worker answers and its event arrives", async () => {
  await using worker = await runVersion({
    modules: [{ name: "index.js", source: `console.log("top"); export default { fetch(request, env, ctx) { console.log("hi", { a: 1 }); return new Response("hello " + Object.keys(env)) } }` }],
  });
  expect(await worker.get("/a?b")).toMatchObject({ status: 200, body: "hello " });
  const messages = await worker.messages((all) => all.length >= 2);
  expect(messages).toMatchInlineSnapshot(`
    [
      {
        "event": null,
        "eventTimestamp": 0,
        "exceptions": [],
        "id": null,
        "logs": [
          {
            "level": "log",
            "message": [
              "top",
            ],
            "timestamp": 0,
          },
        ],
        "outcome": "ok",
        "part": "startup",
        "scriptName": "hello",
        "scriptVersion": {
          "id": "11111111-2222-4333-8444-555555555555",
        },
        "wallTime": 0,
      },
      {
        "entrypoint": "default",
        "event": {
          "request": {
            "cf": {},
            "headers": {},
            "method": "GET",
            "url": "http://worker.localhost:8787/a?b",
          },
          "response": {
            "status": 200,
          },
        },
        "eventTimestamp": 1795480711072,
        "exceptions": [],
        "id": "mwtyuv8gx4bcva-1",
        "logs": [
          {
            "level": "log",
            "message": [
              "hi",
              {
                "a": 1,
              },
            ],
            "timestamp": 1795480711072,
          },
        ],
        "outcome": "ok",
        "scriptName": "hello",
        "scriptVersion": {
          "id": "11111111-2222-4333-8444-555555555555",
        },
        "wallTime": 1,
      },
    ]
  `);
  expect(await worker.probe()).toEqual({ inFlight: 0, waitUntil: 0, unsent: 0 });
});
