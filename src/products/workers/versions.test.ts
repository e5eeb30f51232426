import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { firstError, moduleUpload as modules, namespace, WorkersApi } from "../../../test/support/workers-api.ts";

let workers: WorkersApi;
beforeEach(async () => {
  workers = await WorkersApi.start();
});
afterEach(() => workers[Symbol.asyncDispose]());

describe("a later upload", () => {
  test("keeps secrets, inherits by name and forgets the rest", async () => {
    await workers.put(
      "hello",
      modules({
        bindings: [
          { name: "S", type: "secret_text", text: "x" },
          { name: "T", type: "plain_text", text: "t" },
          { name: "K", type: "kv_namespace", namespace_id: namespace },
        ],
      }),
    );
    await workers.put("hello", modules({ bindings: [{ name: "K", type: "inherit" }] }));
    expect(workers.trials[1]?.version.bindings).toEqual([
      { name: "K", type: "kv_namespace", namespaceId: namespace },
      { name: "S", type: "secret_text" },
    ]);
    expect(workers.trials[1]?.secrets).toEqual(workers.trials[0]?.secrets);
  });

  test("keeps variables when it says so", async () => {
    await workers.put("hello", modules({ bindings: [{ name: "T", type: "plain_text", text: "t" }] }));
    await workers.put("hello", modules({ keep_bindings: ["plain_text"] }));
    expect(workers.trials[1]?.version.bindings).toEqual([{ name: "T", type: "plain_text", text: "t" }]);
  });

  test("that inherits what is not there fails with one entry for each name", async () => {
    await workers.put("hello", modules());
    const { json } = await workers.put(
      "hello",
      modules({
        bindings: [
          { name: "A", type: "inherit" },
          { name: "B", type: "inherit" },
        ],
      }),
    );
    expect(json.errors.map(({ code, message }) => [code, message.slice(0, 30)])).toEqual([
      [10057, "inherit binding 'A' is invalid"],
      [10057, "inherit binding 'B' is invalid"],
    ]);
  });

  test("only goes live with the deployment that follows it", async () => {
    await workers.put("hello", modules());
    const version = (await workers.call("POST", "/workers/scripts/hello/versions", modules())).json.result as {
      id: string;
      number: number;
    };
    expect(version.number).toBe(2);
    expect(workers.settled).toBe(1);
    const wrong = await workers.call("POST", "/workers/scripts/hello/deployments", {
      versions: [{ version_id: version.id, percentage: 99 }],
    });
    expect(firstError(wrong)?.code).toBe(10021);
    const right = await workers.call("POST", "/workers/scripts/hello/deployments", {
      strategy: "percentage",
      versions: [{ version_id: version.id, percentage: 100 }],
    });
    expect(right.json.result).toMatchObject({ annotations: { "workers/triggered_by": "deployment" } });
    expect(workers.settled).toBe(2);
  });

  test("two at once get a number each, in order", async () => {
    await workers.put("hello", modules());
    await Promise.all(
      Array.from({ length: 5 }, () => workers.call("POST", "/workers/scripts/hello/versions", modules())),
    );
    const { items } = (await workers.call("GET", "/workers/scripts/hello/versions")).json.result as {
      items: { number: number }[];
    };
    expect(items.map(({ number }) => number)).toEqual([6, 5, 4, 3, 2, 1]);
  });
});

describe("secrets", () => {
  test("are set, listed by name and removed, each a deployed version", async () => {
    await workers.put("hello", modules());
    expect(
      (await workers.call("PUT", "/workers/scripts/hello/secrets", { name: "A", text: "canary", type: "secret_text" }))
        .status,
    ).toBe(200);
    await workers.call("PATCH", "/workers/scripts/hello/secrets-bulk", {
      secrets: { B: { name: "B", text: "2", type: "secret_text" } },
    });
    expect((await workers.call("GET", "/workers/scripts/hello/secrets")).json.result).toEqual([
      { name: "A", type: "secret_text" },
      { name: "B", type: "secret_text" },
    ]);
    expect((await workers.call("DELETE", "/workers/scripts/hello/secrets/A?url_encoded=true")).json.result).toBe(null);
    expect((await workers.call("GET", "/workers/scripts/hello/secrets")).json.result).toEqual([
      { name: "B", type: "secret_text" },
    ]);
    expect(firstError(await workers.call("DELETE", "/workers/scripts/hello/secrets/A"))?.code).toBe(10056);
    expect(workers.settled).toBe(4);
  });

  test("of a Worker that does not exist are 10007, so that wrangler makes a draft", async () => {
    expect(
      firstError(
        await workers.call("PUT", "/workers/scripts/none/secrets", { name: "A", text: "", type: "secret_text" }),
      )?.code,
    ).toBe(10007);
  });

  test("are refused while the latest version is not live", async () => {
    await workers.put("hello", modules());
    await workers.call("POST", "/workers/scripts/hello/versions", modules());
    expect(
      firstError(
        await workers.call("PUT", "/workers/scripts/hello/secrets", { name: "A", text: "", type: "secret_text" }),
      )?.code,
    ).toBe(10215);
    const version = await workers.call("PATCH", "/workers/workers/hello/versions/latest", {
      env: { A: { type: "secret_text", text: "x" } },
    });
    expect(version.json.result).toMatchObject({ number: 3 });
  });

  test("are in no file in the clear", async () => {
    await workers.put("hello", modules({ bindings: [{ name: "S", type: "secret_text", text: "canary-7f3a" }] }));
    await workers.closeDatabase();
    for (const file of readdirSync(workers.folder, { recursive: true, withFileTypes: true })) {
      if (file.isFile()) expect((await readFile(join(file.parentPath, file.name))).includes("canary-7f3a")).toBe(false);
    }
  });
});
