import { expect, test } from "vitest";
import { AlarmPace } from "#runtime/entry/alarm-pace.ts";

test("alarms run at once until they come in a loop, which is then slowed down and told once a minute", () => {
  const pace = new AlarmPace(0);
  for (let count = 0; count < 300; count++) expect(pace.next(0).waitMs).toBe(0);
  let at = 0;
  let told = 0;
  for (let count = 0; count < 600; count++) {
    const { waitMs, tell } = pace.next(at);
    expect(waitMs).toBeCloseTo(200);
    at += waitMs;
    if (tell) told++;
  }
  expect(at).toBeCloseTo(120_000, -2);
  expect(told).toBeGreaterThanOrEqual(2);
  expect(told).toBeLessThanOrEqual(3);
});

test("an object that rests may have a burst again", () => {
  const pace = new AlarmPace(0);
  for (let count = 0; count < 310; count++) pace.next(0);
  expect(pace.next(100_000).waitMs).toBe(0);
});
