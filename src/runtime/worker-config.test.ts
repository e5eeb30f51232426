import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { readCapability } from "#core/capability.ts";
import { workerScriptUrl } from "#core/entry.ts";
import { createWireServer } from "#http/wire/server.ts";
import type { PieceMakers } from "#runtime/binding-pieces.ts";
import { privateHeaders } from "#runtime/routes.ts";
import { workerConfig } from "#runtime/worker-config.ts";
import { newestCompatibilityDate } from "#runtime/workerd.ts";
import {
  configOptions,
  runVersion,
  testCapabilityKey,
  testVersion,
  testWorkerId,
} from "../../test/support/worker-version.ts";

const wasm = Buffer.from([0, 97, 115, 109, 1, 0, 0, 0]);

describe("modules are found under the names that code imports them by", () => {
  const main = `
    import text from "./t.txt"; import wasm from "./lib/a.wasm"; import data from "./deep/er/d.bin"; import json from "./j.json";
    import cjs from "./c.cjs"; import * as sub from "./lib/x.mjs"; import odd from "./ünï ümlaut.txt"; import space from "./sp ace [1].txt";
    import bare from "t.txt";
    export default { async fetch() {
      const dynamic = await import("./lib/x.mjs");
      return Response.json({ text, wasm: wasm instanceof WebAssembly.Module, data: [...new Uint8Array(data)], json, cjs, sub: sub.value, odd, space, bare, same: dynamic.value === sub.value, self: (await import("./index.js")).default.fetch !== undefined, literal: "é… 😀" });
    } }`;
  const modules = [
    { name: "index.js", source: main },
    { name: "t.txt", type: "text", source: "text é…" },
    { name: "lib/a.wasm", type: "wasm", source: wasm },
    { name: "deep/er/d.bin", type: "data", source: Buffer.from([0, 255, 13, 10, 34, 92]) },
    { name: "j.json", type: "json", source: '{"a":"é…"}' },
    { name: "c.cjs", type: "cjs", source: 'const t = require("./t.txt"); module.exports = { cjs: t.default ?? t };' },
    {
      name: "lib/x.mjs",
      source: 'import t from "../t.txt"; import w from "./a.wasm"; export const value = t + typeof w;',
    },
    { name: "ünï ümlaut.txt", type: "text", source: "odd" },
    { name: "sp ace [1].txt", type: "text", source: "space" },
  ] as const;

  test.each([
    ["2026-11-01", []],
    ["2026-11-01", ["new_module_registry"]],
    ["2022-01-01", []],
  ])("on %s with %j", async (compatibilityDate, compatibilityFlags) => {
    const registry = (compatibilityFlags as readonly string[]).includes("new_module_registry");
    await using worker = await runVersion({
      compatibilityDate,
      compatibilityFlags,
      modules: registry
        ? modules.map((m) => ({
            ...m,
            source:
              typeof m.source === "string"
                ? m.source.replace(' import bare from "t.txt";', "const bare = 'text é…';")
                : m.source,
          }))
        : modules,
    });
    expect(JSON.parse((await worker.get()).body)).toEqual({
      text: "text é…",
      wasm: true,
      data: [0, 255, 13, 10, 34, 92],
      json: { a: "é…" },
      cjs: { cjs: "text é…" },
      sub: "text é…object",
      odd: "odd",
      space: "space",
      bare: "text é…",
      same: true,
      self: true,
      literal: "é… 😀",
    });
  });
});

test("our own scripts are ASCII, since workerd reads extension modules as Latin-1", () => {
  for (const name of ["entry", "unsupported"] as const) {
    // oxlint-disable-next-line no-control-regex
    expect(readFileSync(workerScriptUrl(name), "utf8")).toMatch(/^[\x00-\x7f]*$/);
  }
});

