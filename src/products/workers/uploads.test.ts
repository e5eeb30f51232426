import { readdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  database,
  firstError,
  mainPart as main,
  moduleUpload as modules,
  namespace,
  uploadForm as form,
  WorkersApi,
} from "../../../test/support/workers-api.ts";

let workers: WorkersApi;
beforeEach(async () => {
  workers = await WorkersApi.start();
});
afterEach(() => workers[Symbol.asyncDispose]());

const files = () =>
  readdirSync(workers.layout.control, { recursive: true, encoding: "utf8" })
    .filter((path) => !path.startsWith("control.db"))
    .toSorted((a, b) => a.localeCompare(b));

describe("an upload", () => {
  test("is tried, kept and deployed", async () => {
    const { status, json } = await workers.put("hello", modules());
    expect(status).toBe(200);
    expect(json.result).toMatchObject({ id: "hello", startup_time_ms: 7, handlers: ["fetch"] });
    expect(workers.settled).toBe(1);
    expect(workers.trials[0]?.version).toMatchObject({
      format: "modules",
      exports: ["Room", "default"],
      modules: [{ name: "index.js", type: "esm" }],
    });
    const deployments = (await workers.call("GET", "/workers/scripts/hello/deployments")).json.result as {
      deployments: { versions: { version_id: string }[] }[];
    };
    expect(deployments.deployments[0]).toMatchObject({
      annotations: { "workers/triggered_by": "upload", "workers/message": "Automatic deployment on upload." },
      versions: [{ percentage: 100 }],
    });
    expect(readdirSync(workers.layout.staging)).toEqual([]);
  });

  // scale-reliability-security §3.3, 12, 13, 17–19, 21, 22; codes of wrangler-api §1.4.
  test.each<[string, () => FormData | string, number, RegExp]>([
    ["no multipart at all", () => "hello", 10021, /multipart/],
    ["no metadata", () => form({}), 10021, /main_module or body_part/],
    [
      "metadata that is no JSON",
      () => {
        const data = new FormData();
        data.set("metadata", "{");
        return data;
      },
      10021,
      /not valid JSON/,
    ],
    ["metadata of the wrong shape", () => form({ main_module: 7 }), 10021, /metadata\.main_module/],
    ["a main module that is missing", () => form({ main_module: "other.js" }), 10021, /not among/],
    [
      "a main module that is no module",
      () => form({ main_module: "index.js" }, [{ ...main, type: "text/plain" }]),
      10021,
      /not an ES module/,
    ],
    [
      "a module of no kind",
      () => form({ main_module: "index.js" }, [main, { name: "x", type: "image/png", text: "" }]),
      10021,
      /image\/png/,
    ],
    [
      "Python",
      () => form({ main_module: "index.js" }, [main, { name: "x.py", type: "text/x-python", text: "" }]),
      10021,
      /Python/,
    ],
    [
      "a module that climbs out",
      () => form({ main_module: "index.js" }, [main, { ...main, name: "../x.js" }]),
      10021,
      /not a usable module name/,
    ],
    [
      "an absolute module",
      () => form({ main_module: "index.js" }, [main, { ...main, name: "/etc/passwd" }]),
      10021,
      /not a usable module name/,
    ],
    [
      "a name with NUL",
      () => form({ main_module: "index.js" }, [main, { ...main, name: "a\0b" }]),
      10021,
      /not a usable module name/,
    ],
    [
      "a name of 10 kB",
      () => form({ main_module: "index.js" }, [main, { ...main, name: "x".repeat(10_000) }]),
      10021,
      /not a usable module name/,
    ],
    ["the same module twice", () => form({ main_module: "index.js" }, [main, main]), 10021, /more than one module/],
    [
      "too much code",
      () => form({ main_module: "index.js" }, [{ ...main, text: "x".repeat(1024 * 1024 + 1) }]),
      10027,
      /size limit/,
    ],
    ["a future date", () => modules({ compatibility_date: "2099-01-01" }), 10021, /in the future/],
    ["a throw at start-up", () => form({ main_module: "index.js" }, [{ ...main, text: "throw 1" }]), 10021, /thrown/],
    ["a binding without a name", () => modules({ bindings: [{ type: "json" }] }), 10052, /index 0 must have a name/],
    [
      "a binding type that does not exist",
      () => modules({ bindings: [{ name: "X", type: "nonsense" }] }),
      10021,
      /unknown type nonsense/,
    ],
    [
      "a binding type that is missing here",
      () => modules({ bindings: [{ name: "B", type: "browser" }] }),
      10021,
      /type browser is not supported.*COMPATIBILITY/,
    ],
    [
      "a namespace that is none",
      () => modules({ bindings: [{ name: "K", type: "kv_namespace", namespace_id: "../x" }] }),
      10042,
      /not valid/,
    ],
    [
      "a namespace that is not there",
      () => modules({ bindings: [{ name: "K", type: "kv_namespace", namespace_id: "f".repeat(32) }] }),
      10041,
      /not found/,
    ],
    [
      "a database that is not there",
      () => modules({ bindings: [{ name: "D", type: "d1", id: database.replace("0", "1") }] }),
      10181,
      /not found/,
    ],
    [
      "a database without an id",
      () => modules({ bindings: [{ name: "DB", type: "d1" }] }),
      10021,
      /^binding DB of type d1 must have a valid `id` specified$/,
    ],
    [
      "a bucket that is not there",
      () => modules({ bindings: [{ name: "B", type: "r2_bucket", bucket_name: "x" }] }),
      10085,
      /not found/,
    ],
    [
      "a queue that is not there",
      () => modules({ bindings: [{ name: "Q", type: "queue", queue_name: "x" }] }),
      10104,
      /^Queue "x" does not exist/,
    ],
    [
      "a service that is not there",
      () => modules({ bindings: [{ name: "S", type: "service", service: "x" }] }),
      10143,
      /Target script 'x' not found/,
    ],
    [
      "a service with props that are none",
      () => modules({ bindings: [{ name: "S", type: "service", service: "hello", props: ["x"] }] }),
      10021,
      /must have valid `props` specified/,
    ],
    [
      "a service with an entrypoint that is none",
      () => modules({ bindings: [{ name: "S", type: "service", service: "hello", entrypoint: 1 }] }),
      10021,
      /must have a valid `entrypoint` specified/,
    ],
    [
      "two bindings of one name",
      () =>
        modules({
          bindings: [
            { name: "A", type: "plain_text", text: "1" },
            { name: "A", type: "json", json: 1 },
          ],
        }),
      10021,
      /already in use/,
    ],
    [
      "an assets binding without assets",
      () => modules({ bindings: [{ name: "ASSETS", type: "assets" }] }),
      10021,
      /needs assets/,
    ],
    [
      "a migration for a class that is not there",
      () => modules({ migrations: { new_tag: "v1", steps: [{ new_sqlite_classes: ["A"] }] } }),
      10070,
      /Cannot apply new-class migration to class 'A' that is not exported by the script/,
    ],
    [
      "a binding to a class that is not there",
      () => modules({ bindings: [{ name: "A", type: "durable_object_namespace", class_name: "A" }] }),
      10061,
      /Cannot create binding for class 'A' that is not exported by the script/,
    ],
    [
      "a variable that is too large",
      () => modules({ bindings: [{ name: "A", type: "plain_text", text: "x".repeat(6000) }] }),
      10021,
      /larger than/,
    ],
  ])("with %s is refused and leaves nothing behind", async (_what, body, code, message) => {
    const before = files();
    const answer = await workers.put("hello", body());
    expect(firstError(answer)).toMatchObject({ code, message: expect.stringMatching(message) as string });
    expect(answer.json.success).toBe(false);
    expect(files()).toEqual(before);
    expect((await workers.call("GET", "/workers/scripts")).json.result).toEqual([]);
    expect(workers.settled).toBe(0);
  });

  test.each([
    "../x",
    "a/b",
    "-x",
    "x-",
    "UPPER",
    "a b",
    "$(id)",
    "api",
    "0123abcd-x",
    "x".repeat(64),
    "x".repeat(10_000),
    "a\0b",
    "%2e%2e",
  ])("under the name %j is refused", async (name) => {
    const answer = await workers.put(encodeURIComponent(name), modules());
    expect(answer.status).toBe(400);
    expect(firstError(answer)?.code).toBe(10016);
  });

  test("a version of a Worker that does not exist is 10007", async () => {
    expect(firstError(await workers.call("POST", "/workers/scripts/none/versions", modules()))).toMatchObject({
      code: 10007,
    });
  });

  test("every binding is resolved and shown again, a secret without its text", async () => {
    const bindings = [
      { name: "T", type: "plain_text", text: "t" },
      { name: "J", type: "json", json: { a: [1] } },
      { name: "S", type: "secret_text", text: "canary" },
      { name: "K", type: "kv_namespace", namespace_id: namespace },
      { name: "D", type: "d1", id: database },
      { name: "B", type: "r2_bucket", bucket_name: "files" },
      { name: "V", type: "version_metadata" },
      { name: "SELF", type: "service", service: "hello" },
    ];
    expect((await workers.put("hello", modules({ bindings }))).status).toBe(200);
    expect(workers.trials[0]?.version.bindings).toContainEqual({
      name: "D",
      type: "d1",
      databaseId: database,
      host: 1,
    });
    expect(workers.trials[0]?.version.bindings).toContainEqual({ name: "S", type: "secret_text" });
    const settings = (await workers.call("GET", "/workers/scripts/hello/settings")).json;
    expect(settings.result).toMatchObject({
      bindings: expect.arrayContaining([
        { name: "S", type: "secret_text" },
        { name: "D", type: "d1", id: database, database_id: database },
      ]) as unknown,
    });
    expect(JSON.stringify(settings)).not.toContain("canary");
    expect(JSON.stringify(workers.trials[0])).not.toContain("canary");
  });
});

test("another account sees none of it", async () => {
  await workers.put("hello", modules());
  const version = workers.trials[0]?.version.versionId ?? "";
  const paths = [
    "/workers/services/hello",
    "/workers/scripts/hello/settings",
    "/workers/scripts/hello/script-settings",
    "/workers/scripts/hello/versions",
    `/workers/scripts/hello/versions/${version}`,
    "/workers/scripts/hello/deployments",
    "/workers/scripts/hello/secrets",
    "/workers/scripts/hello/subdomain",
    "/workers/workers/hello",
    "/workers/scripts/hello/references",
    "/workers/scripts/hello/schedules",
  ];
  for (const path of paths) expect.soft((await workers.call("GET", path, undefined, "theirs")).status, path).toBe(404);
  const foreign = await workers.api.request(`http://localhost/accounts/${workers.account}/workers/scripts`, {
    headers: { authorization: "Bearer theirs" },
  });
  expect(foreign.status).toBe(404);
  expect((await workers.call("DELETE", "/workers/scripts/hello", undefined, "theirs")).status).toBe(404);
  expect((await workers.call("GET", "/workers/scripts/hello/deployments")).status).toBe(200);
});
