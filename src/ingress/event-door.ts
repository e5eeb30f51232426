import type { RequestHead } from "#http/wire/head.ts";
import { checkRequest, type Admission, type Door, type Sender } from "#ingress/door.ts";
import { pages, Refusal } from "#ingress/error-pages.ts";
import type { HostDesk } from "#ingress/public-door.ts";
import { canonicalHead, serviceRules } from "#ingress/request-head.ts";

/** Bytes of one event: a hundred messages of a queue, and what is around them. */
const eventBytes = 16 * 1024 * 1024;

/**
 * The platform's own way to a Worker's handlers that take no requests: `POST /<account id>/<script name>/queue`. It comes by
 * the ingress because that knows which version serves, wakes one that sleeps, and counts what is under way when one leaves.
 * Only our own processes reach its socket.
 */
export class EventDoor implements Door {
  readonly #desk: HostDesk;
  readonly #sender: Sender;

  constructor(desk: HostDesk) {
    this.#desk = desk;
    const { scheme } = desk.premises.edge;
    this.#sender = {
      lines: "",
      scheme,
      cfBlob: desk.cfBlobs(),
      covers: undefined,
      hostless: true,
      caller: undefined,
    };
  }

  describe(): Sender {
    return this.#sender;
  }

  admit(head: RequestHead): Admission {
    const { limits, routing } = this.#desk.premises;
    checkRequest(head, limits);
    const [, account = "", script = "", event = ""] = head.target.split("/");
    const destination = { kind: "service", name: `${account}/${script}` } as const;
    // Not the page for a service that is missing: that has the status of a Worker that was there and died.
    if (!routing.routeOf(destination)) throw new Refusal(pages.noLongerThere());
    const request = { target: `/${event}`, host: "events", upgrade: false };
    return {
      destination,
      head: `${canonicalHead(head, request, serviceRules)}\r\n`,
      bodyBytesMax: eventBytes,
      ray: this.#desk.nextRay(),
      by: "worker",
      nothingThere: undefined,
      dressed: false,
      explains: false,
      via: "events",
      upgrade: false,
    };
  }

  left(): void {}
}
