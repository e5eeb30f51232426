import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { ProcessGauge } from "#runtime/gauge.ts";

test("a gauge sees CPU time and memory move, and keeps what it saw last when the process has ended", async () => {
  const script = `
    const kept = [];
    process.stdin.once("data", () => {
      for (let i = 0; i < 64; i++) kept.push(Buffer.alloc(1024 * 1024, 1));
      const end = Date.now() + 200;
      while (Date.now() < end);
      console.log("done");
    });
    console.log("ready");`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["pipe", "pipe", "inherit"] });
  await once(child.stdout, "data");
  const gauge = ProcessGauge.open(child.pid ?? 0);
  expect(gauge?.look()).toBe(true);
  const before = gauge?.last;
  child.stdin.write("go");
  await once(child.stdout, "data");
  gauge?.look();
  const after = gauge?.last;
  expect(after?.cpuMs).toBeGreaterThan((before?.cpuMs ?? 0) + 50);
  expect(after?.memoryBytes).toBeGreaterThan((before?.memoryBytes ?? 0) + 60 * 1024 * 1024);
  child.kill("SIGKILL");
  await once(child, "exit");
  await pollUntil({ ms: 5000, everyMs: 5, what: "the end" }, () => (gauge?.look() ? undefined : true));
  expect(gauge?.last).toEqual(after);
  gauge?.close();
});

test("there is no gauge for a process that does not exist", () => {
  // Above the largest pid that Linux gives out, 2^22.
  expect(ProcessGauge.open(2 ** 23)).toBeUndefined();
});
