import { fork, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { Agent, request, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { AwsV4Signer } from "aws4fetch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { killRounds } from "../support/kill-rounds.ts";
import { bytesFor } from "../support/r2-crash.ts";

/**
 * `kill -9` of the process behind the S3 endpoint under writers that put, upload in parts and delete. The ledger is here, in a
 * process that is not killed; what it cannot know is a call under way, which may have been done or not, but never in part.
 */
const rounds = killRounds(3);
const writers = 4;
const keysOfWriter = 3;
const partBytes = 5 * 1024 * 1024;
const program = join(import.meta.dirname, "..", "support", "serve-s3.ts");

const folder = mkdtempSync(join(tmpdir(), "solum-s3k-"));
let agent = new Agent({ keepAlive: true });
let server: ChildProcess;
const start = async () => {
  server = fork(program, [folder], { execArgv: ["--disable-warning=ExperimentalWarning"] });
  await once(server, "message");
};
beforeAll(start);
afterAll(async () => {
  await kill();
  rmSync(folder, { recursive: true });
});

async function kill(): Promise<void> {
  const gone = once(server, "exit");
  server.kill("SIGKILL");
  await gone;
  agent.destroy();
  agent = new Agent({ keepAlive: true });
}

type Version = { name: string; size: number } | undefined;
const kinds = ["small", "large", "parts", "delete"] as const;
type Kind = (typeof kinds)[number];

/** What each key may hold: what was answered last, or what was under way when the process died. */
const possible = new Map<string, Version[]>();
const answered: Record<Kind, number> = { small: 0, large: 0, parts: 0, delete: 0 };
const sum = () => kinds.reduce((total, kind) => total + answered[kind], 0);
let cutUploads = 0;

test(
  `${rounds} kills lose nothing that S3 clients had an answer for, and show no object in part`,
  { timeout: 60_000 + rounds * 5000 },
  async () => {
    for (let round = 0; round < rounds; round++) {
      const state = { ending: false };
      const writing = Array.from({ length: writers }, async (_, writer) => write(`${round}-${writer}`, writer, state));
      const enough = sum() + 4 + Math.random() * 16;
      await pollUntil({ ms: 30_000, everyMs: 1, what: "answers" }, () => (sum() >= enough ? true : undefined));
      state.ending = true;
      await kill();
      await Promise.all(writing);
      await start();
      await check(round);
    }
    // oxlint-disable-next-line no-console -- the figures are what one wants to know of a run
    console.info(`answered over S3 before ${rounds} kills:`, answered, "uploads cut short:", cutUploads);
    for (const kind of kinds) expect.soft(answered[kind], kind).toBeGreaterThan(0);
    // What was half written is removed after a start.
    await pollUntil({ ms: 10_000, everyMs: 20, what: "the sweep" }, () =>
      readdirSync(join(folder, "r2")).some((name) => name.endsWith(".tmp")) ? undefined : true,
    );
  },
);

/** One call after the other on keys of its own, until the process is gone. */
async function write(name: string, writer: number, state: { ending: boolean }): Promise<void> {
  for (let n = 0; ; n++) {
    const key = `key-${writer}-${n % keysOfWriter}`;
    const draw = Math.random();
    const kind = draw < 0.4 ? "small" : draw < 0.7 ? "large" : draw < 0.9 ? "parts" : "delete";
    const size = { small: 1000, large: 300_000, parts: partBytes + 1000, delete: 0 }[kind];
    const version: Version = kind === "delete" ? undefined : { name: `${name}-${n}`, size };
    const before = possible.get(key) ?? [undefined];
    possible.set(key, [...before, version]);
    try {
      await perform(kind, key, version);
    } catch (error) {
      // Only a process that is being killed may fail a call.
      if (!state.ending) throw error;
      if (kind === "parts") cutUploads++;
      return;
    }
    possible.set(key, [version]);
    answered[kind]++;
  }
}

async function perform(kind: Kind, key: string, version: Version): Promise<void> {
  if (!version) return void (await send("DELETE", key, 204));
  const bytes = bytesFor(version.name, version.size);
  if (kind !== "parts") return void (await send("PUT", key, 200, bytes));
  const begun = (await send("POST", `${key}?uploads`, 200)).toString();
  const upload = /<UploadId>(.+)<\/UploadId>/.exec(begun)?.[1] ?? expect.unreachable(begun);
  const parts = [bytes.subarray(0, partBytes), bytes.subarray(partBytes)];
  const named = await Promise.all(
    parts.map(async (part, index) => {
      await send("PUT", `${key}?partNumber=${index + 1}&uploadId=${encodeURIComponent(upload)}`, 200, part);
      const etag = createHash("md5").update(part).digest("hex");
      return `<Part><PartNumber>${index + 1}</PartNumber><ETag>"${etag}"</ETag></Part>`;
    }),
  );
  const xml = `<CompleteMultipartUpload>${named.join("")}</CompleteMultipartUpload>`;
  const done = await send("POST", `${key}?uploadId=${encodeURIComponent(upload)}`, 200, Buffer.from(xml));
  // S3 may answer 200 and then tell an error in the body.
  if (!done.includes("CompleteMultipartUploadResult")) throw new Error(done.toString());
}

/** Every key holds one of the versions that it may, whole, and the list names exactly those that have one. */
async function check(round: number): Promise<void> {
  for (const [key, versions] of possible) {
    const { status, body } = await ask("GET", key);
    expect([200, 404], `${key} in round ${round}`).toContain(status);
    const right = versions.filter((version) =>
      version ? status === 200 && body.equals(bytesFor(version.name, version.size)) : status === 404,
    );
    expect(right.length, `${key} in round ${round}: ${status}, ${body.length} bytes`).toBeGreaterThan(0);
    possible.set(key, right.slice(0, 1));
  }
  const listed = [...(await send("GET", "?list-type=2", 200)).toString().matchAll(/<Key>(.+?)<\/Key>/g)];
  const expected = [...possible].filter(([, [version]]) => version).map(([key]) => key);
  expect(listed.map(([, key]) => key)).toEqual(expected.toSorted());
}

async function send(method: string, target: string, status: number, body?: Buffer): Promise<Buffer> {
  const answer = await ask(method, target, body);
  if (answer.status !== status) throw new Error(`${method} ${target}: ${answer.status} ${answer.body.toString()}`);
  return answer.body;
}

async function ask(method: string, target: string, body?: Buffer): Promise<{ status: number; body: Buffer }> {
  const signed = await new AwsV4Signer({
    method,
    url: `http://s3.localhost/bucket/${target}`,
    accessKeyId: "b".repeat(32),
    secretAccessKey: createHash("sha256").update("token").digest("hex"),
    service: "s3",
    region: "auto",
  }).sign();
  const headers = { ...Object.fromEntries(signed.headers), host: "s3.localhost" };
  const outgoing = request({
    socketPath: join(folder, "s"),
    agent,
    method,
    path: signed.url.pathname + signed.url.search,
    headers: { ...headers, ...(body && { "content-length": body.length }) },
  });
  const response = once(outgoing, "response") as Promise<[IncomingMessage]>;
  outgoing.end(body);
  const [answer] = await response;
  return { status: answer.statusCode ?? 0, body: await buffer(answer) };
}
