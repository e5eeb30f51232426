import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { workerScriptUrl } from "#core/entry.ts";
import { runVersion } from "../../test/support/worker-version.ts";

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
    { name: "lib/x.mjs", source: 'import t from "../t.txt"; import w from "./a.wasm"; export const value = t + typeof w;' },
    { name: "ünï ümlaut.txt", type: "text", source: "odd" },
    { name: "sp ace [1].txt", type: "text", source: "space" },
  ] as const;

  test.each([
    ["2026-11-01", []],
    ["2026-11-01", ["new_module_registry"]],
    ["2022-01-01", []],
  ])("on %s with %j", async (compatibilityDate, compatibilityFlags) => {
    const registry = compatibilityFlags.includes("new_module_registry" as never);
    await using worker = await runVersion({
      compatibilityDate,
      compatibilityFlags,
      modules: registry ? modules.map((m) => ({ ...m, source: typeof m.source === "string" ? m.source.replace(' import bare from "t.txt";', "const bare = 'text é…';") : m.source })) : modules,
    });
    expect(JSON.parse((await worker.get()).body)).toEqual({
      text: "text é…", wasm: true, data: [0, 255, 13, 10, 34, 92], json: { a: "é…" }, cjs: { cjs: "text é…" },
      sub: "text é…object", odd: "odd", space: "space", bare: "text é…", same: true, self: true, literal: "é… 😀",
    });
  });
});

test("our own scripts are ASCII, since workerd reads extension modules as Latin-1", () => {
  for (const name of ["entry", "unsupported"] as const) {
    // oxlint-disable-next-line no-control-regex
    expect(readFileSync(workerScriptUrl(name), "utf8")).toMatch(/^[\x00-\x7f]*$/);
  }
});
