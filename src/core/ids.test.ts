import { expect, test } from "vitest";
import { isUuid, newTimeUuid } from "#core/ids.ts";

test("ids that carry the time sort as they were made, however many there are of one millisecond", () => {
  const made = Array.from({ length: 20_000 }, () => newTimeUuid());
  expect(made.toSorted()).toEqual(made);
  expect(new Set(made).size).toBe(made.length);
  expect(made.every((id) => isUuid(id) && id[14] === "7" && /[89ab]/.test(id[19] ?? ""))).toBe(true);
  expect(Math.abs(Number.parseInt((made[0] ?? "").replace("-", "").slice(0, 12), 16) - Date.now())).toBeLessThan(
    60_000,
  );
});
