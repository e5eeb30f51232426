import { fieldOf, type RequestHead } from "#http/wire/head.ts";
import { capabilityReader } from "#core/capability.ts";
import { bindHeader } from "#core/binding-piece.ts";
import { platformCapabilities, privateHeaders } from "#runtime/routes.ts";
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

  #toService(head: RequestHead, token: string): Admission {
    const { routing, requestBodyBytes } = this.#desk.premises;
    const service = this.#bound(token, platformCapabilities.service);
    if (service === undefined) throw new Refusal(pages.notAllowed());
    const destination = { kind: "service", name: service } as const;
    if (!routing.routeOf(destination)) throw new Refusal(pages.noSuchService(scriptOf(service)));
    if (head.framing.kind === "length" && head.framing.length > requestBodyBytes)
      throw new Refusal(pages.bodyTooLarge(requestBodyBytes));
    const address = addressOf(head, true);
    const upgrade = asksForWebSocket(head);
    // workerd wrote these two for the request that the caller made or passes on; the callee sees them as the caller did.
    const text =
      canonicalHead(head, { ...address, upgrade }, serviceRules) +
      copied(head, privateHeaders.cf) +
      copied(head, privateHeaders.proto);
    return {
      destination,
      head: `${text}\r\n`,
      bodyBytesMax: requestBodyBytes,
      ray: fieldOf(head.fields, "cf-ray") ?? this.#desk.nextRay(),
      by: "worker",
      nothingThere: undefined,
      dressed: false,
      explains: false,
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

function copied(head: RequestHead, name: string): string {
  const value = fieldOf(head.fields, name);
  return value === undefined ? "" : `${name}: ${value}\r\n`;
}

/** `<account id>/<script name>` → the script's name. */
function scriptOf(service: string): string {
  return service.slice(service.indexOf("/") + 1);
}
