import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadConfig, nearestSetting, settingsPage } from "#config.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "solum-config-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  delete process.env["SOLUM_DRAIN_MS"];
});
const fileOf = (settings: unknown) => {
  const file = join(folder, "given.json");
  writeFileSync(file, typeof settings === "string" ? settings : JSON.stringify(settings));
  return file;
};

test("docs/SETTINGS.md says what the schema says: node scripts/settings-page.ts writes it", () => {
  expect(readFileSync(join(import.meta.dirname, "..", "docs", "SETTINGS.md"), "utf8")).toBe(settingsPage());
});

test("the command line wins over the environment, and that over the file", () => {
  const config = fileOf({ drainMs: 1, port: 1, colo: "ABC" });
  process.env["SOLUM_DRAIN_MS"] = "2";
  expect(loadConfig({ data: folder, config, port: "3" })).toMatchObject({ drainMs: 2, port: 3, colo: "ABC" });
});

test("the data folder's own file is read when none is named", () => {
  writeFileSync(join(folder, "config.json"), JSON.stringify({ egressAllow: ["public", "10.0.0.0/8"] }));
  expect(loadConfig({ data: folder })).toMatchObject({ data: folder, egressAllow: ["public", "10.0.0.0/8"] });
  expect(loadConfig({ data: folder, egressAllow: "private,local" }).egressAllow).toEqual(["private", "local"]);
});

describe("is refused", () => {
  test.each<[string, unknown, RegExp]>([
    ["a name that does not exist", { drain_ms: 1 }, /There is no setting "drain_ms"\. Did you mean "drainMs"\?/],
    ["a value of the wrong kind", { port: "many" }, /^port: /],
    ["a negative time", { drainMs: -1 }, /^drainMs: /],
    ["text that is no JSON", "{", /is not a JSON object/],
    ["a list", [1], /is not a JSON object/],
    [
      "a console inside the app domain",
      { appDomain: "apps.example.com", consoleHost: "console.apps.example.com" },
      /plant cookies/,
    ],
  ])("%s", (_what, settings, message) => {
    expect(() => loadConfig({ data: folder, config: fileOf(settings) })).toThrow(message);
  });

  test("a file that was named and is not there", () => {
    expect(() => loadConfig({ data: folder, config: join(folder, "missing.json") })).toThrow(
      /missing\.json cannot be read/,
    );
  });
});

test("the nearest setting is found however its words are joined", () => {
  expect(nearestSetting("app_domian")).toBe("appDomain");
  expect(nearestSetting("consolehost")).toBe("consoleHost");
});
