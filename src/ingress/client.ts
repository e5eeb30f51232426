import type { CoarseClock } from "#ingress/clock.ts";
import type { Page } from "#ingress/error-pages.ts";
import type { IngressLimits } from "#ingress/limits.ts";
import type { RpcSessions } from "#ingress/rpc/sessions.ts";
import type { Routing } from "#ingress/routing.ts";
import type { WaitingRoom } from "#ingress/waiting-room.ts";
import type { Waker } from "#ingress/waker.ts";

/** The client's side of an exchange. */
export interface Client {
  /** Whether the protocol says by itself where a body ends, so that it wants no chunks: HTTP/2. */
  readonly bare: boolean;
  /** Sends a head and what there is of the body, in one write. False: wait for `clientDrained`. */
  sendHead(head: string, body: Buffer | undefined): boolean;
  send(bytes: Buffer): boolean;
  pause(): void;
  resume(): void;
  /** The answer is complete. `keep`: the connection may carry another request. */
  finished(keep: boolean): void;
  /** Answers with a page. */
  refused(page: Page, keep: boolean): void;
  /** What was sent must not look complete. `unframed`: an orderly end of the connection would look like the answer's end. */
  cut(unframed: boolean): void;
  /** The connection is a pipe from here on; what the client sent meanwhile is given to the exchange afterwards. */
  becomePipe(): void;
  /** The pipe's other end has nothing more to say. */
  endPipe(): void;
}

/** What every exchange uses. */
export type Works = {
  routing: Routing;
  waiting: WaitingRoom;
  waker: Waker;
  limits: IngressLimits;
  clock: CoarseClock;
  firstByteMs: number;
  date: () => string;
  /** Sessions of calls between Workers. */
  rpc: RpcSessions;
  /** The ingress is stopping: connections are not kept. */
  stopping: boolean;
};
