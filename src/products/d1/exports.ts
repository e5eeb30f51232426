import { randomBytes } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setImmediate } from "node:timers/promises";
import { sleep } from "#core/deadline.ts";
import { createLogger } from "#core/log.ts";
import { Bookmarks } from "#products/d1/bookmarks.ts";
import { DumpError, dumpSql, type DumpOptions } from "#products/d1/dump.ts";
import { d1Errors } from "#products/d1/errors.ts";
import { limits } from "#products/d1/limits.ts";
import type { D1Database } from "#products/d1/schema.ts";

/** What is said of an export that was begun (wrangler-api §9 D1). */
type ExportStatus = { type: "export"; messages: string[] } & (
  | { success: true; at_bookmark: string; status: "active" }
  | { success: true; at_bookmark: string; status: "complete"; result: { filename: string; signed_url: string } }
  | { success: false; at_bookmark?: string; status?: "error"; error: string }
);

/** Exports of databases as SQL text: begun, asked for until they are ready, then fetched from a URL that only the caller knows. */
export interface D1Exports {
  /** Begins one; with a bookmark, says how that one is getting on. */
  export(database: D1Database, options: DumpOptions, bookmark?: string): Promise<ExportStatus>;
  /** The file behind an URL. */
  open(token: string): Promise<{ stream: Readable; bytes: number; filename: string }>;
  /** Ends exports of a database whose file is about to be moved. */
  interrupt(databaseId: string): Promise<void>;
}

type Job = {
  databaseId: string;
  bookmark: string;
  token: string;
  filename: string;
  file: string;
  stop: AbortController;
  end: Promise<ExportStatus>;
  state: "running" | "ready" | "failed";
  beganAt: number;
};

/** How long an answer is held back for an export that may end soon; wrangler asks again at once. */
const patienceMs = 1000;
/** Text that is made before others get their turn. */
const turnCharacters = 128 * 1024;

const log = createLogger("d1.exports");

/** `staging`: folder for the files, emptied at start. `fileOf`: where a database is. `downloadUrl`: where `d1DownloadRoutes` answers. */
export function d1Exports(options: {
  staging: string;
  fileOf: (database: D1Database) => string;
  downloadUrl: (token: string) => string;
}): D1Exports {
  const jobs = new Map<string, Job>();
  return {
    async export(database, dump, bookmark) {
      if (bookmark !== undefined) {
        const job = jobs.get(bookmark);
        if (job?.databaseId !== database.id) return refusal("Not currently exporting anything.");
        return soon(job);
      }
      await forgetOld(jobs);
      if (jobs.size >= limits.exports) throw d1Errors.tooManyExports();
      await mkdir(options.staging, { recursive: true });
      const job = begin(options, database, dump);
      jobs.set(job.bookmark, job);
      return soon(job);
    },
    async open(token) {
      const job = [...jobs.values()].find((candidate) => candidate.token === token);
      if (job?.state !== "ready" || job.beganAt < Date.now() - limits.outcomeMs) throw d1Errors.exportNotFound();
      const { size } = await stat(job.file);
      return { stream: createReadStream(job.file), bytes: size, filename: job.filename };
    },
    async interrupt(databaseId) {
      const running = [...jobs.values()].filter((job) => job.databaseId === databaseId && job.state === "running");
      for (const { stop } of running) stop.abort();
      await Promise.all(running.map(({ end }) => end));
    },
  };
}

function begin(
  { staging, fileOf, downloadUrl }: Parameters<typeof d1Exports>[0],
  database: D1Database,
  dump: DumpOptions,
): Job {
  const token = randomBytes(32).toString("hex");
  const bookmark = new Bookmarks(database.id, Date.now()).current;
  const job: Job = {
    databaseId: database.id,
    // Two exports can begin within the same millisecond.
    bookmark: `${bookmark}-${token.slice(0, 8)}`,
    token,
    filename: `${database.id}-${new Date().toISOString().replaceAll(/[-:.]/g, "")}.sql`,
    file: join(staging, `d1-export-${token}.sql`),
    stop: new AbortController(),
    end: Promise.resolve(refusal("")),
    state: "running",
    beganAt: Date.now(),
  };
  job.end = run(job, fileOf(database), dump, downloadUrl(token));
  return job;
}

async function run(job: Job, database: string, dump: DumpOptions, url: string): Promise<ExportStatus> {
  const base = { type: "export" as const, at_bookmark: job.bookmark };
  const { signal } = job.stop;
  try {
    await pipeline(Readable.from(inTurns(dumpSql(database, dump))), createWriteStream(job.file, { mode: 0o600 }), {
      signal,
    });
    job.state = "ready";
    const result = { filename: job.filename, signed_url: url };
    return { ...base, success: true, status: "complete", messages: [], result };
  } catch (error) {
    job.state = "failed";
    await rm(job.file, { force: true });
    if (error instanceof DumpError)
      return { ...base, success: false, status: "error", messages: [], error: error.message };
    if (!signal.aborted) log.error("an export failed", { error, database: job.databaseId });
    return { ...base, success: false, status: "error", messages: [], error: "D1 reset before export completed!" };
  }
}

/** Lines in pieces, with a rest for whoever waits after each. */
async function* inTurns(statements: Iterable<string>): AsyncGenerator<string> {
  let piece = "";
  for (const statement of statements) {
    piece += `${statement}\n`;
    if (piece.length < turnCharacters) continue;
    yield piece;
    piece = "";
    await setImmediate();
  }
  yield piece;
}

async function soon({ end, bookmark }: Job): Promise<ExportStatus> {
  const waiting = new AbortController();
  const ended = end.finally(() => waiting.abort());
  try {
    await sleep(patienceMs, waiting.signal);
  } catch {
    return ended;
  }
  return { type: "export", success: true, at_bookmark: bookmark, status: "active", messages: [] };
}

function refusal(error: string): ExportStatus {
  return { type: "export", success: false, error, messages: [] };
}

async function forgetOld(jobs: Map<string, Job>): Promise<void> {
  for (const [bookmark, { beganAt, file, state }] of jobs) {
    if (state === "running" || beganAt >= Date.now() - limits.outcomeMs) continue;
    jobs.delete(bookmark);
    await rm(file, { force: true });
  }
}
