import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { expect, test, vi } from "vitest";
import { bytesOf } from "#products/r2/harness.contract.ts";
import { limits } from "#products/r2/schema.ts";
import { openR2Store } from "#products/r2/sqlite-store.ts";
import {
  bucketRef,
  bytesFor,
  paths,
  sourcesRef,
  stepScenarios,
  type Operation,
  type StepScenario,
} from "../support/r2-crash.ts";
import { killRounds } from "../support/kill-rounds.ts";

const program = join(import.meta.dirname, "..", "support", "r2-crash.ts");

function crashFolder(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "solum-r2-crash-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

const start = (...args: string[]) =>
  spawn(process.execPath, ["--disable-warning=ExperimentalWarning", program, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });

/** Files that the rows name. */
function filesOfRows(folder: string): string[] {
  const db = new DatabaseSync(paths(folder).db, { readOnly: true });
  const rows = db.prepare("SELECT file FROM r2_extents UNION ALL SELECT file FROM r2_parts").all();
  db.close();
  return rows.map((row) => String(row["file"])).toSorted((a, b) => (a < b ? -1 : 1));
}

const onlyFilesOfRows = (folder: string) =>
  vi.waitFor(() => expect(readdirSync(paths(folder).blobs).toSorted()).toEqual(filesOfRows(folder)), {
    timeout: 10_000,
  });

/** Runs the writer until `acknowledgements` calls were answered, kills it, and tells what it had said till then. */
async function runAndKill(folder: string, round: number, acknowledgements: number) {
  const child = start("random", folder, String(round));
  const exited = once(child, "exit");
  const started: Operation[] = [];
  const acknowledged = new Set<string>();
  for await (const line of createInterface({ input: child.stdout })) {
    const [, verb, rest = ""] = /^(\w+) (.*)$/.exec(line) ?? [];
    if (verb === "start") started.push(JSON.parse(rest) as Operation);
    if (verb === "ack") acknowledged.add(rest);
    if (acknowledged.size === acknowledgements) child.kill("SIGKILL");
  }
  const [, signal] = (await exited) as [number | null, string | null];
  expect(signal).toBe("SIGKILL");
  return { started, acknowledged };
}

const rounds = killRounds(12);
const manyRounds = { timeout: 60_000 + rounds * 5000 };

// scale-reliability-security §2.3, F02 and F06.
test("what was acknowledged survives kill -9 at any moment, whole", manyRounds, async () => {
  using at = crashFolder();
  const folder = at.path;
  const first = await openR2Store(paths(folder));
  await first.createBucket(bucketRef);
  await first.createBucket(sourcesRef);
  await first.close();
  /** What each key may hold: what was acknowledged last, or what was under way when the process died. */
  const possible = new Map<string, (Operation | undefined)[]>();
  const kinds = new Set<string>();
  for (let round = 0; round < rounds; round++) {
    const { started, acknowledged } = await runAndKill(folder, round, 5 + Math.floor(Math.random() * 120));
    for (const operation of started) {
      const after = operation.kind === "delete" ? undefined : operation;
      if (acknowledged.has(operation.name)) {
        possible.set(operation.key, [after]);
        kinds.add(operation.kind);
      } else possible.set(operation.key, [...(possible.get(operation.key) ?? [undefined]), after]);
    }
    await using store = await openR2Store(paths(folder));
    await store.swept;
    const { id } = await store.getBucket(bucketRef);
    for (const [key, choices] of possible) {
      const found = await store.get(id, key);
      const bytes = await bytesOf(found);
      const right = choices.filter((choice) =>
        choice && bytes
          ? bytes.equals(bytesFor(choice.name, choice.size))
          : choice === undefined && bytes === undefined,
      );
      expect([round, key, bytes?.length, choices, right.length > 0]).toEqual([
        round,
        key,
        bytes?.length,
        choices,
        true,
      ]);
      possible.set(key, right.slice(0, 1));
    }
    const { objects } = await store.list(id);
    const expected = [...possible].filter(([, [choice]]) => choice).map(([key]) => key);
    expect(objects.map(({ key }) => key).toSorted()).toEqual(expected.toSorted());
    await onlyFilesOfRows(folder);
  }
  expect([...kinds].toSorted()).toEqual(["copy", "delete", "large", "multipart", "small"]);
  // Uploads that died half-way are all that is left besides the objects; a week later they are gone as well.
  await using store = await openR2Store({ ...paths(folder), now: () => Date.now() + limits.uploadLifeMs });
  await store.expireUploads();
  const sources = await store.getBucket(sourcesRef);
  const { objects: copies } = await store.list(sources.id);
  if (copies.length > 0) {
    await store.delete(
      sources.id,
      copies.map(({ key }) => key),
    );
  }
  await onlyFilesOfRows(folder);
  const large = [...possible.values()].flat().filter((choice) => (choice?.size ?? 0) > limits.inlineBytes);
  const parts = large.reduce((count, choice) => count + (choice?.kind === "multipart" ? 2 : 1), 0);
  expect(readdirSync(paths(folder).blobs).length).toBe(parts);
});

// F04: a crash before each thing that a write asks of the disk or the writer thread. Each step is a process; they share the cores.
test.concurrent.each(stepScenarios)(
  "a crash at any step of '%s' leaves what was or what is to be",
  async (scenario) => {
    using at = crashFolder();
    const folder = at.path;
    const outcomes = new Set<string>();
    let steps = 0;
    for (let closed = false; !closed; steps++) {
      const child = start("step", folder, scenario, String(steps + 1));
      const said: string[] = [];
      for await (const line of createInterface({ input: child.stdout })) said.push(line);
      closed = said.includes("closed");
      await using store = await openR2Store(paths(folder));
      await store.swept;
      const { id } = await store.getBucket(bucketRef);
      const bytes = await bytesOf(await store.get(id, "k"));
      const outcome = outcomeOf(scenario, bytes);
      if (said.includes("answered")) expect(outcome).toBe(scenario === "part" ? "old" : "new");
      outcomes.add(outcome);
      await onlyFilesOfRows(folder);
      await store.close();
      rmSync(paths(folder).db, { force: true });
      for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
    }
    expect([...outcomes]).toEqual(scenario === "part" ? ["old"] : ["old", "new"]);
    // Fewer would mean that the store goes around what is watched here.
    const least = { delete: 2, complete: 2, copy: 5 }[scenario as string] ?? 8;
    expect(steps).toBeGreaterThan(least);
  },
);

function outcomeOf(scenario: StepScenario, bytes: Buffer | undefined): string {
  const small = scenario === "put over small";
  const old = bytesFor("old", 300_000).subarray(0, small ? 1000 : undefined);
  if (bytes?.equals(old)) return "old";
  const expected = scenario === "delete" ? bytes === undefined : bytes?.equals(bytesFor("new", 400_000));
  return expected ? "new" : "broken";
}
