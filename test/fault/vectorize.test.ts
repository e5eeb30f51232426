import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil, sleep } from "#core/deadline.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * `kill -9` of the process of vectors while vectors are put, replaced and deleted. The ledger is kept here, in a process that is never
 * killed. VECTOR_KILLS says how many rounds there are.
 */
const rounds = Number(process.env["VECTOR_KILLS"] ?? 6);
const dimensions = 16;
const base = "/vectorize/v2/indexes/ledger";

let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start();
  const config = { dimensions, metric: "euclidean" };
  const made = await solum.api("POST", "/vectorize/v2/indexes", { name: "ledger", config });
  expect(made.status).toBe(200);
}, 60_000);
afterAll(() => solum[Symbol.asyncDispose]());

/** What is known of an id: acknowledged, or tried without an answer, which may have happened or not. */
type Known = { version: number | undefined; perhaps: (number | undefined)[] };
const ledger = new Map<string, Known>();

test(
  "nothing that was acknowledged is lost, and nothing that was deleted returns",
  async () => {
    let version = 0;
    let acknowledged = 0;
    for (let round = 0; round < rounds; round++) {
      const over = new AbortController();
      const writing = (async () => {
        while (!over.signal.aborted) {
          const ids = Array.from({ length: 20 }, () => `v${Math.floor(Math.random() * 300)}`);
          const deletes = Math.random() < 0.3;
          const next = ++version;
          const distinct = [...new Set(ids)];
          for (const id of distinct) known(id).perhaps.push(deletes ? undefined : next);
          const answer = await (deletes ? remove(distinct) : put(distinct, next)).catch(() => false);
          if (!answer) continue;
          acknowledged++;
          for (const id of distinct) ledger.set(id, { version: deletes ? undefined : next, perhaps: [] });
        }
      })();
      await sleep(100 + Math.random() * 300);
      const { pid } = (await solum.status()).services.find(({ name }) => name === "vectors") ?? {};
      if (pid === undefined) throw new Error("the process does not run");
      process.kill(pid, "SIGKILL");
      await sleep(50);
      over.abort();
      await writing;
      await check();
    }
    expect(acknowledged).toBeGreaterThan(0);
    process.stdout.write(`${rounds} rounds: ${acknowledged} mutations acknowledged, 0 lost, 0 returned\n`);
  },
  60_000 + rounds * 10_000,
);

function known(id: string): Known {
  const found = ledger.get(id) ?? { version: undefined, perhaps: [] };
  ledger.set(id, found);
  return found;
}

/** The vector of a version lies at that distance from the origin. */
async function put(ids: string[], version: number): Promise<boolean> {
  const values = [version, ...Array.from({ length: dimensions - 1 }, () => 0)];
  const lines = ids.map((id) => JSON.stringify({ id, values, metadata: { version } })).join("\n");
  const { environment } = solum;
  const { status } = await solum.request(
    "localhost",
    `/client/v4/accounts/${environment["CLOUDFLARE_ACCOUNT_ID"]}${base}/upsert`,
    {
      method: "POST",
      headers: {
        authorization: `Bearer ${environment["CLOUDFLARE_API_TOKEN"]}`,
        "content-type": "application/x-ndjson",
      },
      body: lines,
    },
  );
  return status === 200;
}

async function remove(ids: string[]): Promise<boolean> {
  return (await solum.api("POST", `${base}/delete_by_ids`, { ids })).status === 200;
}

type Stored = { id: string; values: number[]; metadata: { version: number } };

async function get(ids: string[]): Promise<Stored[]> {
  return pollUntil({ ms: 20_000, everyMs: 50, what: "an answer after the kill" }, async () => {
    const answer = await solum.api("POST", `${base}/get_by_ids`, { ids }).catch(() => undefined);
    return answer?.status === 200 ? (answer.json.result as Stored[]) : undefined;
  });
}

async function check(): Promise<void> {
  const all = [...ledger.keys()];
  const stored: Stored[] = [];
  for (let at = 0; at < all.length; at += 20) stored.push(...(await get(all.slice(at, at + 20))));
  const found = new Map(stored.map(({ id, values, metadata }) => [id, { values, version: metadata.version }]));
  for (const [id, { version, perhaps }] of ledger) {
    const now = found.get(id);
    expect([version, ...perhaps], id).toContain(now?.version);
    if (now) expect(now.values[0]).toBe(now.version);
    // From here on it is known.
    ledger.set(id, { version: now?.version, perhaps: [] });
  }
  const present = [...ledger].filter(([, { version }]) => version !== undefined);
  const info = (await solum.api("GET", `${base}/info`)).json.result as { vectorCount: number };
  expect(info.vectorCount).toBe(present.length);
  // What a search finds is what is there.
  const vector = Array.from({ length: dimensions }, () => 0);
  const query = await solum.api("POST", `${base}/query`, { vector, topK: 50, returnMetadata: "all" });
  const { matches } = query.json.result as { matches: { id: string; score: number; metadata: { version: number } }[] };
  expect(matches).toHaveLength(Math.min(50, present.length));
  for (const { id, score, metadata } of matches) {
    expect(ledger.get(id)?.version, id).toBe(metadata.version);
    expect(score).toBe(metadata.version);
  }
}
