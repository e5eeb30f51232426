import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { Slots } from "#products/workflows/slots.ts";

const never = () => false;

test("no more than the limit have one, and the next gets what is given back", async () => {
  const slots = new Slots(2);
  const [a, b, c, d] = [{}, {}, {}, {}];
  expect(await Promise.all([slots.take(a, never, wait), slots.take(b, never, wait)])).toEqual([true, true]);
  const order: string[] = [];
  const third = slots.take(c, never, wait).then(() => order.push("c"));
  const fourth = slots.take(d, never, wait).then(() => order.push("d"));
  await wait(10);
  expect(order).toEqual([]);
  slots.give(a);
  // Giving back what one has not got gives nobody anything.
  slots.give(a);
  await third;
  slots.give(b);
  await fourth;
  expect(order).toEqual(["c", "d"]);
});

test("one that is over leaves the queue without a slot", async () => {
  const slots = new Slots(1);
  const [a, b, c] = [{}, {}, {}];
  await slots.take(a, never, wait);
  let isOver = false;
  const gone = slots.take(b, () => isOver, wait);
  const next = slots.take(c, never, wait);
  isOver = true;
  slots.give(a);
  expect(await gone).toBe(false);
  expect(await next).toBe(true);
});
