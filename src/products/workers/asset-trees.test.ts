import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, readFile, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { dataLayout, type DataLayout } from "#core/layout.ts";
import { buildTree, keptFiles, renewTree, type TreeFile } from "#products/workers/asset-trees.ts";
import { blobStore } from "#products/workers/blobs.ts";

let folder: string;
let layout: DataLayout;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "solum-trees-"));
  layout = dataLayout(folder);
  for (const path of [layout.staging, layout.blobs, layout.assetTrees]) await mkdir(path, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

const files = (...paths: string[]): Promise<TreeFile[]> =>
  Promise.all(
    paths.map(async (path) => ({
      path,
      blob: await blobStore(layout).put(Buffer.from(path)),
      contentType: "text/plain",
    })),
  );
const tree = async (paths: string[], trees: string[] = []): Promise<string> => {
  const own = await files(...paths);
  return buildTree(layout, own, await keptFiles(layout, { own, trees }));
};
const keptFrom = async (before: string[], now: string[]) =>
  (await keptFiles(layout, { own: await files(...now), trees: [await tree(before)] })).map(({ path }) => path);

test("names that hold a content hash are kept, whichever bundler wrote them", async () => {
  const hashed = [
    "/assets/index-DiwrgTda.js", // Vite, Rollup: eight characters of base64url
    "/assets/index-B-x1_f2a.css",
    "/assets/vendor-k3Qz8_-L.js.map",
    "/static/js/main.5f3a90cc.chunk.js", // webpack: [contenthash:8]
    "/_next/static/chunks/4bd1b696-182b6b13bdad92e3.js",
    "/media/logo.d41d8cd98f00b204e9800998ecf8427e.svg",
    "/fonts/inter-0a1b2c3d4e.woff2",
  ];
  expect(await keptFrom(hashed, ["/index.html"])).toEqual(hashed.toSorted());
});

test("names without one are not: what was removed from a site is gone", async () => {
  const plain = [
    "/index.html",
    "/page-DiwrgTda.html",
    "/settings/page-settings.js",
    "/report-20260131.pdf",
    "/jquery-3.7.1.min.js",
    "/robots.txt",
    "/secret.env",
    "/a-manifest.json",
  ];
  expect(await keptFrom(plain, ["/other.txt"])).toEqual([]);
});

test("the new set's own file wins, and a file is never a folder", async () => {
  const before = ["/a-DiwrgTda.js", "/b-DiwrgTdb.js", "/c-DiwrgTdc.js/x-DiwrgTdx.js"];
  expect(await keptFrom(before, ["/a-DiwrgTda.js", "/b-DiwrgTdb.js/y.txt", "/c-DiwrgTdc.js"])).toEqual([]);
});

test("a kept file is a link to the same bytes, with its type", async () => {
  const first = await tree(["/a-DiwrgTda.js"]);
  const second = await tree(["/b-DiwrgTdb.js"], [first]);
  const at = (name: string) => stat(join(layout.assetFiles(name), "a-DiwrgTda.js"));
  expect((await at(second)).ino).toBe((await at(first)).ino);
  expect(JSON.parse(await readFile(layout.assetManifest(second), "utf8"))).toEqual({
    "/a-DiwrgTda.js": "text/plain",
    "/b-DiwrgTdb.js": "text/plain",
  });
});

test("what was kept once is not kept again: it ends with the deployment that it belonged to", async () => {
  const first = await tree(["/a-DiwrgTda.js"]);
  const second = await tree(["/b-DiwrgTdb.js"], [first]);
  const own = await files("/c-DiwrgTdc.js");
  const paths = async (...trees: string[]) => (await keptFiles(layout, { own, trees })).map(({ path }) => path);
  expect(await paths(second)).toEqual(["/b-DiwrgTdb.js"]);
  expect(await paths(second, first)).toEqual(["/a-DiwrgTda.js", "/b-DiwrgTdb.js"]);
});

test("the same files with and without kept ones are two sets; each is made once", async () => {
  const first = await tree(["/a-DiwrgTda.js"]);
  const alone = await tree(["/b-DiwrgTdb.js"]);
  const withKept = await tree(["/b-DiwrgTdb.js"], [first]);
  expect(withKept).not.toBe(alone);
  expect(await tree(["/b-DiwrgTdb.js"], [first])).toBe(withKept);
  expect(await tree(["/a-DiwrgTda.js", "/b-DiwrgTdb.js"])).not.toBe(withKept);
});

test("an earlier set keeps what came after it when it returns", async () => {
  const first = await tree(["/a-DiwrgTda.js", "/page.html"]);
  const second = await tree(["/b-DiwrgTdb.js"], [first]);
  const returned = await renewTree(layout, first, [second, first]);
  expect(Object.keys(JSON.parse(await readFile(layout.assetManifest(returned), "utf8")) as object)).toEqual([
    "/a-DiwrgTda.js",
    "/page.html",
    "/b-DiwrgTdb.js",
  ]);
  expect(await renewTree(layout, returned, [])).toBe(first);
  expect(await renewTree(layout, second, [first])).toBe(second);
});
