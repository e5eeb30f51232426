import { linkSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import type { AssetsConfig } from "#products/workers/runnable.ts";
import { headersText, nativeType } from "#runtime/assets-config.ts";
import { runVersion, type RunningVersion } from "../../test/support/worker-version.ts";
import { temporaryFolder } from "../../test/support/workerd.ts";

/** Runs a version with these files as assets; each file holds its own path. */
async function run(options: {
  files: readonly string[];
  config?: AssetsConfig;
  worker?: string;
  types?: Record<string, string>;
  date?: string;
  flags?: string[];
}): Promise<RunningVersion> {
  const tree = temporaryFolder();
  for (const file of options.files) {
    const path = join(tree.path, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, file);
  }
  const { worker } = options;
  const running = await runVersion(
    {
      format: worker === undefined ? "assets-only" : "modules",
      exports: worker === undefined ? [] : ["default"],
      modules: worker === undefined ? [] : [{ name: "index.js", source: worker }],
      bindings: worker === undefined ? [] : [{ name: "ASSETS", type: "assets" }],
      assets: { tree: "unused", config: options.config ?? {} },
      compatibilityDate: options.date ?? "2026-11-01",
      compatibilityFlags: options.flags ?? [],
    },
    { assetsFolder: () => tree.path, contentTypes: new Map(Object.entries(options.types ?? {})) },
  );
  return {
    ...running,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      tree[Symbol.dispose]();
    },
  };
}

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
    await using worker = await run({ files, config: { html_handling } });
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
  await using worker = await run({ files });
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
    await using worker = await run({ files, config: { not_found_handling: "404-page" } });
    expect(await table(worker, ["/nope", "/docs/nope", "/docs/deep/nope", "/docs/page"])).toEqual({
      "/nope": "404 404.html",
      "/docs/nope": "404 docs/404.html",
      "/docs/deep/nope": "404 docs/404.html",
      "/docs/page": "200 docs/page.html",
    });
  });

  test("single-page-application answers with the index", async () => {
    await using worker = await run({ files, config: { not_found_handling: "single-page-application" } });
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
    await using worker = await run({
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
    await using worker = await run({
      files,
      worker: echo,
      config: run_worker_first === undefined ? {} : { run_worker_first },
    });
    expect(await table(worker, Object.keys(wanted))).toEqual(wanted);
  });

  test("the binding serves files whoever answers first, and only for GET and HEAD", async () => {
    await using worker = await run({ files, worker: echo, config: { run_worker_first: true } });
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
    await using worker = await run({ files, worker: echo });
    await using alone = await run({ files });
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
    await using worker = await run({ files, worker: echo });
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
    await using worker = await run({ files: ["app.js", "static/a.txt"], config });
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
    await using worker = await run({ files: ["app.js", "static/a.txt"], config });
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

describe("content types", () => {
  test("workerd knows the ones that we think it knows", async () => {
    const known = [
      "atom",
      "gz",
      "json",
      "map",
      "jsonld",
      "webmanifest",
      "pdf",
      "rss",
      "eot",
      "wasm",
      "tar",
      "xml",
      "zip",
      "flac",
      "m4a",
      "mp3",
      "oga",
      "ogg",
      "wav",
      "otf",
      "ttf",
      "woff",
      "woff2",
      "apng",
      "avif",
      "bmp",
      "gif",
      "jpeg",
      "jpg",
      "png",
      "svg",
      "ico",
      "webp",
      "ics",
      "css",
      "csv",
      "htm",
      "html",
      "cjs",
      "js",
      "mjs",
      "md",
      "txt",
      "mp4",
      "ogv",
      "mov",
      "webm",
      "HTML",
      "Css",
    ];
    const unknown = ["bin", "glb", "ts", "yaml", "jsonc", "toml", "mkv", "doc", "noext"];
    await using worker = await run({
      files: [...known, ...unknown].map((extension) => `f.${extension}`),
      config: { html_handling: "none" },
    });
    for (const extension of [...known, ...unknown]) {
      const type = (await worker.get(`/f.${extension}`)).headers["content-type"];
      expect(type, extension).toBe(nativeType(`/f.${extension}`));
      expect(type === undefined, extension).toBe(unknown.includes(extension));
    }
  });

  const types = {
    "/index.html": "text/html; charset=utf-8",
    "/a/model.glb": "model/gltf-binary",
    "/other model.glb": "model/gltf-binary",
    "/raw": "application/x-raw",
    "/none.xyz": "application/null",
    "/clip.ts": "video/mp2t",
    "/code.ts": "text/typescript",
    "/song.flac": "audio/x-flac",
    "/ü.yaml": "text/yaml; charset=utf-8",
  };
  const files = Object.keys(types).map((path) => path.slice(1));
  const typeOf = async (worker: RunningVersion, path: string) =>
    (await worker.get(path.split("/").map(encodeURIComponent).join("/"))).headers["content-type"];

  test.each(["none", "404-page"] as const)(
    "are what was uploaded, with not_found_handling %s",
    async (not_found_handling) => {
      await using worker = await run({
        files: [...files, "404.html"],
        types,
        config: { not_found_handling, html_handling: "none" },
      });
      for (const [path, type] of Object.entries(types)) {
        expect(await typeOf(worker, path), path).toBe(type === "application/null" ? undefined : type);
      }
      if (not_found_handling === "404-page")
        expect(await typeOf(worker, "/missing.glb")).toBe("text/html; charset=utf-8");
    },
  );

  test("of the user's own rules win, and rules without one leave ours", async () => {
    const _headers = "/a/*\n  Content-Type: model/mine\n/*.flac\n  ! content-type\n/*\n  X-A: 1\n";
    await using worker = await run({ files, types, config: { _headers, html_handling: "none" } });
    expect(await typeOf(worker, "/a/model.glb")).toBe("model/mine");
    expect(await typeOf(worker, "/other model.glb")).toBe("model/gltf-binary");
    expect(await typeOf(worker, "/song.flac")).toBeUndefined();
    expect((await worker.get("/raw")).headers).toMatchObject({ "content-type": "application/x-raw", "x-a": "1" });
  });

  test("never push out one of the user's rules, however many files there are", async () => {
    const many = Object.fromEntries(
      Array.from({ length: 300 }, (_, index) => [`/f${index}.e${index % 150}`, `x/t${index % 150}`]),
    );
    const _headers =
      Array.from({ length: 60 }, (_, index) => `/r${index}\n  X-R: ${index}`).join("\n") +
      "\n# comment\n/f0.e0\n  X-Last: yes\n";
    const text = headersText({ _headers }, new Map(Object.entries(many))) ?? "";
    expect(text.split("\n").filter((line) => line.startsWith("/"))).toHaveLength(100);
    await using worker = await run({ files: ["f0.e0"], types: many, config: { _headers } });
    expect((await worker.get("/f0.e0")).headers["x-last"]).toBe("yes");
    expect(worker.workerd.output.stderr).toBe("");
    const pages = Object.fromEntries(
      Array.from({ length: 300 }, (_, index) => [`/f${index}.glb`, "model/gltf-binary"]),
    );
    expect(headersText({ not_found_handling: "404-page" }, new Map(Object.entries(pages)))).toBe(
      "/*.glb\n  Content-Type: model/gltf-binary\n",
    );
  });
});
