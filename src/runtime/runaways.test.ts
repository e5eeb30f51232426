import { expect, test } from "vitest";
import { judge, type Silence } from "#runtime/runaways.ts";

const limits = { cpuMs: 1000, memoryBytes: 256 };
const silence = (more: Partial<Silence> = {}): Silence => ({
  cpuMs: 500,
  memoryBytes: 1,
  calls: 7,
  asked: false,
  ...more,
});
const usage = (cpuMs: number, more = {}) => ({ cpuMs, memoryBytes: 1, calls: 7, sleeps: 0, ...more });

test("a process that uses no CPU time is left alone, however long it is silent", () => {
  expect(judge(usage(500), silence(), limits)).toBe("fine");
  expect(judge(usage(500), silence({ asked: true }), limits)).toBe("fine");
});

test("one that computes in silence is asked, and judged only after it was", () => {
  expect(judge(usage(599), silence(), limits)).toBe("fine");
  expect(judge(usage(600), silence(), limits)).toBe("ask");
  expect(judge(usage(2000), silence(), limits)).toBe("ask");
  expect(judge(usage(1500), silence({ asked: true }), limits)).toBe("fine");
  expect(judge(usage(1510), silence({ asked: true }), limits)).toBe("exceededCpu");
});

test("a process with a long queue is busy, not caught: it writes answers", () => {
  const state = silence({ asked: true });
  expect(judge(usage(5000, { calls: 8 }), state, limits)).toBe("fine");
  expect(state).toMatchObject({ cpuMs: 5000, memoryBytes: 1, calls: 8 });
  expect(judge(usage(5900, { calls: 8 }), state, limits)).toBe("fine");
});

test("one that filled its memory in the silence is out of memory, whichever limit it passes first", () => {
  const state = silence({ asked: true });
  expect(judge(usage(1510, { memoryBytes: 129 }), state, limits)).toBe("exceededCpu");
  expect(judge(usage(1510, { memoryBytes: 130 }), state, limits)).toBe("exceededMemory");
  // What it had before is not what it was caught at.
  expect(judge(usage(1510, { memoryBytes: 250 }), silence({ asked: true, memoryBytes: 200 }), limits)).toBe(
    "exceededCpu",
  );
});

test("the limit of the version counts", () => {
  const state = silence({ asked: true });
  expect(judge(usage(10_500), state, { ...limits, cpuMs: 30_000 })).toBe("fine");
  expect(judge(usage(30_510), state, { ...limits, cpuMs: 30_000 })).toBe("exceededCpu");
});

test("memory counts whatever else happens", () => {
  expect(judge(usage(500, { memoryBytes: 257, calls: 9 }), silence(), limits)).toBe("exceededMemory");
  expect(judge(usage(500, { memoryBytes: 256 }), silence(), limits)).toBe("fine");
});
