import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { mkdir, readFile, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dataLayout, type DataLayout } from "#core/layout.ts";
import { openDatabase, type Database } from "#db/database.ts";
import { createApi, type Api, type Principal } from "#http/app.ts";
import { requireAccount, requireToken } from "#http/auth.ts";
import { accountStore } from "#products/accounts/store.ts";
import { assetUploadRoutes } from "#products/workers/asset-routes.ts";
import { assetStore } from "#products/workers/assets.ts";
import type { Resources } from "#products/workers/bindings.ts";
import { blobStore } from "#products/workers/blobs.ts";
import type { Deployer, TrialRequest } from "#products/workers/deployer.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { releases } from "#products/workers/releases.ts";
import { workerRoutes } from "#products/workers/routes.ts";
import { workerStore } from "#products/workers/store.ts";

/**
 * The API over a real database and real files. Only the part that runs processes is played here: what it was asked is
 * recorded, and a module that says "throw" fails as workerd would.
 */
type Answer = {
  status: number;
  json: { success: boolean; errors: { code: number; message: string }[]; result: never };
};

let folder: string;
let layout: DataLayout;
let db: Database;
let api: Api;
let account: string;
let stranger: string;
let trials: TrialRequest[];
let settled: number;

const namespace = "0123456789abcdef0123456789abcdef";
const database = "01234567-89ab-4def-8123-456789abcdef";
const resources: Resources = {
  hasKvNamespace: async (accountId, id) => accountId === account && id === namespace,
  findD1Host: async (accountId, id) => (accountId === account && id === database ? 1 : undefined),
  findBucketId: async (accountId, { name }) => (accountId === account && name === "files" ? "bucket-id" : undefined),
  hasWorker: async (accountId, name) => (await workerStore(db).find(accountId, name)) !== undefined,
};

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-workers-"));
  layout = dataLayout(folder);
  for (const path of [layout.staging, layout.blobs, layout.assetTrees]) await mkdir(path, { recursive: true });
  db = await openDatabase(layout.controlDb, ["accounts", "workers"]);
  const accounts = accountStore(db);
  account = await accounts.ensureFirst("mine");
  stranger = (await accounts.create({ name: "Other", subdomain: "other" })).id;
  await accounts.addToken({ accountId: stranger, name: "t", token: "theirs" });
  trials = [];
  settled = 0;
  const deployer: Deployer = {
    async trial(request) {
      trials.push(request);
      const { modules, format } = request.version;
      if (request.stagingFolder !== undefined && modules[0]) {
        const text = await readFile(join(request.stagingFolder, modules[0].hash), "utf8");
        if (text.includes("throw")) throw workerErrors.uncaughtAtStartup("Uncaught Error: thrown");
      }
      return { startupMs: 7, handlers: format === "assets-only" ? null : ["fetch"], namedHandlers: [] };
    },
    refusesCompatibility: async (date) =>
      date > "2026-11-23" ? `Can't set compatibility date in the future: "${date}".` : undefined,
    async settle() {
      settled++;
    },
  };
  const store = workerStore(db);
  const blobs = blobStore(layout);
  const assets = assetStore({ db, blobs, layout, key: Buffer.alloc(32, 1) });
  const reservedNames = new Set(["api", "s3"]);
  const parts = {
    store,
    assets,
    reservedNames,
    workerBytes: 1024 * 1024,
    address: () => ({ url: "http://x", previewSuffix: "-x" }),
    releases: releases({
      store,
      blobs,
      assets,
      resources,
      deployer,
      sealKey: Buffer.alloc(32, 2),
      unsupportedBindings: "refuse",
      reservedNames,
    }),
  };
  api = createApi();
  api.route("/", assetUploadRoutes(assets));
  api.use(
    "*",
    requireToken((token): Promise<Principal | undefined> => accounts.principalOf(token)),
  );
  api.use("/accounts/:account_id/*", requireAccount());
  api.route("/accounts/:account_id", workerRoutes(parts));
});
afterEach(async () => {
  await db.close();
  rmSync(folder, { recursive: true });
});

