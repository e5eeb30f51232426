import { lookup as systemLookup, type LookupAddress, type LookupOptions } from "node:dns";
import { BlockList, isIP } from "node:net";
import { Agent, Pool, type Dispatcher } from "undici";
import { limits } from "#products/ai-gateway/schema.ts";

/** Why `address` with `port` must not be connected to; undefined when it may. */
export type AddressRule = (address: string, port: number) => string | undefined;

export type UpstreamRequest = {
  url: URL;
  method: string;
  headers: Record<string, string>;
  body: Buffer | undefined;
  /** To the first byte of the answer. */
  headersMs: number;
};

/** Takes an answer as it comes. `onError` after `onHead` means that the body was cut short. */
export interface UpstreamReceiver {
  onHead(head: { status: number; headers: Record<string, string> }): void;
  onData(piece: Buffer): void;
  onEnd(): void;
  onError(error: Error): void;
}

export interface UpstreamCall {
  pause(): void;
  resume(): void;
  abort(): void;
}

/** The way to the providers: connections kept open, addresses checked where they are connected to. */
export interface Upstream {
  send(request: UpstreamRequest, receiver: UpstreamReceiver): UpstreamCall;
  close(): Promise<void>;
}

/** Thrown where a connection would lead to an address that is refused. */
export class RefusedAddress extends Error {
  override readonly name = "RefusedAddress";
}

export function createUpstream(refuses: AddressRule): Upstream {
  const agent = new Agent({
    factory: (origin) =>
      new Pool(origin, {
        connections: limits.connections,
        pipelining: 1,
        allowH2: false,
        connect: { timeout: limits.connectMs, lookup: checkedLookup(refuses, portOf(new URL(origin))) },
        // That of the head is given with each request.
        bodyTimeout: limits.idleMs,
      }),
  });
  return {
    send(request, receiver) {
      const call = new Call(receiver);
      const { url } = request;
      const host = url.hostname.replaceAll(/^\[|\]$/g, "");
      const port = portOf(url);
      // An address that is written out is connected to without a lookup.
      const reason = isIP(host) ? refuses(host, port) : undefined;
      if (reason !== undefined) {
        queueMicrotask(() => call.onResponseError(undefined, new RefusedAddress(reason)));
        return call;
      }
      agent.dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method: request.method,
          headers: request.headers,
          body: request.body ?? null,
          headersTimeout: request.headersMs,
        },
        call,
      );
      return call;
    },
    close: async () => agent.destroy(),
  };
}

function portOf(url: URL): number {
  return url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
}

/** A lookup that leaves out refused addresses: what it answers is what is connected to, so no second answer can differ. */
function checkedLookup(refuses: AddressRule, port: number) {
  return (
    host: string,
    options: LookupOptions,
    done: (error: Error | null, address: string | LookupAddress[], family?: number) => void,
  ) => {
    systemLookup(host, { ...options, all: true }, (error, addresses) => {
      if (error) return done(error, []);
      const reasons = addresses.map(({ address }) => refuses(address, port));
      const allowed = addresses.filter((_, index) => reasons[index] === undefined);
      const [first] = allowed;
      if (!first) return done(new RefusedAddress(reasons[0] ?? `${host} has no address`), []);
      if (options.all) return done(null, allowed);
      return done(null, first.address, first.family);
    });
  };
}

class Call implements UpstreamCall, Dispatcher.DispatchHandler {
  readonly #receiver: UpstreamReceiver;
  #controller: Dispatcher.DispatchController | undefined;
  #over = false;

  constructor(receiver: UpstreamReceiver) {
    this.#receiver = receiver;
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#controller?.abort(new Error("nobody waits any more"));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#over) controller.abort(new Error("nobody waits any more"));
  }

  onResponseStart(
    _: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (this.#over || status < 200) return;
    const flat: Record<string, string> = {};
    for (const [name, value] of Object.entries(headers))
      if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(", ") : value;
    this.#receiver.onHead({ status, headers: flat });
  }

  onResponseData(_: Dispatcher.DispatchController, piece: Buffer): void {
    if (!this.#over) this.#receiver.onData(piece);
  }

  onResponseEnd(): void {
    if (this.#over) return;
    this.#over = true;
    this.#receiver.onEnd();
  }

  onResponseError(_: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#receiver.onError(error);
  }
}

/** Metadata services and addresses that belong to nobody's server. Loopback and private ones are where local models live. */
const reserved = new BlockList();
for (const [address, bits] of [
  ["0.0.0.0", 8],
  ["100.100.100.200", 32],
  ["169.254.0.0", 16],
  ["192.0.0.192", 32],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const)
  reserved.addSubnet(address, bits, "ipv4");
for (const [address, bits] of [
  ["::", 128],
  ["fd00:ec2::254", 128],
  ["fe80::", 10],
  ["ff00::", 8],
] as const)
  reserved.addSubnet(address, bits, "ipv6");

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Where a provider may be: anywhere but at metadata services and at the ports that this installation itself listens on. */
export function addressRule(own: { ports: readonly number[]; addresses: () => readonly string[] }): AddressRule {
  return (given, port) => {
    const address = unmapped(given);
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (reserved.check(address, family)) return `${address} is a link-local, metadata or reserved address`;
    if (!own.ports.includes(port)) return undefined;
    const isOwn = loopback.check(address, family) || own.addresses().includes(address);
    return isOwn ? `port ${port} of this machine is Solum's own` : undefined;
  };
}

/** `::ffff:127.0.0.1`, `::ffff:7f00:1` and `64:ff9b::…` reach what the IPv4 address in them reaches. */
function unmapped(address: string): string {
  const dotted = /^(?:::ffff:|64:ff9b::)(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (dotted !== undefined) return dotted;
  const hex = /^(?:::ffff:|64:ff9b::)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(address);
  if (!hex) return address;
  const [high, low] = [Number.parseInt(hex[1] ?? "", 16), Number.parseInt(hex[2] ?? "", 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}
