import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { firstError, uploadForm as form, WorkersApi } from "../../../test/support/workers-api.ts";

let workers: WorkersApi;
beforeEach(async () => {
  workers = await WorkersApi.start();
});
afterEach(() => workers[Symbol.asyncDispose]());

describe("assets", () => {
  const hashA = "a".repeat(32);
  const hashB = "b".repeat(32);
  const manifest = {
    "/index.html": { hash: hashA, size: 5 },
    "/sub/ü x.txt": { hash: hashB, size: 3 },
    "/copy.html": { hash: hashA, size: 5 },
  };
  const session = async () =>
    (await workers.call("POST", "/workers/scripts/site/assets-upload-session", { manifest })).json.result as {
      jwt: string;
      buckets: string[][];
    };
  const upload = async (jwt: string, parts: Record<string, string>) => {
    const data = new FormData();
    for (const [hash, text] of Object.entries(parts))
      data.append(hash, new File([Buffer.from(text).toString("base64")], hash, { type: "text/html" }));
    const answer = await workers.api.request(
      `http://localhost/accounts/${workers.account}/workers/assets/upload?base64=true`,
      {
        method: "POST",
        headers: { authorization: `Bearer ${jwt}` },
        body: data,
      },
    );
    return {
      status: answer.status,
      json: (await answer.json()) as { errors: { code: number }[]; result: { jwt?: string } },
    };
  };

  test("what is missing is asked for once, and becomes a folder of links", async () => {
    const { jwt, buckets } = await session();
    expect(buckets.flat().toSorted()).toEqual([hashA, hashB]);
    expect(await upload(jwt, { [hashA]: "hello" })).toMatchObject({ status: 202, json: { result: {} } });
    const last = await upload(jwt, { [hashB]: "abc" });
    expect(last.status).toBe(201);
    const deployed = await workers.put(
      "site",
      form({ assets: { jwt: last.json.result.jwt, config: { html_handling: "none" } } }, []),
    );
    expect(deployed.status).toBe(200);
    expect(workers.trials[0]?.version).toMatchObject({
      format: "assets-only",
      modules: [],
      assets: { config: { html_handling: "none" } },
    });
    const root = workers.layout.assetFiles(workers.trials[0]?.version.assets?.tree ?? "");
    expect(await readFile(join(root, "sub", "ü x.txt"), "utf8")).toBe("abc");
    expect((await stat(join(root, "index.html"))).ino).toBe((await stat(join(root, "copy.html"))).ino);
    expect((await session()).buckets).toEqual([]);
  });

  test("a token that is complete at once deploys without an upload; an incomplete one does not", async () => {
    const first = await session();
    expect(firstError(await workers.put("site", form({ assets: { jwt: first.jwt } }, [])))?.code).toBe(10000);
    await upload(first.jwt, { [hashA]: "hello", [hashB]: "abc" });
    expect((await workers.put("site", form({ assets: { jwt: (await session()).jwt } }, []))).status).toBe(200);
  });

  test("a token is good for its own Worker and account alone", async () => {
    const { jwt } = await session();
    const done = (await upload(jwt, { [hashA]: "hello", [hashB]: "abc" })).json.result.jwt;
    expect(firstError(await workers.put("other", form({ assets: { jwt: done } }, [])))?.code).toBe(10000);
    expect(firstError(await workers.put("site", form({ assets: { jwt: done } }, []), "theirs"))?.code).toBe(10000);
    expect((await upload("nonsense", {})).status).toBe(401);
  });

  test("files that were not announced, or of another size, are refused", async () => {
    const { jwt } = await session();
    expect((await upload(jwt, { ["c".repeat(32)]: "x" })).json.errors[0]?.code).toBe(10021);
    expect((await upload(jwt, { [hashA]: "longer" })).json.errors[0]?.code).toBe(10021);
  });

  test.each(["/../x", "//x", "x", "/a/./b", "/a\0b", "/", "/a/", `/${"x".repeat(256)}`])(
    "the path %j is refused",
    async (path) => {
      const answer = await workers.call("POST", "/workers/scripts/site/assets-upload-session", {
        manifest: { [path]: { hash: hashA, size: 1 } },
      });
      expect(firstError(answer)).toMatchObject({ code: 10021 });
    },
  );

  test("a name that is a file and a folder is refused", async () => {
    const answer = await workers.call("POST", "/workers/scripts/site/assets-upload-session", {
      manifest: { "/a": { hash: hashA, size: 1 }, "/a/b": { hash: hashB, size: 1 } },
    });
    expect(firstError(answer)).toMatchObject({ code: 10021 });
  });
});
