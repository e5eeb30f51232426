import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { sleep } from "#core/deadline.ts";
import { ApiError } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { Bookmarks } from "#products/d1/bookmarks.ts";
import type { Meta } from "#products/d1/host-protocol.ts";
import { limits } from "#products/d1/limits.ts";
import type { D1Database } from "#products/d1/schema.ts";
import type { D1Store } from "#products/d1/store.ts";
import { Uploads } from "#products/d1/uploads.ts";

/** What is said of an import that was begun (wrangler-api §9 D1). */
type ImportStatus = { type: "import"; messages: string[] } & (
  | { success: true; at_bookmark: string; errors: string[]; status: "active" }
  | { success: true; at_bookmark: string; errors: string[]; status: "complete"; result: ImportResult }
  | { success: false; at_bookmark?: string; error: string; status?: "error" }
);
type ImportResult = { final_bookmark: string; num_queries: number; meta: Meta };

/** Imports of SQL files: an upload to a URL that only its caller knows, then one transaction, whose end is asked for. */
export interface D1Imports {
  init(database: D1Database, etag: string): Promise<{ filename: string; upload_url: string }>;
  ingest(database: D1Database, file: { filename: string; etag: string }): Promise<ImportStatus>;
  poll(database: D1Database, bookmark: string): Promise<ImportStatus>;
  /** Takes the file for `token`, the end of an upload URL; the MD5 of its bytes. */
  receive(token: string, body: AsyncIterable<Uint8Array>): Promise<string>;
}

type Job = { databaseId: string; bookmark: string; end: Promise<ImportStatus>; endedAt?: number };

/** How long an answer is held back for an import that may end soon; wrangler asks again at once. */
const patienceMs = 1000;

const log = createLogger("d1.imports");

/** `staging`: folder for uploads, emptied at start. `uploadUrl`: where `d1UploadRoutes` answers for a token. */
export function d1Imports(options: {
  store: D1Store;
  staging: string;
  uploadUrl: (token: string) => string;
}): D1Imports {
  const uploads = new Uploads(options.staging);
  const jobs = new Map<string, Job>();
  return {
    async init(database, etag) {
      const { token, filename } = await uploads.open(database.id, etag);
      return { filename, upload_url: options.uploadUrl(token) };
    },
    receive: (token, body) => uploads.receive(token, body),
    async ingest(database, wanted) {
      forgetOld(jobs);
      const running = [...jobs.values()].some((job) => job.databaseId === database.id && job.endedAt === undefined);
      if (running) return refusal("Currently processing a long-running import.");
      const file = uploads.take(database.id, wanted);
      const bookmark = new Bookmarks(database.id, Date.now()).current;
      const job: Job = { databaseId: database.id, bookmark, end: run(options.store, database, file, bookmark) };
      void job.end.then(() => (job.endedAt = Date.now()));
      jobs.set(bookmark, job);
      return soon(job);
    },
    async poll(database, bookmark) {
      const job = jobs.get(bookmark);
      // Cloudflare's text; its tutorial for the REST API waits for it.
      if (job?.databaseId !== database.id) return refusal("Not currently importing anything.");
      return soon(job);
    },
  };
}

async function run(
  store: D1Store,
  database: D1Database,
  { file, bytes }: { file: string; bytes: number },
  bookmark: string,
): Promise<ImportStatus> {
  const base = { type: "import" as const, at_bookmark: bookmark, messages: [] };
  try {
    const stream = createReadStream(file, { highWaterMark: 1024 * 1024 });
    const { statements, bookmark: final, meta } = await store.import(database, { stream, bytes });
    const result = { final_bookmark: final, num_queries: statements, meta };
    return { ...base, success: true, errors: [], status: "complete", result };
  } catch (error) {
    if (!(error instanceof ApiError)) log.error("an import failed", { error, database: database.id });
    return {
      ...base,
      success: false,
      error: error instanceof ApiError ? error.message : "Internal error",
      status: "error",
    };
  } finally {
    await rm(file, { force: true });
  }
}

/** The end of the import, or after a moment that it goes on. */
async function soon({ end, bookmark }: Job): Promise<ImportStatus> {
  const waiting = new AbortController();
  const ended = end.finally(() => waiting.abort());
  try {
    await sleep(patienceMs, waiting.signal);
  } catch {
    return ended;
  }
  return { type: "import", success: true, at_bookmark: bookmark, messages: [], errors: [], status: "active" };
}

function refusal(error: string): ImportStatus {
  return { type: "import", success: false, error, messages: [] };
}

function forgetOld(jobs: Map<string, Job>): void {
  const ended = [...jobs.values()].filter(({ endedAt }) => endedAt !== undefined);
  for (const [index, { bookmark, endedAt = 0 }] of ended.entries())
    if (index < ended.length - limits.imports || endedAt < Date.now() - limits.outcomeMs) jobs.delete(bookmark);
}
