import { expect, test } from "vitest";
import { Bookmarks } from "#products/d1/bookmarks.ts";
import { Calls } from "#products/d1/calls.ts";
import { Engine, type Run } from "#products/d1/engine.ts";
import { limits } from "#products/d1/limits.ts";

const run: Run = { queries: [{ sql: "SELECT 1" }], format: "none", results: "last" };
const now = 1_000_000;

/** An engine over a storage that has no rows; `refuse` is the text that it refuses. */
function engine(refuse = "") {
  return new Engine(
    {
      sql: {
        exec: (query) => {
          if (query === refuse) throw new Error("refused");
          return { columnNames: [], rowsRead: 0, rowsWritten: 0, raw: () => [] };
        },
        databaseSize: 0,
      },
      transactionSync: (work) => work(),
    },
    { served_by: "", served_by_region: "", served_by_colo: "" },
  );
}

test("all calls that wait are run together, in order, and each has its own outcome", () => {
  const calls = new Calls();
  const added = ["SELECT 1", "SELECT 2", "SELECT 3"].map((sql) => calls.add("a", { ...run, queries: [{ sql }] }, now));
  const other = calls.add("b", run, now);
  calls.runWaiting("a", engine("SELECT 2"), new Bookmarks("a", now), now);
  expect(added.map(({ outcome }) => outcome && ("error" in outcome ? outcome.error : outcome.results.length))).toEqual([
    1,
    "refused",
    1,
  ]);
  expect(other.outcome).toBeUndefined();
});

test("one commit takes so many calls and leaves the rest to the next", () => {
  const calls = new Calls();
  const added = Array.from({ length: limits.callsPerCommit + 1 }, () => calls.add("a", run, now));
  const wake = () => calls.runWaiting("a", engine(), new Bookmarks("a", now), now);
  wake();
  expect(added.filter(({ outcome }) => outcome).length).toBe(limits.callsPerCommit);
  wake();
  expect(added.every(({ outcome }) => outcome)).toBe(true);
});

test("a call that waited longer than its caller would is not run", () => {
  const calls = new Calls();
  const call = calls.add("a", run, now);
  calls.runWaiting("a", engine(), new Bookmarks("a", now), now + limits.waitingMs + 1);
  expect(call.outcome).toEqual({ error: "D1 DB is overloaded. Requests queued for too long." });
});

test("too many calls are refused, and one that was dropped makes room", () => {
  const calls = new Calls();
  const added = Array.from({ length: limits.waitingCalls }, () => calls.add("a", run, now));
  expect(() => calls.add("a", run, now)).toThrow("D1 DB is overloaded. Too many requests queued.");
  calls.drop("a", added[0]!);
  expect(() => calls.add("a", run, now)).not.toThrow();
});

test("bookmarks sort in the order of changes, also when the clock goes back", () => {
  const bookmarks = new Bookmarks("5e3dbf5f-716c-431d-be22-1edb988397a4", now);
  const seen = [bookmarks.current];
  for (const time of [now, now + 1, now - 5, now - 5, now + 2]) {
    bookmarks.advance(time);
    seen.push(bookmarks.current);
  }
  expect(seen.toSorted((a, b) => a.localeCompare(b))).toEqual(seen);
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen[0]).toBe("00000000-000f4240-00000000-5e3dbf5f716c431dbe221edb988397a4");
});