describe("the text of a configuration", () => {
  const pieces: PieceMakers = {
    kv: ({ name, socket }) => ({
      bindings: [{ name, kvNamespace: `kv:${name}` }],
      services: [{ name: `kv:${name}`, external: { address: `unix:${socket}`, http: {} } }],
    }),
    r2: ({ name, bucketId }) => ({ bindings: [{ name, r2Bucket: `r2:${bucketId}` }], services: [] }),
    queue: ({ name, queueId }) => ({ bindings: [{ name, queue: `queue:${queueId}` }], services: [] }),
    d1: ({ name, databaseId, host, socketOf }) => ({
      bindings: [{ name, text: `${databaseId} at ${socketOf(host)}` }],
      services: [],
    }),
    ai: ({ name, accountId }) => ({ bindings: [{ name, text: accountId }], services: [] }),
    vectorize: ({ name, indexId }) => ({ bindings: [{ name, text: indexId }], services: [] }),
  };
  const script = { name: "index.js", source: "export default {}" };
  const kinds: Record<string, Parameters<typeof testVersion>[0]> = {
    modules: {
      exports: ["default", "Api", "not an identifier"],
      modules: [
        script,
        { name: "lib/a.wasm", type: "wasm", source: wasm },
        { name: "c.cjs", type: "cjs", source: "1" },
      ],
      compatibilityFlags: ["nodejs_compat", "global_fetch_strictly_public"],
      bindings: [
        { name: "TEXT", type: "plain_text", text: 'quotes " and \\ and é' },
        { name: "JSON", type: "json", json: { a: [1, null] } },
        { name: "SECRET", type: "secret_text" },
        { name: "OTHER_SECRET", type: "secret_text" },
        { name: "KV", type: "kv_namespace", namespaceId: "ns" },
        { name: "R2", type: "r2_bucket", bucketId: "bucket" },
        { name: "DB", type: "d1", databaseId: "db", host: 1 },
        { name: "API", type: "service", service: "other" },
        { name: "VERSION", type: "version_metadata" },
        { name: "QUEUE", type: "unsupported", wanted: "queue" },
      ],
    },
    "modules with assets": {
      modules: [script],
      bindings: [{ name: "ASSETS", type: "assets" }],
      assets: {
        tree: "tree",
        config: { run_worker_first: ["/api/*"], not_found_handling: "404-page", _redirects: "/a /b\n" },
      },
    },
    "assets alone": {
      format: "assets-only",
      exports: [],
      assets: { tree: "tree", config: { html_handling: "none", _headers: "/*\n  X-A: b\n" } },
    },
    "a service worker": {
      format: "service-worker",
      exports: [],
      modules: [{ name: "sw.js", source: "addEventListener" }],
      bindings: [
        { name: "WASM", type: "wasm_module", hash: "hash-of-wasm" },
        { name: "TEXT", type: "text_blob", hash: "hash-of-text" },
        { name: "DATA", type: "data_blob", hash: "hash-of-data" },
      ],
    },
  };

  test.each(Object.entries(kinds))("of %s", (_name, options) => {
    const { version } = testVersion(options);
    const config = workerConfig(version, configOptions("/run/test", { pieces, v8Flags: ["--max-heap-size=128"] }));
    expect(config.text).toMatchSnapshot();
    expect({ environment: config.environment, files: config.files }).toMatchSnapshot();
    expect(workerConfig(version, configOptions("/run/test", { pieces, v8Flags: ["--max-heap-size=128"] }))).toEqual(
      config,
    );
  });
});

describe("bindings", () => {
  const show = (names: string[]) => [
    {
      name: "index.js",
      source: `export default { fetch(request, env) { return Response.json({ ${names.map((name) => `${name}: env.${name}`).join(", ")} }) } }`,
    },
  ];

  test("carry texts, JSON, secrets and the version's own data", async () => {
    await using worker = await runVersion(
      {
        versionTag: "v1",
        bindings: [
          { name: "TEXT", type: "plain_text", text: 'a "quoted"\n\\ é…' },
          { name: "JSON", type: "json", json: { deep: [1, null, true, "é"] } },
          { name: "SECRET", type: "secret_text" },
          { name: "VERSION", type: "version_metadata" },
        ],
        modules: show(["TEXT", "JSON", "SECRET", "VERSION"]),
      },
      { environment: { SOLUM_SECRET_2: 'the "secret" …' } },
    );
    expect(JSON.parse((await worker.get()).body)).toEqual({
      TEXT: 'a "quoted"\n\\ é…',
      JSON: { deep: [1, null, true, "é"] },
      SECRET: 'the "secret" …',
      VERSION: { id: "11111111-2222-4333-8444-555555555555", tag: "v1", timestamp: "2026-11-01T00:00:00.000Z" },
    });
  });

  test("of an unsupported type throw when they are used, not when they are looked at", async () => {
    await using worker = await runVersion({
      bindings: [{ name: "QUEUE", type: "unsupported", wanted: "queue" }],
      modules: [
        {
          name: "index.js",
          source: `export default { async fetch(request, env) {
            const uses = [() => env.QUEUE.send(1), () => env.QUEUE(), () => new env.QUEUE(), () => env.QUEUE.x, () => { env.QUEUE.x = 1 }];
            const messages = uses.map((use) => { try { return String(use()) } catch (error) { return error.name + ": " + error.message } });
            await env.QUEUE;
            return Response.json({ messages: [...new Set(messages)], looked: [typeof env.QUEUE, JSON.stringify(env), Object.keys(env), { ...env }.QUEUE === env.QUEUE] });
          } }`,
        },
      ],
    });
    expect(JSON.parse((await worker.get()).body)).toEqual({
      messages: ['Error: The binding "QUEUE" is of type "queue", which this Solum does not support.'],
      looked: ["function", "{}", ["QUEUE"], true],
    });
  });

  test("to a service go to the platform socket with their capability, scheme and cf", async () => {
    await using worker = await runVersion({
      bindings: [{ name: "API", type: "service", service: "other" }],
      modules: [
        {
          name: "index.js",
          source: `export default { async fetch(request, env) { return env.API.fetch("https://api.internal/path?q", { method: "POST", body: "body", headers: { "x-bind": "forged", "x-solum-proto": "gopher", "x-mine": "1" }, cf: { colo: "SOL" } }) } }`,
        },
      ],
    });
    await using server = createWireServer(async (request) => ({
      status: 201,
      headers: { "x-reply": "1" },
      body: JSON.stringify({
        method: request.method,
        target: request.target,
        host: request.header("host"),
        cf: request.header(privateHeaders.cf),
        proto: request.header(privateHeaders.proto),
        mine: request.header("x-mine"),
        capability: readCapability(testCapabilityKey, request.header("x-bind") ?? ""),
        body: (await request.bytes(100)).toString(),
      }),
    }));
    await server.listen(worker.layout.platform);
    const answer = await worker.get();
    expect(answer).toMatchObject({ status: 201, headers: { "x-reply": "1" } });
    expect(JSON.parse(answer.body)).toEqual({
      method: "POST",
      target: "/path?q",
      host: "api.internal",
      cf: '{"colo":"SOL"}',
      proto: "https",
      mine: "1",
      capability: { scope: testWorkerId, kind: "service", resource: "acc00000000000000000000000000000/other" },
      body: "body",
    });
  });
});