async function call(method: string, path: string, body?: unknown, token = "mine"): Promise<Answer> {
  const isForm = body instanceof FormData || typeof body === "string";
  const init = {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
  };
  const answer = await api.request(`http://localhost/accounts/${token === "mine" ? account : stranger}${path}`, init);
  return { status: answer.status, json: (await answer.json()) as Answer["json"] };
}

type Part = { name: string; type: string; text: string };
const main: Part = {
  name: "index.js",
  type: "application/javascript+module",
  text: "export default { fetch() {} }; export class Room {}",
};

function form(metadata: Record<string, unknown>, parts: Part[] = [main]): FormData {
  const data = new FormData();
  data.set("metadata", JSON.stringify(metadata));
  for (const { name, type, text } of parts) data.append(name, new File([text], name, { type }));
  return data;
}

const modules = (more: Record<string, unknown> = {}) =>
  form({ main_module: "index.js", compatibility_date: "2026-01-01", ...more });
const put = (name: string, data: FormData, token?: string) =>
  call("PUT", `/workers/scripts/${name}?bindings_inherit=strict`, data, token);
const files = () =>
  readdirSync(layout.control, { recursive: true })
    .filter((path) => !String(path).startsWith("control.db"))
    .toSorted();
const firstError = ({ json }: Answer) => json.errors[0];

describe("an upload", () => {
  test("is tried, kept and deployed", async () => {
    const { status, json } = await put("hello", modules());
    expect(status).toBe(200);
    expect(json.result).toMatchObject({ id: "hello", startup_time_ms: 7, handlers: ["fetch"] });
    expect(settled).toBe(1);
    expect(trials[0]?.version).toMatchObject({
      format: "modules",
      exports: ["Room", "default"],
      modules: [{ name: "index.js", type: "esm" }],
    });
    const deployments = (await call("GET", "/workers/scripts/hello/deployments")).json.result as {
      deployments: { versions: { version_id: string }[] }[];
    };
    expect(deployments.deployments[0]).toMatchObject({
      annotations: { "workers/triggered_by": "upload", "workers/message": "Automatic deployment on upload." },
      versions: [{ percentage: 100 }],
    });
    expect(readdirSync(layout.staging)).toEqual([]);
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
      () => modules({ bindings: [{ name: "Q", type: "queue", queue_name: "q" }] }),
      10021,
      /type queue is not supported.*COMPATIBILITY/,
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
      "a service that is not there",
      () => modules({ bindings: [{ name: "S", type: "service", service: "x" }] }),
      10143,
      /Target script 'x' not found/,
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
      "a migration",
      () => modules({ migrations: { new_tag: "v1", steps: [{ new_sqlite_classes: ["A"] }] } }),
      10021,
      /Durable Object/,
    ],
    [
      "a variable that is too large",
      () => modules({ bindings: [{ name: "A", type: "plain_text", text: "x".repeat(6000) }] }),
      10021,
      /larger than/,
    ],
  ])("with %s is refused and leaves nothing behind", async (_what, body, code, message) => {
    const before = files();
    const answer = await put("hello", body() as FormData);
    expect(firstError(answer)).toMatchObject({ code, message: expect.stringMatching(message) as string });
    expect(answer.json.success).toBe(false);
    expect(files()).toEqual(before);
    expect((await call("GET", "/workers/scripts")).json.result).toEqual([]);
    expect(settled).toBe(0);
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
    const answer = await put(encodeURIComponent(name), modules());
    expect(answer.status).toBe(400);
    expect(firstError(answer)?.code).toBe(10016);
  });

  test("a version of a Worker that does not exist is 10007", async () => {
    expect(firstError(await call("POST", "/workers/scripts/none/versions", modules()))).toMatchObject({ code: 10007 });
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
    expect((await put("hello", modules({ bindings }))).status).toBe(200);
    expect(trials[0]?.version.bindings).toContainEqual({ name: "D", type: "d1", databaseId: database, host: 1 });
    expect(trials[0]?.version.bindings).toContainEqual({ name: "S", type: "secret_text" });
    const settings = (await call("GET", "/workers/scripts/hello/settings")).json;
    expect(settings.result).toMatchObject({
      bindings: expect.arrayContaining([
        { name: "S", type: "secret_text" },
        { name: "D", type: "d1", id: database, database_id: database },
      ]) as unknown,
    });
    expect(JSON.stringify(settings)).not.toContain("canary");
    expect(JSON.stringify(trials[0])).not.toContain("canary");
  });
});

