import { constants, type ServerHttp2Session, type ServerHttp2Stream, type ServerOptions } from "node:http2";
import type { Works } from "#ingress/client.ts";
import type { Served } from "#ingress/connection.ts";
import type { Channel, Door, Sender } from "#ingress/door.ts";
import { H2Stream } from "#ingress/h2-stream.ts";
import type { IngressLimits } from "#ingress/limits.ts";

const { NGHTTP2_ENHANCE_YOUR_CALM } = constants;

/** What one HTTP/2 connection may do to us. Floods of CONTINUATION frames end in nghttp2 after 8 of them. */
export function h2Options(limits: IngressLimits): ServerOptions {
  return {
    maxSessionMemory: limits.h2SessionMegabytes,
    // Past it nghttp2 resets the stream without a word; up to it we answer 431.
    maxHeaderListPairs: limits.headerFields * 2,
    maxSessionInvalidFrames: limits.h2InvalidFrames,
    maxSessionRejectedStreams: limits.h2RejectedStreams,
    streamResetBurst: limits.h2ResetBurst,
    streamResetRate: limits.h2ResetsPerSecond,
    maxOutstandingPings: 1,
    settings: {
      maxConcurrentStreams: limits.h2Streams,
      initialWindowSize: limits.h2WindowBytes,
      maxHeaderListSize: limits.headBytes,
    },
  };
}

/** One HTTP/2 connection; each of its streams is a request of its own. */
export class H2Session implements Served {
  readonly #session: ServerHttp2Session;
  readonly #works: Works;
  readonly #streams = new Set<H2Stream>();
  #idleSince: number;
  /** PING and SETTINGS frames since the last sweep; they cost work and carry no request. */
  #controlFrames = 0;
  #closingSince: number | undefined;
  #used = false;

  constructor(session: ServerHttp2Session, channel: Channel, door: Door, works: Works, newRay: () => string) {
    this.#session = session;
    this.#works = works;
    this.#idleSince = works.clock.now;
    const sender = door.describe(channel);
    session.on("stream", (stream, _headers, _flags, raw) => this.#take(stream, raw, { door, sender, newRay }));
    session.on("ping", () => this.#countControlFrame());
    session.on("remoteSettings", () => this.#countControlFrame());
    // What follows is `close`; the streams are told by their own events.
    session.on("error", () => {});
  }

  sweep(now: number): void {
    const { limits } = this.#works;
    this.#controlFrames = 0;
    for (const stream of this.#streams) stream.sweep(now);
    if (this.#closingSince !== undefined) {
      if (this.#streams.size === 0 && now - this.#closingSince > limits.lingerMs) this.destroy();
    } else if (this.#streams.size === 0) {
      const idleMs = now - this.#idleSince;
      if (idleMs > (this.#used ? limits.keepAliveMs : limits.headMs)) this.stop();
    }
  }

  /** Takes no new streams; the connection ends with the last of those that are open. */
  stop(): void {
    if (this.#session.closed || this.#session.destroyed) return;
    this.#closingSince ??= this.#works.clock.now;
    this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
  }

  #take(
    stream: ServerHttp2Stream,
    raw: readonly string[],
    context: { door: Door; sender: Sender; newRay: () => string },
  ): void {
    this.#used = true;
    const served = new H2Stream(stream, context, this.#works);
    this.#streams.add(served);
    stream.once("close", () => {
      this.#streams.delete(served);
      this.#idleSince = this.#works.clock.now;
    });
    served.begin(raw);
  }

  #countControlFrame(): void {
    if (++this.#controlFrames <= this.#works.limits.h2ControlFrames) return;
    this.#session.destroy(undefined, NGHTTP2_ENHANCE_YOUR_CALM);
  }
}