describe("what reaches a Worker from the ingress", () => {
  test("is the client's scheme and cf, and never a header of ours", async () => {
    await using worker = await runVersion({
      modules: [
        {
          name: "index.js",
          source: `export default { fetch(request) { return Response.json({ url: request.url, cf: request.cf, headers: [...request.headers] }) } }`,
        },
      ],
    });
    const { body } = await worker.get("/a", {
      headers: { [privateHeaders.cf]: '{"colo":"SOL"}', [privateHeaders.proto]: "https" },
    });
    expect(JSON.parse(body)).toEqual({
      url: "https://worker.localhost:8787/a",
      cf: { colo: "SOL" },
      headers: [
        ["connection", "keep-alive"],
        ["host", "worker.localhost:8787"],
      ],
    });
  });
});

test("a service worker runs, with its blobs as globals and logs from workerd's tail", async () => {
  await using worker = await runVersion(
    {
      format: "service-worker",
      exports: [],
      compatibilityDate: "2022-01-01",
      modules: [
        {
          name: "sw.js",
          source: `console.log("top"); addEventListener("fetch", (event) => { console.warn("serving", { a: 1 }); event.respondWith(new Response([WASM instanceof WebAssembly.Module, TEXT, DATA.byteLength, SECRET, typeof LOG, typeof __SOLUM_LOG].join())) })`,
        },
        { name: "blob.wasm", type: "wasm", source: wasm },
        { name: "blob.txt", type: "text", source: "a text é…" },
      ],
      bindings: [
        { name: "WASM", type: "wasm_module", hash: createHash("sha256").update(wasm).digest("hex") },
        { name: "TEXT", type: "text_blob", hash: createHash("sha256").update("a text é…").digest("hex") },
        { name: "DATA", type: "data_blob", hash: createHash("sha256").update(wasm).digest("hex") },
        { name: "SECRET", type: "secret_text" },
      ],
    },
    { environment: { SOLUM_SECRET_3: "s" } },
  );
  expect((await worker.get()).body).toBe("true,a text é…,8,s,undefined,undefined");
  expect(await worker.probe()).toEqual({ inFlight: 0, waitUntil: 0, unsent: 0 });
  expect(await worker.messages((messages) => messages.length > 0)).toMatchObject([
    {
      entrypoint: "default",
      outcome: "ok",
      event: { request: { method: "GET" }, response: { status: 200 } },
      logs: [{ level: "warn", message: ["serving", { a: 1 }] }],
    },
  ]);
});

test("a version that is dated later than workerd knows runs as of the newest date that it does", async () => {
  await using worker = await runVersion({
    compatibilityDate: newestCompatibilityDate().replace(/^\d{4}/, (year) => String(Number(year) + 1)),
    modules: [{ name: "index.js", source: `export default { fetch() { return new Response("runs") } }` }],
  });
  expect((await worker.get()).body).toBe("runs");
});
