import { describe, expect, test } from "vitest";
import { headersText, nativeType } from "#runtime/assets-config.ts";
import { runAssets } from "../../test/support/assets-version.ts";
import type { RunningVersion } from "../../test/support/worker-version.ts";

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
    await using worker = await runAssets({
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
      await using worker = await runAssets({
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
    await using worker = await runAssets({ files, types, config: { _headers, html_handling: "none" } });
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
    await using worker = await runAssets({ files: ["f0.e0"], types: many, config: { _headers } });
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
