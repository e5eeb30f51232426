import { linkSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { AssetsConfig } from "#products/workers/runnable.ts";
import { runAssets } from "../../test/support/assets-version.ts";
import { runVersion, type RunningVersion } from "../../test/support/worker-version.ts";
import { temporaryFolder } from "../../test/support/workerd.ts";

/** What each path answers, in short: status, what it redirects to or says. */
async function table(worker: RunningVersion, paths: readonly string[]): Promise<Record<string, string>> {
  const rows: Record<string, string> = {};
  for (const path of paths) {
    const { status, headers, body } = await worker.get(path);
    rows[path] = `${status} ${headers.location ?? body}`;
  }
  return rows;
}

const echo = `export default { async fetch(request, env) { const { pathname } = new URL(request.url); return pathname === "/fetch" ? env.ASSETS.fetch(new URL(new URL(request.url).searchParams.get("u"), request.url), { method: request.headers.get("x-method") ?? "GET" }) : new Response("worker " + pathname, { headers: { "x-worker": "1" } }) } }`;

// The tables of workers-shared's asset-server tests, https://developers.cloudflare.com/workers/static-assets/routing/advanced/html-handling/
describe("html_handling", () => {
  const files = ["index.html", "file.html", "folder/index.html"];
  const paths = [
    "/",
    "/index",
    "/index.html",
    "/file",
    "/file.html",
    "/file/",
    "/folder",
    "/folder.html",
    "/folder/",
    "/folder/index",
    "/folder/index.html",
  ];
  test.each([
    [
      "auto-trailing-slash",
      [
        "200 index.html",
        "307 /",
        "307 /",
        "200 file.html",
        "307 /file",
        "307 /file",
        "307 /folder/",
        "307 /folder/",
        "200 folder/index.html",
        "307 /folder/",
        "307 /folder/",
      ],
    ],
    [
      "force-trailing-slash",
      [
        "200 index.html",
        "307 /",
        "307 /",
        "307 /file/",
        "307 /file/",
        "200 file.html",
        "307 /folder/",
        "307 /folder/",
        "200 folder/index.html",
        "307 /folder/",
        "307 /folder/",
      ],
    ],
    [
      "drop-trailing-slash",
      [
        "200 index.html",
        "307 /",
        "307 /",
        "200 file.html",
        "307 /file",
        "307 /file",
        "200 folder/index.html",
        "307 /folder",
        "307 /folder",
        "307 /folder",
        "307 /folder",
      ],
    ],
    [
      "none",
      [
        "404 ",
        "404 ",
        "200 index.html",
        "404 ",
        "200 file.html",
        "404 ",
        "404 ",
        "404 ",
        "404 ",
        "404 ",
        "200 folder/index.html",
      ],
    ],
  ] as const)("%s", async (html_handling, wanted) => {
    await using worker = await runAssets({ files, config: { html_handling } });
    expect(await table(worker, paths)).toEqual(Object.fromEntries(paths.map((path, index) => [path, wanted[index]])));
  });
});

test("names of every kind are served, raw as they were uploaded", async () => {
  const files = [
    "sp ace.txt",
    "ünï.txt",
    "a%20b/x#y.txt",
    "[boop].txt",
    "q?.txt",
    "back\\slash.txt",
    ".hid",
    ".well-known/z",
    ".git/config",
    "node_modules/a.js",
    "sub/_headers",
    "sub/_redirects",
    "sub/.assetsignore",
    "_worker.js",
    "wrangler.json",
    "..dots",
    "😀.txt",
  ];
  await using worker = await runAssets({ files });
  const paths = files.map((file) => `/${file.split("/").map(encodeURIComponent).join("/")}`);
  expect(await table(worker, paths)).toEqual(
    Object.fromEntries(files.map((file, index) => [paths[index], `200 ${file}`])),
  );
  expect(
    await table(
      worker,
      ["/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "//evil.example/", "/%E0%A4%A", "/\0x"].slice(0, 4),
    ),
  ).toEqual({
    "/%2e%2e/%2e%2e/etc/passwd": expect.stringMatching(/^(307|404) /),
    "/..%2f..%2fetc%2fpasswd": expect.stringMatching(/^(307 \/[^/]|404)/),
    "//evil.example/": expect.stringMatching(/^(307 \/[^/]*$|404)/),
    "/%E0%A4%A": expect.stringMatching(/^(400|404|307) ?/),
  });
});

describe("not_found_handling", () => {
  const files = ["index.html", "404.html", "docs/404.html", "docs/page.html"];
  test("404-page takes the nearest one", async () => {
    await using worker = await runAssets({ files, config: { not_found_handling: "404-page" } });
    expect(await table(worker, ["/nope", "/docs/nope", "/docs/deep/nope", "/docs/page"])).toEqual({
      "/nope": "404 404.html",
      "/docs/nope": "404 docs/404.html",
      "/docs/deep/nope": "404 docs/404.html",
      "/docs/page": "200 docs/page.html",
    });
  });

  test("single-page-application answers with the index", async () => {
    await using worker = await runAssets({ files, config: { not_found_handling: "single-page-application" } });
    expect(await table(worker, ["/nope", "/docs/nope", "/docs/page"])).toEqual({
      "/nope": "200 index.html",
      "/docs/nope": "200 index.html",
      "/docs/page": "200 docs/page.html",
    });
  });

  // https://developers.cloudflare.com/workers/static-assets/routing/single-page-application/#advanced-routing-control
  test.each([
    ["2025-04-01", [], "200 index.html"],
    ["2025-03-31", [], "200 worker /nope"],
    ["2025-03-31", ["assets_navigation_prefers_asset_serving"], "200 index.html"],
  ])("a navigation to no file, on %s with %j", async (date, flags, wanted) => {
    await using worker = await runAssets({
      files,
      worker: echo,
      date,
      flags,
      config: { not_found_handling: "single-page-application" },
    });
    const { status, body } = await worker.get("/nope", { headers: { "sec-fetch-mode": "navigate" } });
    expect(`${status} ${body}`).toBe(wanted);
    expect((await worker.get("/nope")).body).toBe("worker /nope");
  });
});

describe("who answers when there is a Worker", () => {
  const files = ["index.html", "app.js", "api/file.json"];
  test.each([
    [
      "files first",
      undefined,
      {
        "/": "200 index.html",
        "/app.js": "200 app.js",
        "/api/file.json": "200 api/file.json",
        "/api/x": "200 worker /api/x",
      },
    ],
    ["the Worker", true, { "/": "200 worker /", "/app.js": "200 worker /app.js", "/api/x": "200 worker /api/x" }],
    [
      "the Worker where a pattern says so",
      ["/api/*"],
      {
        "/": "200 index.html",
        "/api/file.json": "200 worker /api/file.json",
        "/api/x": "200 worker /api/x",
        "/other": "200 worker /other",
      },
    ],
    [
      "files where a negative pattern says so",
      ["/*", "!/app.js", "!/api/*"],
      { "/": "200 worker /", "/app.js": "200 app.js", "/api/file.json": "200 api/file.json" },
    ],
  ] as const)("%s", async (_name, run_worker_first, wanted) => {
    await using worker = await runAssets({
      files,
      worker: echo,
      config: run_worker_first === undefined ? {} : { run_worker_first },
    });
    expect(await table(worker, Object.keys(wanted))).toEqual(wanted);
  });

  test("the binding serves files whoever answers first, and only for GET and HEAD", async () => {
    await using worker = await runAssets({ files, worker: echo, config: { run_worker_first: true } });
    const via = async (path: string, method = "GET") => {
      const { status, body, headers } = await worker.get(`/fetch?u=${encodeURIComponent(path)}`, {
        headers: { "x-method": method },
      });
      return `${status} ${headers.location ?? body}`;
    };
    expect(await via("/app.js")).toBe("200 app.js");
    expect(await via("/index.html")).toBe("200 index.html");
    expect(await via("/nope")).toBe("404 ");
    expect(await via("/app.js", "HEAD")).toBe("200 ");
    expect(await via("/app.js", "POST")).toBe("405 ");
    const etag = (await worker.get("/fetch?u=/app.js")).headers.etag ?? "";
    expect(etag).toMatch(/^"/);
  });

  test("methods other than GET and HEAD go to the Worker where no file answers, else 405", async () => {
    await using worker = await runAssets({ files, worker: echo });
    await using alone = await runAssets({ files });
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      expect((await worker.get("/api/x", { method })).body).toBe("worker /api/x");
      expect((await alone.get("/app.js", { method })).status).toBe(405);
    }
    expect(await alone.get("/app.js", { method: "HEAD" })).toMatchObject({
      status: 200,
      body: "",
      headers: { "content-length": "6" },
    });
  });

  test("requests for files are no invocations, and log nothing", async () => {
    await using worker = await runAssets({ files, worker: echo });
    for (let n = 0; n < 5; n++) await worker.get("/app.js");
    await worker.get("/api/x");
    const messages = await worker.messages((all) => all.length > 0);
    expect(messages).toHaveLength(1);
  });
});

describe("_redirects and _headers", () => {
  const config: AssetsConfig = {
    _redirects:
      "/old /new 301\n/temp /app.js\n/dyn/* /x/:splat 302\n/blog/:year/:slug /posts/:slug?y=:year 308\n/proxy /app.js 200\n/out https://example.com/:splat 303\n",
    _headers:
      "/*\n  X-All: 1\n  X-Frame-Options: DENY\n/app.js\n  ! X-Frame-Options\n  Cache-Control: max-age=60\n/static/:name\n  X-Name: :name\n",
  };

  test("redirects of every kind", async () => {
    await using worker = await runAssets({ files: ["app.js", "static/a.txt"], config });
    expect(await table(worker, ["/old", "/temp", "/dyn/a/b?q=1", "/blog/2026/hello", "/proxy", "/out"])).toEqual({
      "/old": "301 /new",
      "/temp": "302 /app.js",
      "/dyn/a/b?q=1": "302 /x/a/b?q=1",
      "/blog/2026/hello": "308 /posts/hello?y=2026",
      "/proxy": "200 app.js",
      "/out": expect.stringMatching(/^303 https:\/\/example\.com\//),
    });
  });

  test("headers are set, removed and filled in", async () => {
    await using worker = await runAssets({ files: ["app.js", "static/a.txt"], config });
    expect((await worker.get("/app.js")).headers).toMatchObject({ "x-all": "1", "cache-control": "max-age=60" });
    expect((await worker.get("/app.js")).headers).not.toHaveProperty("x-frame-options");
    expect((await worker.get("/static/a.txt")).headers).toMatchObject({
      "x-frame-options": "DENY",
      "x-name": "a.txt",
      "cache-control": "public, max-age=0, must-revalidate",
    });
  });
});

describe("an ETag", () => {
  test("brings 304, and survives a deploy that links the same file again", async () => {
    using blobs = temporaryFolder();
    const blob = join(blobs.path, "blob");
    writeFileSync(blob, "content");
    utimesSync(blob, 1, 1);
    const deploy = async () => {
      const tree = join(blobs.path, `tree${Math.random()}`);
      mkdirSync(tree);
      linkSync(blob, join(tree, "a.js"));
      return runVersion(
        { format: "assets-only", exports: [], assets: { tree: "", config: {} } },
        { assetsFolder: () => tree },
      );
    };
    await using first = await deploy();
    const { etag = "" } = (await first.get("/a.js")).headers;
    await using second = await deploy();
    for (const given of [etag, `W/${etag}`]) {
      expect(await second.get("/a.js", { headers: { "if-none-match": given } }), given).toMatchObject({
        status: 304,
        body: "",
      });
    }
    expect(await second.get("/a.js", { headers: { "if-none-match": '"other"' } })).toMatchObject({
      status: 200,
      body: "content",
    });
  });
});