describe("a later upload", () => {
  test("keeps secrets, inherits by name and forgets the rest", async () => {
    await put(
      "hello",
      modules({
        bindings: [
          { name: "S", type: "secret_text", text: "x" },
          { name: "T", type: "plain_text", text: "t" },
          { name: "K", type: "kv_namespace", namespace_id: namespace },
        ],
      }),
    );
    await put("hello", modules({ bindings: [{ name: "K", type: "inherit" }] }));
    expect(trials[1]?.version.bindings).toEqual([
      { name: "K", type: "kv_namespace", namespaceId: namespace },
      { name: "S", type: "secret_text" },
    ]);
    expect(trials[1]?.secrets).toEqual(trials[0]?.secrets);
  });

  test("keeps variables when it says so", async () => {
    await put("hello", modules({ bindings: [{ name: "T", type: "plain_text", text: "t" }] }));
    await put("hello", modules({ keep_bindings: ["plain_text"] }));
    expect(trials[1]?.version.bindings).toEqual([{ name: "T", type: "plain_text", text: "t" }]);
  });

  test("that inherits what is not there fails with one entry for each name", async () => {
    await put("hello", modules());
    const { json } = await put(
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
    await put("hello", modules());
    const version = (await call("POST", "/workers/scripts/hello/versions", modules())).json.result as {
      id: string;
      number: number;
    };
    expect(version.number).toBe(2);
    expect(settled).toBe(1);
    const wrong = await call("POST", "/workers/scripts/hello/deployments", {
      versions: [{ version_id: version.id, percentage: 99 }],
    });
    expect(firstError(wrong)?.code).toBe(10021);
    const right = await call("POST", "/workers/scripts/hello/deployments", {
      strategy: "percentage",
      versions: [{ version_id: version.id, percentage: 100 }],
    });
    expect(right.json.result).toMatchObject({ annotations: { "workers/triggered_by": "deployment" } });
    expect(settled).toBe(2);
  });

  test("two at once get a number each, in order", async () => {
    await put("hello", modules());
    await Promise.all(Array.from({ length: 5 }, () => call("POST", "/workers/scripts/hello/versions", modules())));
    const { items } = (await call("GET", "/workers/scripts/hello/versions")).json.result as {
      items: { number: number }[];
    };
    expect(items.map(({ number }) => number)).toEqual([6, 5, 4, 3, 2, 1]);
  });
});

describe("secrets", () => {
  test("are set, listed by name and removed, each a deployed version", async () => {
    await put("hello", modules());
    expect(
      (await call("PUT", "/workers/scripts/hello/secrets", { name: "A", text: "canary", type: "secret_text" })).status,
    ).toBe(200);
    await call("PATCH", "/workers/scripts/hello/secrets-bulk", {
      secrets: { B: { name: "B", text: "2", type: "secret_text" } },
    });
    expect((await call("GET", "/workers/scripts/hello/secrets")).json.result).toEqual([
      { name: "A", type: "secret_text" },
      { name: "B", type: "secret_text" },
    ]);
    expect((await call("DELETE", "/workers/scripts/hello/secrets/A?url_encoded=true")).json.result).toBe(null);
    expect((await call("GET", "/workers/scripts/hello/secrets")).json.result).toEqual([
      { name: "B", type: "secret_text" },
    ]);
    expect(firstError(await call("DELETE", "/workers/scripts/hello/secrets/A"))?.code).toBe(10056);
    expect(settled).toBe(4);
  });

  test("of a Worker that does not exist are 10007, so that wrangler makes a draft", async () => {
    expect(
      firstError(await call("PUT", "/workers/scripts/none/secrets", { name: "A", text: "", type: "secret_text" }))
        ?.code,
    ).toBe(10007);
  });

  test("are refused while the latest version is not live", async () => {
    await put("hello", modules());
    await call("POST", "/workers/scripts/hello/versions", modules());
    expect(
      firstError(await call("PUT", "/workers/scripts/hello/secrets", { name: "A", text: "", type: "secret_text" }))
        ?.code,
    ).toBe(10215);
    const version = await call("PATCH", "/workers/workers/hello/versions/latest", {
      env: { A: { type: "secret_text", text: "x" } },
    });
    expect(version.json.result).toMatchObject({ number: 3 });
  });

  test("are in no file in the clear", async () => {
    await put("hello", modules({ bindings: [{ name: "S", type: "secret_text", text: "canary-7f3a" }] }));
    await db.close();
    for (const file of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (file.isFile()) expect((await readFile(join(file.parentPath, file.name))).includes("canary-7f3a")).toBe(false);
    }
  });
});

describe("assets", () => {
  const hashA = "a".repeat(32);
  const hashB = "b".repeat(32);
  const manifest = {
    "/index.html": { hash: hashA, size: 5 },
    "/sub/ü x.txt": { hash: hashB, size: 3 },
    "/copy.html": { hash: hashA, size: 5 },
  };
  const session = async () =>
    (await call("POST", "/workers/scripts/site/assets-upload-session", { manifest })).json.result as {
      jwt: string;
      buckets: string[][];
    };
  const upload = async (jwt: string, parts: Record<string, string>) => {
    const data = new FormData();
    for (const [hash, text] of Object.entries(parts))
      data.append(hash, new File([Buffer.from(text).toString("base64")], hash, { type: "text/html" }));
    const answer = await api.request(`http://localhost/accounts/${account}/workers/assets/upload?base64=true`, {
      method: "POST",
      headers: { authorization: `Bearer ${jwt}` },
      body: data,
    });
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
    const deployed = await put(
      "site",
      form({ assets: { jwt: last.json.result.jwt, config: { html_handling: "none" } } }, []),
    );
    expect(deployed.status).toBe(200);
    expect(trials[0]?.version).toMatchObject({
      format: "assets-only",
      modules: [],
      assets: { config: { html_handling: "none" } },
    });
    const root = layout.assetFiles(trials[0]?.version.assets?.tree ?? "");
    expect(await readFile(join(root, "sub", "ü x.txt"), "utf8")).toBe("abc");
    expect((await stat(join(root, "index.html"))).ino).toBe((await stat(join(root, "copy.html"))).ino);
    expect((await session()).buckets).toEqual([]);
  });

  test("a token that is complete at once deploys without an upload; an incomplete one does not", async () => {
    const first = await session();
    expect(firstError(await put("site", form({ assets: { jwt: first.jwt } }, [])))?.code).toBe(10000);
    await upload(first.jwt, { [hashA]: "hello", [hashB]: "abc" });
    expect((await put("site", form({ assets: { jwt: (await session()).jwt } }, []))).status).toBe(200);
  });

  test("a token is good for its own Worker and account alone", async () => {
    const { jwt } = await session();
    const done = (await upload(jwt, { [hashA]: "hello", [hashB]: "abc" })).json.result.jwt;
    expect(firstError(await put("other", form({ assets: { jwt: done } }, [])))?.code).toBe(10000);
    expect(firstError(await put("site", form({ assets: { jwt: done } }, []), "theirs"))?.code).toBe(10000);
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
      const answer = await call("POST", "/workers/scripts/site/assets-upload-session", {
        manifest: { [path]: { hash: hashA, size: 1 } },
      });
      expect(firstError(answer)).toMatchObject({ code: 10021 });
    },
  );

  test("a name that is a file and a folder is refused", async () => {
    const answer = await call("POST", "/workers/scripts/site/assets-upload-session", {
      manifest: { "/a": { hash: hashA, size: 1 }, "/a/b": { hash: hashB, size: 1 } },
    });
    expect(firstError(answer)).toMatchObject({ code: 10021 });
  });
});

test("another account sees none of it", async () => {
  await put("hello", modules());
  const version = trials[0]?.version.versionId ?? "";
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
  for (const path of paths) expect.soft((await call("GET", path, undefined, "theirs")).status, path).toBe(404);
  const foreign = await api.request(`http://localhost/accounts/${account}/workers/scripts`, {
    headers: { authorization: "Bearer theirs" },
  });
  expect(foreign.status).toBe(404);
  expect((await call("DELETE", "/workers/scripts/hello", undefined, "theirs")).status).toBe(404);
  expect((await call("GET", "/workers/scripts/hello/deployments")).status).toBe(200);
});
