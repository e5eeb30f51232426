import { Agent, request, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { text } from "node:stream/consumers";
import type { Solum } from "./start-solum.ts";

/** What a client was told: every write that was acknowledged, every one that was not, and the longest time without one. */
export type Ledger = { acknowledged: Map<string, string>; failures: Failure[]; longestGapMs: number };

/** A write that failed, and when, by `performance.now()`. */
export type Failure = { began: number; ended: number; why: string };

export type Product = "kv" | "d1" | "r2";
export const products: readonly Product[] = ["kv", "d1", "r2"];

/** Between writes of one writer: enough to leave the machine to what is tested. */
const pauseMs = 3;

/**
 * Writes through a deployed Worker's bindings without a stop and keeps the ledger. It lives in the test's process, which is
 * never killed. A write that fails is unknown, and simply not in the ledger.
 */
export class Writers {
  readonly ledgers: Record<Product, Ledger> = { kv: newLedger(), d1: newLedger(), r2: newLedger() };
  readonly #agent = new Agent({ keepAlive: true });
  readonly #stop = new AbortController();
  readonly #solum: Solum;
  readonly #host: string;
  #running: Promise<unknown> = Promise.resolve();
  #last: Record<Product, number> = { kv: 0, d1: 0, r2: 0 };

  constructor(solum: Solum, host: string) {
    this.#solum = solum;
    this.#host = host;
  }

  start(writersEach: number): void {
    const now = performance.now();
    this.#last = { kv: now, d1: now, r2: now };
    this.#running = Promise.all(
      products.flatMap((product) => Array.from({ length: writersEach }, (_, writer) => this.#write(product, writer))),
    );
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#agent.destroy();
  }

  /** Forgets the gaps so far; what follows is measured anew. */
  resetGaps(): void {
    for (const product of products) this.ledgers[product].longestGapMs = 0;
  }

  async #write(product: Product, writer: number): Promise<void> {
    const ledger = this.ledgers[product];
    for (let count = 0; !this.#stop.signal.aborted; count++) {
      const key = `${product}-${writer}-${count}`;
      const value = `${key}-${"v".repeat(1 + (count % 300))}`;
      const began = performance.now();
      const refusal = await this.#send(product, key, value).catch((error: unknown) => String(error));
      const now = performance.now();
      if (refusal === undefined) {
        ledger.acknowledged.set(key, value);
        ledger.longestGapMs = Math.max(ledger.longestGapMs, now - this.#last[product]);
        this.#last[product] = now;
      } else ledger.failures.push({ began, ended: now, why: refusal });
      await sleep(pauseMs);
    }
  }

  /** Why the write was not acknowledged; undefined when it was. */
  async #send(product: Product, key: string, value: string): Promise<string | undefined> {
    const outgoing = request({
      host: "127.0.0.1",
      port: this.#solum.port,
      method: product === "d1" ? "POST" : "PUT",
      path: product === "d1" ? "/d1" : `/${product}?key=${key}`,
      headers: { host: this.#host, "content-length": Buffer.byteLength(value) },
      agent: this.#agent,
      signal: AbortSignal.timeout(15_000),
    });
    outgoing.end(value);
    const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
    const body = await text(answer);
    return answer.statusCode === 200 && isAcknowledgement(product, body, value)
      ? undefined
      : `${answer.statusCode} ${body.slice(0, 200)}`;
  }
}

function isAcknowledgement(product: Product, body: string, value: string): boolean {
  if (product === "kv") return body === "stored";
  return product === "d1"
    ? (JSON.parse(body) as { success: boolean }).success
    : (JSON.parse(body) as { size: number }).size === Buffer.byteLength(value);
}

function newLedger(): Ledger {
  return { acknowledged: new Map(), failures: [], longestGapMs: 0 };
}

/** What is missing or different when every acknowledged write is read back through the public API. */
export async function findLosses(solum: Solum, ledgers: Record<Product, Ledger>): Promise<string[]> {
  const [namespace] = (await solum.api("GET", "/storage/kv/namespaces")).json.result as { id: string }[];
  const lost: string[] = [];
  for (const [key, value] of ledgers.kv.acknowledged) {
    const answer = await solum.rawApi(`/storage/kv/namespaces/${namespace?.id}/values/${key}`);
    if (answer.status !== 200 || answer.text !== value) lost.push(`KV ${key}: ${answer.status}`);
  }
  for (const [key, value] of ledgers.r2.acknowledged) {
    const answer = await solum.rawApi(`/r2/buckets/bindings-files/objects/${key}`);
    if (answer.status !== 200 || answer.text !== value) lost.push(`R2 ${key}: ${answer.status}`);
  }
  const { json } = await solum.api("POST", "/d1/database/bindings-db/query", { sql: "SELECT name FROM items" });
  const [{ results }] = json.result as [{ results: { name: string }[] }];
  const names = new Set(results.map(({ name }) => name));
  for (const [key, value] of ledgers.d1.acknowledged) if (!names.has(value)) lost.push(`D1 ${key}`);
  return lost;
}
