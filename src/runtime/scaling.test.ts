import { expect, test } from "vitest";
import { demand, isIdle, nextCount, scaling } from "#runtime/scaling.ts";

const quiet = { max: 4, open: 1, quietFor: 0 };

test("a process that is busy with requests gets company, as much as its work needs", () => {
  expect(nextCount({ ...quiet, count: 1, cores: 0.95 })).toEqual({ count: 2, quietFor: 0 });
  expect(nextCount({ ...quiet, count: 2, cores: 1.9 })).toEqual({ count: 3, quietFor: 0 });
  expect(nextCount({ ...quiet, count: 3, cores: 2.9, max: 8 })).toEqual({ count: 5, quietFor: 0 });
});

test("never more than allowed, and none for work that no request waits for", () => {
  expect(nextCount({ ...quiet, count: 4, cores: 3.9 }).count).toBe(4);
  expect(nextCount({ ...quiet, count: 1, cores: 1, max: 1 }).count).toBe(1);
  expect(nextCount({ ...quiet, count: 1, cores: 1, open: 0 }).count).toBe(1);
});

test("a process leaves only after the load was low for long, one at a time", () => {
  let state = { count: 3, quietFor: 0 };
  for (let window = 1; window < scaling.quietWindows; window++) {
    state = nextCount({ ...quiet, ...state, cores: 0.1 });
    expect(state).toEqual({ count: 3, quietFor: window });
  }
  state = nextCount({ ...quiet, ...state, cores: 0.1 });
  expect(state).toEqual({ count: 2, quietFor: 0 });
});

test("one busy window begins the wait anew, and load between the two limits changes nothing", () => {
  expect(nextCount({ ...quiet, count: 2, cores: 0.5, quietFor: 14 })).toEqual({ count: 2, quietFor: 0 });
  expect(nextCount({ ...quiet, count: 2, cores: 1.3 })).toEqual({ count: 2, quietFor: 0 });
  expect(nextCount({ ...quiet, count: 1, cores: 0 })).toEqual({ count: 1, quietFor: 0 });
});

test("fewer are allowed than there are: they leave at once", () => {
  expect(nextCount({ ...quiet, count: 4, cores: 2, max: 2 }).count).toBe(2);
});

test("a version is idle when neither its start nor its last use is recent", () => {
  const rest = { now: 100_000, idleMs: 1000, awakeSince: 0 };
  expect(isIdle({ ...rest, lastUsedAgoMs: 1000 })).toBe(true);
  expect(isIdle({ ...rest, lastUsedAgoMs: undefined })).toBe(true);
  expect(isIdle({ ...rest, lastUsedAgoMs: 999 })).toBe(false);
  expect(isIdle({ ...rest, lastUsedAgoMs: 0 })).toBe(false);
  expect(isIdle({ ...rest, awakeSince: 99_500, lastUsedAgoMs: undefined })).toBe(false);
});

test("a process that never pauses is taken for busy, however little the machine gives it", () => {
  expect(demand({ ms: 1000, cpuMs: 300, sleeps: 200 })).toBe(0.3);
  expect(demand({ ms: 1000, cpuMs: 300, sleeps: 3 })).toBe(1);
  expect(demand({ ms: 1000, cpuMs: 1200, sleeps: 3 })).toBe(1.2);
  // Too little to tell: one request of 50 ms in a second.
  expect(demand({ ms: 1000, cpuMs: 50, sleeps: 1 })).toBe(0.05);
});
