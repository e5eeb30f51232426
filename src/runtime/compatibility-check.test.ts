import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compatibilityProblem, compatibilityTrial } from "#runtime/compatibility-check.ts";
import { compatibilityChecker } from "#runtime/compatibility-checker.ts";
import { newestCompatibilityDate } from "#runtime/workerd.ts";
import { temporaryFolder, workerdBinary } from "../../test/support/workerd.ts";

/** The trial as the supervisor runs it. */
function tryOut(
  compatibilityDate: string,
  compatibilityFlags: string[],
): { status: number | null; problem: string | undefined } {
  const trial = compatibilityTrial({ compatibilityDate, compatibilityFlags });
  if ("problem" in trial) return { status: 1, problem: trial.problem };
  using folder = temporaryFolder();
  const file = join(folder.path, "trial.capnp");
  writeFileSync(file, trial.text);
  const { status, stderr } = spawnSync(workerdBinary, ["serve", file], { encoding: "utf8", timeout: 10_000, env: {} });
  return { status, problem: compatibilityProblem(stderr) };
}

test.each([
  ["2026-11-01", []],
  ["2026-11-01", ["nodejs_compat"]],
  ["2021-11-02", ["nodejs_compat", "disallow_importable_env", "new_module_registry"]],
])("%s with %j passes", (date, flags) => {
  expect(tryOut(date, flags)).toEqual({ status: 0, problem: undefined });
});

test.each([
  ["2026-11-01", ["no_such_flag"], "No such compatibility flag: no_such_flag"],
  ["2026-11-01", ['"quoted")'], 'No such compatibility flag: "quoted")'],
  ["2026-11-01", ["experimental"], "The compatibility flag experimental is experimental and cannot be used."],
  [
    "2026-11-01",
    ["service_binding_extra_handlers"],
    "The compatibility flag service_binding_extra_handlers is experimental and cannot be used.",
  ],
  [
    "2026-11-01",
    ["nodejs_als", "no_nodejs_als"],
    "Compatibility flags are mutually contradictory: nodejs_als vs no_nodejs_als",
  ],
  ["yesterday", [], "Invalid compatibility date: yesterday"],
  [
    "2026-11-01",
    ["python_workers"],
    "The compatibility flag python_workers is not supported: Python Workers do not run here.",
  ],
])("%s with %j: %s", (date, flags, problem) => {
  expect(tryOut(date, flags)).toEqual({ status: 1, problem });
});

test("a date in the future is refused", () => {
  expect(tryOut("2099-01-01", [])).toEqual({
    status: 1,
    problem: expect.stringMatching(
      /^Can't set compatibility date in the future|^This Worker requires compatibility date/,
    ) as string,
  });
});

test("all that is wrong is said at once", () => {
  expect(tryOut("2026-11-01", ["no_such_flag", "experimental"]).problem?.split("\n")).toHaveLength(2);
});

test("the newest date that workerd knows follows from its version", () => {
  const newest = newestCompatibilityDate();
  expect(tryOut(newest, []).problem ?? "").not.toContain("newest date supported");
  const next = new Date(Date.parse(newest) + 24 * 60 * 60 * 1000).toISOString().slice(0, 10);
  expect(tryOut(next, []).problem).toContain(`the newest date supported by this server binary is "${newest}"`);
});

test("a date between the newest that workerd knows and today is accepted: new projects are dated today", async () => {
  using folder = temporaryFolder();
  const refuses = compatibilityChecker({ workerd: workerdBinary, newestDate: "2026-10-01", folder: folder.path });
  const today = new Date().toISOString().slice(0, 10);
  expect(await refuses(today, ["nodejs_compat"])).toBeUndefined();
  expect(await refuses("2099-01-01", [])).toContain("2099-01-01");
  expect(await refuses(today, ["no_such_flag"])).toBe("No such compatibility flag: no_such_flag");
});
