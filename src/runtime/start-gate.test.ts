import { expect, test } from "vitest";
import { StartGate } from "#runtime/start-gate.ts";

const never = new AbortController().signal;

test("at most the limit is inside, the others follow in order", async () => {
  const gate = new StartGate(2);
  const order: number[] = [];
  const doors: (() => void)[] = [];
  const all = [0, 1, 2, 3, 4].map(async (number) => {
    doors.push(await gate.enter(never));
    order.push(number);
  });
  await Promise.all(all.slice(0, 2));
  expect(order).toEqual([0, 1]);
  doors[0]?.();
  // Leaving twice frees one place.
  doors[0]?.();
  await all[2];
  expect(order).toEqual([0, 1, 2]);
  doors[1]?.();
  doors[2]?.();
  await Promise.all(all);
  expect(order).toEqual([0, 1, 2, 3, 4]);
});

test("who gives up frees no place and takes none", async () => {
  const gate = new StartGate(1);
  const leave = await gate.enter(never);
  const controller = new AbortController();
  const gone = gate.enter(controller.signal);
  const next = gate.enter(never);
  controller.abort(new Error("nobody waits any more"));
  await expect(gone).rejects.toThrow("nobody waits any more");
  leave();
  (await next)();
  (await gate.enter(never))();
});
