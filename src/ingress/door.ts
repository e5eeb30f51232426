import type { Socket } from "node:net";
import { WireError, type RequestHead } from "#http/wire/head.ts";
import type { Works } from "#ingress/client.ts";
import type { CfBlob, Transport } from "#ingress/cf.ts";
import { pages, Refusal, type Page } from "#ingress/error-pages.ts";
import type { Via } from "#runtime/routes.ts";
import { splitAbsolute } from "#ingress/route-match.ts";
import type { Destination } from "#ingress/routing.ts";

/** What a request became once it was let in. */
export type Admission = {
  destination: Destination;
  /** The head for whoever answers, complete. */
  head: string;
  bodyBytesMax: number;
  ray: string;
  /** Who answers: the control process, another process of the platform, or a Worker. */
  by: "console" | "platform" | "worker";
  /** The page for when nobody answers, where no table names the host yet. */
  nothingThere: Page | undefined;
  /** Whether the answer gets `Date` and `CF-Ray`. Not so between Workers. */
  dressed: boolean;
  /** Whether an exception of the Worker becomes a page. Not so between Workers. */
  explains: boolean;
  /** By which of its sockets the process gets it. */
  via: Via;
  /** Whether a switch to WebSocket is asked for. */
  upgrade: boolean;
};

/** What is known of the connection that a request came by. */
export type Channel = {
  address: string | undefined;
  /** Ends it so that its peer takes it for no orderly end; undefined on unix sockets, which have no such thing. */
  reset: (() => void) | undefined;
  tls: { transport: Transport; covers: (host: string) => boolean } | undefined;
};

/** How the requests of one connection, or of one Worker, are described to those who answer. */
export type Sender = {
  /** Lines about the sender, loop count and scheme. */
  lines: string;
  scheme: "http" | "https";
  cfBlob: CfBlob;
  /** Whether the certificate that the sender was shown stands for a host; undefined without one. */
  covers: ((host: string) => boolean) | undefined;
  /** The target may stand without `Host`. */
  hostless: boolean;
  /** Id of the Worker that asks. */
  caller: string | undefined;
  /** Who develops on this very machine. */
  develops?: boolean;
};

/** A way into the ingress: who may come in by it, and how their requests are described to those who answer. */
export interface Door {
  /** Lets a request in or throws a Refusal or WireError. `sender`: from `describe`, once for each connection. */
  admit(head: RequestHead, sender: Sender): Admission;
  describe(channel: Channel): Sender;
  /** What serves a connection that a CONNECT made a tunnel of; undefined where there are none. Throws like `admit`. */
  tunnel?(head: RequestHead): (socket: Socket, rest: Buffer | undefined, works: Works) => void;
  /** Called once for each request that was let in, when nothing of it is left. */
  left(): void;
}

/** What every door refuses. */
export function checkRequest(head: RequestHead, limits: { methodBytes: number; urlBytes: number }): void {
  const { method, target } = head;
  if (method === "CONNECT" || method === "TRACE") throw new Refusal(pages.methodNotAllowed());
  if (method.length > limits.methodBytes) throw new WireError(400, "the method is too long");
  if (target.length > limits.urlBytes) throw new WireError(414, `a URL may have ${limits.urlBytes} bytes`);
  // A fragment is the client's own; some parsers take it for a part of the path and others drop it.
  if (target.includes("#")) throw new WireError(400, "a fragment in the request target");
}

/** A request's target as path and query, and the host it is for. */
export type Address = { target: string; host: string; scheme: "http" | "https" | undefined };

/** Reads target and `Host`, which must say the same when both name a host. `hostless`: an absolute target alone will do. */
export function addressOf(head: RequestHead, hostless: boolean): Address {
  const written = hostField(head.fields);
  if (head.target.startsWith("/")) {
    if (written === undefined) throw new WireError(400, "there is no Host header");
    return { target: head.target, host: written, scheme: undefined };
  }
  const absolute = splitAbsolute(head.target);
  if (!absolute) throw new WireError(400, "malformed request target");
  if (written === undefined && !hostless) throw new WireError(400, "there is no Host header");
  if (written !== undefined && written.toLowerCase() !== absolute.host.toLowerCase())
    throw new WireError(400, "the request target and the Host header name different hosts");
  return absolute;
}

function hostField(fields: readonly string[]): string | undefined {
  let found: string | undefined;
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== "host") continue;
    if (found !== undefined) throw new WireError(400, "more than one Host header");
    found = fields[i + 1] ?? "";
  }
  return found;
}

/** Whether a request asks for a WebSocket. Any other protocol to upgrade to is ignored, as RFC 9110 §7.8 allows. */
export function asksForWebSocket(head: RequestHead): boolean {
  return head.upgrade === "websocket" && head.method === "GET" && head.minor === 1 && head.framing.kind === "none";
}
