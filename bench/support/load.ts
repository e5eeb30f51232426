import { spawn } from "node:child_process";
import { connect as connectH2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { text } from "node:stream/consumers";

/** Load on one server: `connections` that each send the next request when the last is answered. */
export type LoadOptions = {
  /** `{ port, host? }` for TCP or `{ path }` for a unix socket. */
  to: { port: number; host?: string } | { path: string };
  /** Over TLS to this host, with HTTP/1.1, or with HTTP/2 and `streamsPerSession` of the connections as streams of one. */
  tls?: { servername: string; h2: boolean };
  connections: number;
  seconds: number;
  /** Not counted: connections open and code gets warm. */
  warmupSeconds: number;
  /** The whole request as it is sent. */
  request: string;
};

export type LoadResult = {
  requests: number;
  failures: number;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
};

/** Runs the load in a process of its own, so that what it costs is not counted as the server's. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const child = spawn(process.execPath, [import.meta.filename, JSON.stringify(options)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return JSON.parse(await text(child.stdout)) as LoadResult;
}

/** The latency below which `share` of the sorted `values` lie. */
function quantile(values: Float64Array, share: number): number {
  return values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0;
}

const latenciesMax = 2_000_000;
const streamsPerSession = 8;

class LoadClient {
  readonly #options: LoadOptions;
  readonly #latencies = new Float64Array(latenciesMax);
  requests = 0;
  failures = 0;
  #measuring = false;
  #stopped = false;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  async run(): Promise<LoadResult> {
    const { connections, seconds, warmupSeconds } = this.#options;
    const opened = this.#options.tls?.h2
      ? Array.from({ length: Math.ceil(connections / streamsPerSession) }, (_, n) =>
          this.#openH2(Math.min(streamsPerSession, connections - n * streamsPerSession)),
        )
      : Array.from({ length: connections }, () => this.#open());
    await new Promise((resolve) => setTimeout(resolve, warmupSeconds * 1000));
    this.#measuring = true;
    const began = performance.now();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    this.#measuring = false;
    this.#stopped = true;
    const tookSeconds = (performance.now() - began) / 1000;
    for (const one of opened) one.destroy();
    const sorted = this.#latencies.subarray(0, Math.min(this.requests, latenciesMax)).sort();
    return {
      requests: this.requests,
      failures: this.failures,
      requestsPerSecond: this.requests / tookSeconds,
      p50Ms: quantile(sorted, 0.5),
      p99Ms: quantile(sorted, 0.99),
    };
  }

  /** One connection of HTTP/2 on which `streams` requests are always under way. */
  #openH2(streams: number): { destroy(): void } {
    const { to, tls, request } = this.#options;
    const port = "path" in to ? 0 : to.port;
    const session = connectH2(`https://127.0.0.1:${port}`, { ...tls, rejectUnauthorized: false });
    session.on("error", () => {});
    const [first = "", ...lines] = request.trim().split("\r\n");
    const fields = lines.map((line) => [
      line.slice(0, line.indexOf(":")).toLowerCase(),
      line.slice(line.indexOf(":") + 2),
    ]);
    const { host, connection: _connection, ...rest } = Object.fromEntries(fields) as Record<string, string>;
    const headers = { ":path": first.split(" ")[1] ?? "/", ":authority": host ?? "", ...rest };
    const send = () => {
      if (this.#stopped) return;
      const sentAt = performance.now();
      const stream = session.request(headers);
      let status = 0;
      stream.on("response", (answer) => (status = Number(answer[":status"])));
      stream.on("error", () => {});
      stream.resume();
      stream.on("close", () => {
        if (this.#measuring) this.#countOne(status >= 200 && status < 300, performance.now() - sentAt);
        send();
      });
    };
    for (let n = 0; n < streams; n++) send();
    return session;
  }

  #open(): Socket {
    const { to, tls, request } = this.#options;
    const address = "path" in to ? to : { host: "127.0.0.1", noDelay: true, ...to };
    const socket = tls
      ? connectTls({ ...address, servername: tls.servername, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] })
      : connect(address);
    let sentAt = 0;
    // All answers of one run look alike; the first tells how long one is, and the others are only measured against it.
    let usual = -1;
    let pending: Buffer | undefined;
    const send = () => {
      sentAt = performance.now();
      socket.write(request, "latin1");
    };
    socket.on(tls ? "secureConnect" : "connect", send);
    socket.on("data", (bytes) => {
      const all = pending ? Buffer.concat([pending, bytes]) : bytes;
      if (all.length !== usual && !isWhole(all)) {
        pending = all;
        return;
      }
      usual = all.length;
      pending = undefined;
      if (this.#measuring) this.#count(all, performance.now() - sentAt);
      send();
    });
    const lost = () => {
      if (this.#stopped) return;
      if (this.#measuring) this.failures++;
      socket.destroy();
      setTimeout(() => this.#open(), 5);
    };
    socket.on("error", lost);
    socket.on("end", lost);
    return socket;
  }

  #count(answer: Buffer, tookMs: number): void {
    // `HTTP/1.1 2…`
    this.#countOne(answer[9] === 0x32, tookMs);
  }

  #countOne(succeeded: boolean, tookMs: number): void {
    if (!succeeded) this.failures++;
    this.#latencies[this.requests % latenciesMax] = tookMs;
    this.requests++;
  }
}

function isWhole(answer: Buffer): boolean {
  const end = answer.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const head = answer.toString("latin1", 0, end);
  const length = /content-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return answer.length >= end + 4 + Number(length);
  return answer.subarray(-5).equals(Buffer.from("0\r\n\r\n"));
}

if (process.argv[1] === import.meta.filename) {
  const result = await new LoadClient(JSON.parse(process.argv[2] ?? "{}") as LoadOptions).run();
  process.stdout.write(JSON.stringify(result));
  process.exit(0);
}
