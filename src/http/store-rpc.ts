import { Agent, request, type ClientRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { sleep } from "#core/deadline.ts";
import { ApiError, fromErrorRecord, systemCode, toErrorRecord, type ErrorRecord } from "#core/errors.ts";
import type { WireHandler, WireRequest } from "#http/wire/server.ts";

/**
 * A store that lives in another process, for the REST API. One call is `POST /<store>/<method>`: `x-json-size` bytes of JSON
 * (arguments, result or error), then the bytes of a value, streamed. Both ends are ours, so what arrives is trusted.
 */
export type StoreCall = { args: unknown; body: AsyncIterable<Buffer>; signal: AbortSignal };
export type StoreAnswer = {
  value: unknown;
  body?: AsyncIterable<Uint8Array> | Uint8Array;
  length?: number;
};
export type StoreMethods = Record<string, (call: StoreCall) => Promise<StoreAnswer>>;

export interface StoreClient {
  call(
    store: string,
    method: string,
    args: unknown,
    options?: CallOptions,
  ): Promise<{ value: unknown; body: AsyncIterable<Buffer> }>;
}
export type CallOptions = { body?: AsyncIterable<Uint8Array> | Uint8Array; signal?: AbortSignal };

const limits = {
  /** JSON part of a call: bulk writes carry their values in it. */
  jsonBytes: 128 * 1024 * 1024,
  connections: 64,
  /** How long a call waits for a store that is being restarted. Nothing was sent yet, so waiting is safe. */
  restartMs: 3000,
};

const sizeHeader = "x-json-size";
const errorStatus = 520;

/** Answers calls from `stores`; anything else is 404. */
export function storeHandler(stores: Record<string, StoreMethods>): WireHandler {
  return async (wire) => {
    const [, store = "", method = ""] = wire.target.split("/");
    const run = Object.hasOwn(stores, store) ? stores[store]?.[method] : undefined;
    if (!run) return { status: 404 };
    try {
      const { args, body } = await readCall(wire);
      const answer = await run({ args, body, signal: wire.signal });
      const json = Buffer.from(JSON.stringify(answer.value ?? null));
      const headers = { [sizeHeader]: String(json.length) };
      if (answer.body === undefined) return { status: 200, headers, body: json };
      const known = answer.body instanceof Uint8Array ? answer.body.length : answer.length;
      const pieces = concat(json, answer.body);
      return known === undefined
        ? { status: 200, headers, body: pieces }
        : { status: 200, headers, body: pieces, length: json.length + known };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // The caller is still sending: closing the connection now would break its pipe, and with it the answer on its way.
      for await (const _ of wire.stream());
      return { status: errorStatus, body: JSON.stringify(toErrorRecord(error)) };
    }
  };
}

/** A client of the stores behind the unix socket `path`. */
export function storeClient(path: string): StoreClient {
  const agent = new Agent({ keepAlive: true, maxSockets: limits.connections });
  return {
    async call(store, method, args, options = {}) {
      const json = Buffer.from(JSON.stringify(args ?? null));
      const outgoing = await connect(() =>
        request({
          socketPath: path,
          agent,
          method: "POST",
          path: `/${store}/${method}`,
          headers: {
            [sizeHeader]: json.length,
            ...(options.body === undefined ? { "content-length": json.length } : {}),
          },
          ...(options.signal ? { signal: options.signal } : {}),
        }),
      );
      const answered = once(outgoing, "response");
      if (options.body === undefined) outgoing.end(json);
      // A connection that breaks is reported by the answer that does not come.
      else void pipeline(Readable.from(concat(json, options.body)), outgoing).catch(() => {});
      const [response] = (await answered) as [IncomingMessage];
      return readAnswer(response);
    },
  };
}

async function* concat(first: Uint8Array, rest: AsyncIterable<Uint8Array> | Uint8Array): AsyncGenerator<Uint8Array> {
  yield first;
  if (rest instanceof Uint8Array) yield rest;
  else yield* rest;
}

async function readCall(wire: WireRequest): Promise<{ args: unknown; body: AsyncIterable<Buffer> }> {
  const size = Number(wire.header(sizeHeader));
  if (!(size >= 0 && size <= limits.jsonBytes)) throw new Error("a call without the size of its arguments");
  const { json, rest } = await splitAt(size, wire.stream());
  return { args: JSON.parse(json.toString()), body: rest };
}

async function readAnswer(response: IncomingMessage): Promise<{ value: unknown; body: AsyncIterable<Buffer> }> {
  if (response.statusCode === errorStatus) {
    const pieces = (await response.toArray()) as Buffer[];
    throw fromErrorRecord(JSON.parse(Buffer.concat(pieces).toString()) as ErrorRecord);
  }
  if (response.statusCode !== 200) {
    response.resume();
    throw new Error(`a store answered ${response.statusCode} ${response.statusMessage ?? ""}`);
  }
  const { json, rest } = await splitAt(Number(response.headers[sizeHeader]), response);
  return { value: JSON.parse(json.toString()), body: rest };
}

/** The first `size` bytes of a stream, and the rest as it comes. */
async function splitAt(
  size: number,
  stream: AsyncIterable<Buffer>,
): Promise<{ json: Buffer; rest: AsyncIterable<Buffer> }> {
  const iterator = stream[Symbol.asyncIterator]();
  let have: Buffer = Buffer.alloc(0);
  while (have.length < size) {
    const { value, done } = await iterator.next();
    if (done) throw new Error("a stream ended within its JSON part");
    have = have.length === 0 ? value : Buffer.concat([have, value]);
  }
  const left = have.subarray(size);
  async function* rest(): AsyncGenerator<Buffer> {
    try {
      if (left.length > 0) yield left;
      for (;;) {
        const { value, done } = await iterator.next();
        if (done) return;
        yield value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { json: have.subarray(0, size), rest: rest() };
}

/** A request whose connection stands. Waits while nobody listens on the socket, which is so for a moment after a crash. */
async function connect(open: () => ClientRequest): Promise<ClientRequest> {
  const end = performance.now() + limits.restartMs;
  for (;;) {
    const outgoing = open();
    outgoing.on("error", () => {}); // Whoever waits for the answer is told; an unheard event would end the process.
    try {
      const [socket] = (await once(outgoing, "socket")) as [Socket];
      if (socket.connecting) await once(socket, "connect");
      return outgoing;
    } catch (error) {
      const code = systemCode(error);
      if ((code !== "ECONNREFUSED" && code !== "ENOENT") || performance.now() > end) throw unavailable(error);
      await sleep(25);
    }
  }
}

/** Ours: Cloudflare's API answers such moments with 503 and no fixed code. */
function unavailable(cause: unknown): ApiError {
  return new ApiError(503, 10502, "The store is restarting. Try again.", { cause });
}
