import type { Socket } from "node:net";
import { fieldOf, type RequestHead } from "#http/wire/head.ts";
import { capabilityReader } from "#core/capability.ts";
import { bindHeader } from "#core/binding-piece.ts";
import {
  platformCapabilities,
  privateHeaders,
  readServiceResource,
  readSessionHost,
  type ServiceEntrypoint,
} from "#runtime/routes.ts";
import { RpcSession } from "#ingress/rpc/session.ts";
import type { Works } from "#ingress/client.ts";
import { passesSoFar } from "#ingress/cf.ts";
import { addressOf, asksForWebSocket, checkRequest, type Admission, type Door, type Sender } from "#ingress/door.ts";
import { pages, Refusal } from "#ingress/error-pages.ts";
import { canonicalHead, serviceRules } from "#ingress/request-head.ts";
import { senderLines, type HostDesk } from "#ingress/public-door.ts";

/**
 * The way out of one Worker to others: service bindings, told by their capability, and the platform's own public host names,
 * which come from the router of its `fetch()` or without a capability. Only that Worker's processes can reach its socket.
 */
export class PlatformDoor implements Door {
  readonly #desk: HostDesk;
  readonly #sender: Sender;
  readonly #bound: (token: string | undefined, kind: string) => string | undefined;
  #underWay = 0;

  constructor(desk: HostDesk, workerId: string, capabilityKey: Buffer) {
    this.#desk = desk;
    this.#sender = {
      lines: "",
      scheme: desk.premises.edge.scheme,
      cfBlob: desk.cfBlobs(),
      covers: undefined,
      hostless: true,
      caller: workerId,
    };
    this.#bound = capabilityReader(capabilityKey, workerId);
  }

  /** The same for every connection: only this Worker's processes can make one. */
  describe(): Sender {
    return this.#sender;
  }

  admit(head: RequestHead): Admission {
    const { limits } = this.#desk.premises;
    checkRequest(head, limits);
    // Each turn of a loop is a request under way, whatever it does to its headers.
    if (this.#underWay >= limits.platformRequests) throw new Refusal(pages.loop());
    const token = fieldOf(head.fields, bindHeader);
    // The router counts the pass itself.
    const counted = this.#bound(token, platformCapabilities.router) !== undefined;
    const admission = token === undefined || counted ? this.#toHost(head, counted) : this.#toService(head, token);
    this.#underWay++;
    return admission;
  }

  left(): void {
    this.#underWay--;
  }

  /** A session of calls: which binding it is for is its host. */
  tunnel(head: RequestHead): (socket: Socket, rest: Buffer | undefined, works: Works) => void {
    const wanted = this.#boundTo(readSessionHost(head.target));
    return (socket, rest, works) => new RpcSession(socket, works, wanted).start(rest);
  }

  #boundTo(token: string): ServiceEntrypoint {
    const resource = this.#bound(token, platformCapabilities.service);
    if (resource === undefined) throw new Refusal(pages.notAllowed());
    return readServiceResource(resource);
  }

  #toService(head: RequestHead, token: string): Admission {
    const { routing, requestBodyBytes } = this.#desk.premises;
    const { service, entrypoint, props } = this.#boundTo(token);
    const destination = { kind: "service", name: service } as const;
    if (!routing.routeOf(destination)) throw new Refusal(pages.noSuchService(scriptOf(service)));
    if (head.framing.kind === "length" && head.framing.length > requestBodyBytes)
      throw new Refusal(pages.bodyTooLarge(requestBodyBytes));
    const address = addressOf(head, true);
    const upgrade = asksForWebSocket(head);
    const named = entrypoint !== undefined || props !== undefined;
    // workerd wrote these two for the request that the caller made or passes on; the callee sees them as the caller did.
    const text =
      canonicalHead(head, { ...address, upgrade }, serviceRules) +
      copied(head, privateHeaders.cf) +
      copied(head, privateHeaders.proto) +
      (named ? entryLine(entrypoint, props) : "");
    return {
      destination,
      head: `${text}\r\n`,
      bodyBytesMax: requestBodyBytes,
      ray: fieldOf(head.fields, "cf-ray") ?? this.#desk.nextRay(),
      by: "worker",
      nothingThere: undefined,
      dressed: false,
      explains: false,
      via: named ? "named" : "http",
      upgrade,
    };
  }

  #toHost(head: RequestHead, counted: boolean): Admission {
    const { limits, edge, appDomain } = this.#desk.premises;
    const pass = passesSoFar(fieldOf(head.fields, "cdn-loop")) + (counted ? 0 : 1);
    if (pass > limits.loops) throw new Refusal(pages.loop());
    const said = addressOf(head, true).scheme ?? fieldOf(head.fields, privateHeaders.proto);
    const scheme = said === "http" || said === "https" ? said : edge.scheme;
    const lines = `${senderLines({ ...edge, scheme }, undefined, pass)}cf-worker: ${appDomain}\r\n`;
    return this.#desk.admit(head, { ...this.#sender, lines, scheme });
  }
}

/** In ASCII, whatever the props are. */
function entryLine(entrypoint: string | undefined, props: unknown): string {
  return `${privateHeaders.entry}: ${encodeURIComponent(JSON.stringify([entrypoint ?? "default", props ?? {}]))}\r\n`;
}

function copied(head: RequestHead, name: string): string {
  const value = fieldOf(head.fields, name);
  return value === undefined ? "" : `${name}: ${value}\r\n`;
}

/** `<account id>/<script name>` → the script's name. */
function scriptOf(service: string): string {
  return service.slice(service.indexOf("/") + 1);
}
