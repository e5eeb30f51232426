import { once } from "node:events";
import { Agent, request, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { text } from "node:stream/consumers";
import type { Solum } from "./start-solum.ts";
import { clientFrame, openingRequest, serverMessages } from "./websocket-frames.ts";

export type TrafficOptions = {
  host: string;
  perSecond: number;
  /** One in so many requests is a stream, and lasts between these times. */
  streamEvery: number;
  streamMs: readonly [number, number];
  webSockets: number;
  /** A WebSocket is closed by its client at the latest at this age. */
  webSocketMs: number;
  /** One in so many requests writes to KV after its answer. */
  lateEvery: number;
};

/** A Worker for this traffic: every answer says throughout which version it comes from. */
export function trafficSource(version: string): string {
  return `const version = ${JSON.stringify(version)};
    export default {
      async fetch(request, env, ctx) {
        const url = new URL(request.url);
        const headers = { "x-version": version };
        if (url.pathname === "/ws") {
          const [client, server] = Object.values(new WebSocketPair());
          server.accept();
          server.addEventListener("message", ({ data }) => server.send(version + " " + data));
          return new Response(null, { status: 101, webSocket: client });
        }
        if (url.pathname === "/stream") {
          const { readable, writable } = new TransformStream();
          const writer = writable.getWriter();
          const write = (line) => writer.write(new TextEncoder().encode(line + "\\n"));
          ctx.waitUntil((async () => {
            const end = Date.now() + Number(url.searchParams.get("ms"));
            let count = 0;
            for (; Date.now() < end; count++) { await write(version); await scheduler.wait(100); }
            await write("end " + count + " " + version);
            await writer.close();
          })());
          return new Response(readable, { headers });
        }
        if (url.pathname === "/late") {
          ctx.waitUntil((async () => {
            await scheduler.wait(200);
            await env.KV.put(url.searchParams.get("key"), version);
          })());
        }
        return new Response((version + "\\n").repeat(100), { headers });
      },
    };`;
}

/** Steady traffic of all kinds on one host, and everything that was wrong with what came back. */
export class Traffic {
  readonly wrong: string[] = [];
  readonly lateKeys: string[] = [];
  readonly counts = { requests: 0, streams: 0, webSockets: 0, late: 0 };
  readonly #solum: Solum;
  readonly #options: TrafficOptions;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #stop = new AbortController();
  readonly #open = new Set<Promise<void>>();
  #running: Promise<unknown> = Promise.resolve();

  constructor(solum: Solum, options: TrafficOptions) {
    this.#solum = solum;
    this.#options = options;
  }

  start(): void {
    const sockets = Array.from({ length: this.#options.webSockets }, () => this.#webSockets());
    this.#running = Promise.all([this.#requests(), ...sockets]);
  }

  /** Sends nothing more and waits for what is open. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await Promise.all(this.#open);
    this.#agent.destroy();
  }

  async #requests(): Promise<void> {
    const { perSecond, streamEvery, lateEvery, streamMs } = this.#options;
    const began = performance.now();
    for (let count = 0; !this.#stop.signal.aborted; count++) {
      const dueMs = began + (count * 1000) / perSecond - performance.now();
      if (dueMs > 0) await sleep(dueMs);
      const [least, most] = streamMs;
      const kept = count % 2 === 0;
      // An odd step through both, so that each kind of connection carries each kind of request.
      if (count % streamEvery === 1) this.#track(this.#stream(kept, least + Math.random() * (most - least)));
      else if (count % lateEvery === 2) this.#track(this.#late(kept, `late-${count}`));
      else this.#track(this.#plain(kept, "/"));
    }
  }

  #track(work: Promise<void>): void {
    const one: Promise<void> = work
      .catch((error: unknown) => void this.wrong.push(String(error)))
      .finally(() => this.#open.delete(one));
    this.#open.add(one);
  }

  async #plain(kept: boolean, path: string): Promise<void> {
    this.counts.requests++;
    const { version, body } = await this.#ask(kept, path);
    if (body !== `${version}\n`.repeat(100)) this.wrong.push(`${path}: version ${version} said ${body.slice(0, 200)}`);
  }

  async #late(kept: boolean, key: string): Promise<void> {
    this.counts.late++;
    await this.#plain(kept, `/late?key=${key}`);
    this.lateKeys.push(key);
  }

  async #stream(kept: boolean, ms: number): Promise<void> {
    this.counts.streams++;
    const { version, body } = await this.#ask(kept, `/stream?ms=${Math.round(ms)}`);
    const lines = body.trimEnd().split("\n");
    const last = lines.pop();
    const mixed = lines.some((line) => line !== version);
    if (mixed || last !== `end ${lines.length} ${version}`)
      this.wrong.push(`a stream of ${Math.round(ms)} ms of version ${version} ended with ${last}`);
  }

  async #ask(kept: boolean, path: string): Promise<{ version: string; body: string }> {
    const outgoing = request({
      host: "127.0.0.1",
      port: this.#solum.port,
      path,
      headers: { host: this.#options.host },
      agent: kept ? this.#agent : false,
      signal: AbortSignal.timeout(60_000),
    });
    outgoing.end();
    const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
    const body = await text(answer);
    if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode} ${body.slice(0, 300)}`);
    return { version: String(answer.headers["x-version"]), body };
  }

  /** One WebSocket after the other, each used until it is old enough. */
  async #webSockets(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.counts.webSockets++;
      const ageMs = this.#options.webSocketMs * (0.2 + 0.8 * Math.random());
      await this.#webSocket(ageMs).catch((error: unknown) => void this.wrong.push(`WebSocket: ${String(error)}`));
      await sleep(20);
    }
  }

  async #webSocket(ageMs: number): Promise<void> {
    const socket: Socket = connect(this.#solum.port, "127.0.0.1");
    let received = "";
    socket.on("data", (bytes: Buffer) => (received += bytes.toString("latin1")));
    socket.on("error", (error) => void this.wrong.push(`WebSocket: ${error.message}`));
    await once(socket, "connect");
    socket.write(openingRequest(this.#options.host, "/ws"), "latin1");
    const end = performance.now() + ageMs;
    let sent = 0;
    const answered = () => serverMessages(received).length;
    while (performance.now() < end && !this.#stop.signal.aborted && !socket.closed) {
      if (received.includes("\r\n\r\n") && answered() === sent) socket.write(clientFrame(`m${sent++}`), "latin1");
      await sleep(100);
    }
    if (socket.closed) throw new Error(`closed before its time: ${received.slice(0, 200)}`);
    const deadline = performance.now() + 10_000;
    while (answered() < sent && performance.now() < deadline) await sleep(10);
    const messages = serverMessages(received);
    const version = messages[0]?.split(" ")[0];
    if (sent > 0 && messages.join() !== Array.from({ length: sent }, (_, index) => `${version} m${index}`).join())
      throw new Error(`messages were lost or mixed: ${messages.join()}`);
    socket.destroy();
  }
}
