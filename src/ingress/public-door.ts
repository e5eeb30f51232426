import { flat } from "#http/wire/flat.ts";
import { fieldOf, WireError, type RequestHead } from "#http/wire/head.ts";
import { privateHeaders } from "#runtime/routes.ts";
import { cfBlobs, clientLines, loopLine, raySource, type CfBlob, type Edge, type Transport } from "#ingress/cf.ts";
import {
  addressOf,
  asksForWebSocket,
  checkRequest,
  type Admission,
  type Channel,
  type Door,
  type Sender,
} from "#ingress/door.ts";
import { pages, Refusal } from "#ingress/error-pages.ts";
import type { IngressLimits } from "#ingress/limits.ts";
import { canonicalHead, consoleRules, publicRules, serviceRules } from "#ingress/request-head.ts";
import { hostReader, mayBePreview, type Host } from "#ingress/route-match.ts";
import type { Routing } from "#ingress/routing.ts";

/** What the doors know about the installation. */
export type Premises = {
  edge: Edge;
  consoleHost: string;
  appDomain: string;
  requestBodyBytes: number;
  limits: IngressLimits;
  routing: Routing;
};

/** Fires a cron trigger by hand, for whoever develops on this machine; the router answers (`router.worker.ts`). */
const scheduledPath = "/cdn-cgi/handler/scheduled";

/** Reads requests that are for a public host name, and describes them to the console or a Worker. */
export class HostDesk {
  readonly premises: Premises;
  readonly #readHost = hostReader();
  readonly #nextRay: () => string;
  readonly cfBlobs: (transport?: Transport) => CfBlob;

  constructor(premises: Premises) {
    this.premises = premises;
    this.#nextRay = raySource(premises.edge.colo);
    this.cfBlobs = cfBlobs(premises.edge.colo);
  }

  nextRay(): string {
    return this.#nextRay();
  }

  admit(head: RequestHead, sender: Sender): Admission {
    const { routing, limits, requestBodyBytes, appDomain } = this.premises;
    const { target, host } = addressOf(head, sender.hostless);
    const name = this.#readHost(host);
    if (!name) throw new WireError(400, "the Host header is not a host name");
    if (sender.covers && !sender.covers(name.name)) throw new Refusal(pages.misdirected());
    const { scheme, caller } = sender;
    const destination = { kind: "host", host: name.name, target, scheme, caller } as const;
    const route = routing.routeOf(destination);
    const nothingThere = route ? undefined : this.#nothingAt(name, scheme);
    if (nothingThere && !mayBePreview(name.name, appDomain)) throw new Refusal(nothingThere);
    const by = route?.kind ?? "worker";
    const bodyBytesMax = route ? bodyBytesMaxOf(route, limits.consoleBodyBytes, requestBodyBytes) : requestBodyBytes;
    if (head.framing.kind === "length" && head.framing.length > bodyBytesMax)
      throw new Refusal(pages.bodyTooLarge(bodyBytesMax));
    const upgrade = asksForWebSocket(head);
    const ray = this.#nextRay();
    const request = { target, host, upgrade };
    const common = { destination, bodyBytesMax, ray, by, nothingThere, dressed: true, via: "http", upgrade } as const;
    if (by !== "worker") {
      const text = `${canonicalHead(head, request, consoleRules)}${sender.lines}cf-ray: ${ray}\r\n\r\n`;
      return { ...common, head: text, explains: false };
    }
    if (target.startsWith("/cdn-cgi/")) {
      if (!sender.develops || !firesCron(head, target)) throw new Refusal(pages.noSuchPath());
      const text = `${canonicalHead(head, request, serviceRules)}\r\n`;
      return { ...common, head: text, dressed: false, explains: false, via: "events" };
    }
    const blob = sender.cfBlob(head.minor, fieldOf(head.fields, "accept-encoding"));
    const text =
      `${canonicalHead(head, request, publicRules)}${sender.lines}` +
      `cf-ray: ${ray}\r\n${privateHeaders.cf}: ${blob}\r\n\r\n`;
    return { ...common, head: text, explains: true };
  }

  #nothingAt(host: Host, scheme: string) {
    const { appDomain, consoleHost } = this.premises;
    return pages.noSuchHost(host.name, {
      worker: `${scheme}://<worker>.${appDomain}${host.port}`,
      console: `${scheme}://${consoleHost}${host.port}`,
    });
  }
}

function bodyBytesMaxOf(
  route: { kind: "console" | "worker" } | { kind: "platform"; bodyBytesMax: number | undefined },
  consoleBytes: number,
  workerBytes: number,
): number {
  if (route.kind === "worker") return workerBytes;
  return (route.kind === "platform" ? route.bodyBytesMax : undefined) ?? consoleBytes;
}

/** Lines that every request routed by host gets besides the sender's. */
export function senderLines(edge: Edge, address: string | undefined, pass: number): string {
  return `${clientLines(edge, address)}${loopLine(pass)}${privateHeaders.proto}: ${edge.scheme}\r\n`;
}

/** Not for a page of another site that a browser shows. */
function firesCron(head: RequestHead, target: string): boolean {
  const isPath = target === scheduledPath || target.startsWith(`${scheduledPath}?`);
  return isPath && fieldOf(head.fields, "sec-fetch-site") !== "cross-site";
}

function isLoopback(address = ""): boolean {
  return /^(::ffff:)?127\.|^::1$/.test(address);
}

/** The public ports: anyone may come, and nothing that they say about themselves is believed. */
export class PublicDoor implements Door {
  readonly #desk: HostDesk;

  constructor(desk: HostDesk) {
    this.#desk = desk;
  }

  describe({ address, tls }: Channel): Sender {
    const { edge, appDomain } = this.#desk.premises;
    const scheme = tls ? "https" : edge.scheme;
    return {
      lines: flat(senderLines({ ...edge, scheme }, address ?? "0.0.0.0", 1)),
      scheme,
      cfBlob: this.#desk.cfBlobs(tls?.transport),
      covers: tls?.covers,
      hostless: false,
      caller: undefined,
      ...(appDomain === "localhost" && isLoopback(address) ? { develops: true } : {}),
    };
  }

  admit(head: RequestHead, sender: Sender): Admission {
    checkRequest(head, this.#desk.premises.limits);
    return this.#desk.admit(head, sender);
  }

  left(): void {}
}
