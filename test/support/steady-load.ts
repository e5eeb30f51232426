import { Agent, request, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { text } from "node:stream/consumers";
import type { Solum } from "./start-solum.ts";

export type LoadFigures = { requests: number; failures: number; p50Ms: number; p99Ms: number };

/** Requests at a steady pace, whether or not the ones before are answered, on kept connections. */
export class SteadyLoad {
  readonly #solum: Solum;
  readonly #host: string;
  readonly #perSecond: number;
  readonly #expected: string;
  readonly #agent = new Agent({ keepAlive: true });
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #latencies: number[] = [];
  #failures = 0;

  constructor(solum: Solum, host: string, options: { perSecond: number; expected: string }) {
    this.#solum = solum;
    this.#host = host;
    this.#perSecond = options.perSecond;
    this.#expected = options.expected;
  }

  start(): void {
    this.#stop = new AbortController();
    this.#running = this.#run(this.#stop.signal);
  }

  /** What was measured since the last call, after `ms` more. */
  async measure(ms: number): Promise<LoadFigures> {
    await sleep(ms);
    const sorted = this.#latencies.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    const figures = { requests: sorted.length, failures: this.#failures, p50Ms: at(0.5), p99Ms: at(0.99) };
    this.#latencies = [];
    this.#failures = 0;
    return figures;
  }

  /** Waits for what is on its way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#agent.destroy();
  }

  async #run(stop: AbortSignal): Promise<void> {
    const open = new Set<Promise<void>>();
    const began = performance.now();
    for (let count = 0; !stop.aborted; count++) {
      const dueMs = began + (count * 1000) / this.#perSecond - performance.now();
      if (dueMs > 0) await sleep(dueMs);
      const one: Promise<void> = this.#ask().finally(() => open.delete(one));
      open.add(one);
    }
    await Promise.all(open);
  }

  async #ask(): Promise<void> {
    const began = performance.now();
    try {
      const outgoing = request({
        host: "127.0.0.1",
        port: this.#solum.port,
        headers: { host: this.#host },
        agent: this.#agent,
      });
      outgoing.end();
      const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
      if ((await text(answer)) !== this.#expected) this.#failures++;
    } catch {
      this.#failures++;
    }
    this.#latencies.push(performance.now() - began);
  }
}
