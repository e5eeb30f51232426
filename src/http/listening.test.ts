import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { isListening } from "#http/listening.ts";

const folder = mkdtempSync(join(tmpdir(), "solum-listening-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("a socket whose process was killed is not taken for one that answers", async () => {
  const path = join(folder, "x.sock");
  expect(await isListening(path)).toBe(false);
  const program = `require("net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  expect(await isListening(path)).toBe(true);
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(existsSync(path)).toBe(true);
  expect(await isListening(path)).toBe(false);
});
