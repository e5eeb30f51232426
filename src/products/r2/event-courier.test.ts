import { expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { ApiError } from "#core/errors.ts";
import { EventCourier } from "#products/r2/event-courier.ts";
import type { R2Events } from "#products/r2/events.ts";

/** Events in memory, as the tables keep them. */
function waiting(rows: { id: number; queueId: string; body: Uint8Array }[]): R2Events {
  const drop = (isGone: (row: { id: number; queueId: string }) => boolean) => {
    const before = rows.length;
    rows.splice(0, before, ...rows.filter((row) => !isGone(row)));
    return before - rows.length;
  };
  return {
    queues: () => [...new Set(rows.map(({ queueId }) => queueId))],
    pending: (queueId, max) => rows.filter((row) => row.queueId === queueId).slice(0, max),
    remove: async (ids) => void drop(({ id }) => ids.includes(id)),
    trim: async () => 0,
  };
}

test("a queue that takes nothing is in no other's way, and one that is gone is forgotten", async () => {
  const rows = Array.from({ length: 3000 }, (_, id) => ({
    id,
    queueId: id < 2000 ? "full" : id < 2900 ? "well" : "gone",
    body: Buffer.from(String(id)),
  }));
  const taken: number[] = [];
  let refused = 0;
  const courier = new EventCourier(waiting(rows), async (queueId, bodies) => {
    if (queueId === "gone") throw new ApiError(404, 11000, "The specified queue does not exist.");
    if (queueId === "full") {
      refused++;
      throw new ApiError(507, 1, "no room");
    }
    taken.push(...bodies.map(Number));
  });
  const done = { ms: 5000, everyMs: 5, what: "what is for the others" };
  await pollUntil(done, () => (taken.length === 900 && rows.length === 2000 ? true : undefined));
  await courier.stop();
  expect(taken).toEqual(Array.from({ length: 900 }, (_, at) => 2000 + at));
  expect(rows.every(({ queueId }) => queueId === "full")).toBe(true);
  expect(refused).toBe(1);
});
