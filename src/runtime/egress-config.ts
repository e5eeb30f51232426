import { BlockList, isIP } from "node:net";
import { CapnpRaw, configText } from "#core/capnp-text.ts";

/** Where Workers may connect to: the settings, and the addresses of this machine's interfaces. */
export type EgressRules = {
  /** CIDR blocks, or `public`, `private`, `local`. */
  allow: readonly string[];
  /** CIDR blocks that are refused even when allowed. */
  deny: readonly string[];
  ownAddresses: readonly string[];
};

/** Put on every answer of an upstream server, so that workerd's own failures can be told from them; see `router.worker.ts`. */
const upstreamMark = "x-solum-upstream";

/**
 * Blocks that no Worker reaches unless `egressAllow` names that very block: metadata services, and what workerd's `public`
 * lets through although it leads back to this machine or is nobody's (scale-reliability-security, finding 8 and §3.1).
 */
const neverPublic = [
  "100.64.0.0/10",
  "169.254.0.0/16",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "64:ff9b::/96",
  "64:ff9b:1::/48",
  "100::/64",
  "2001::/32",
  "2001:db8::/32",
  "2002::/16",
  "3fff::/20",
  "fd00:ec2::254/128",
  "fe80::/10",
  "ff00::/8",
];

/** Addresses of this machine itself. */
const loopback = ["0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128", "::ffff:127.0.0.0/104"];
const privateBlocks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/** Configuration of the egress process: one socket, on which HTTP proxy requests and CONNECT go out under `rules`. */
export function egressConfig(options: { socket: string; rules: EgressRules }): string {
  const { allow, deny } = networkLists(options.rules);
  return configText({
    services: [{ name: "internet", network: { allow, deny, tlsOptions: { trustBrowserCas: true } } }],
    sockets: [
      {
        name: "egress",
        address: `unix:${options.socket}`,
        service: "internet",
        http: { style: new CapnpRaw("proxy"), injectResponseHeaders: [{ name: upstreamMark, value: "1" }] },
      },
    ],
  });
}

/**
 * The lists for workerd's `network`. Its `private` includes this machine's loopback, ours does not: a Worker that may talk to
 * the local network is not meant to reach every database that listens on 127.0.0.1. Sockets of the file system stay closed always.
 */
export function networkLists(rules: EgressRules): { allow: string[]; deny: string[] } {
  const reachesLoopback = allowsLoopback(rules.allow);
  const own = reachesLoopback ? [] : [...loopback, ...rules.ownAddresses.map(asBlock)];
  return {
    allow: [...rules.allow],
    deny: [
      ...new Set([
        "unix",
        "unix-abstract",
        ...own,
        ...neverPublic.filter((block) => !rules.allow.includes(block)),
        ...rules.deny,
      ]),
    ],
  };
}

/** Whether `allow` names this machine's loopback addresses: as `local`, or by a block that covers one of them. */
export function allowsLoopback(allow: readonly string[]): boolean {
  const blocks = blockList(allow);
  return allow.includes("local") || blocks.check("127.0.0.1", "ipv4") || blocks.check("::1", "ipv6");
}

/** Why `address` may not be reached under `rules`, as words that go after "was refused:"; undefined when it may. */
export function refusalOf(address: string, rules: EgressRules): string | undefined {
  const family = isIP(address) === 6 ? "ipv6" : "ipv4";
  const is = (blocks: readonly string[]) => blockList(blocks).check(address, family);
  const allowed = `egressAllow is [${rules.allow.join(", ")}]`;
  if (is(rules.deny)) return `egressDeny covers ${address}`;
  if (is(loopback))
    return allowsLoopback(rules.allow) ? undefined : `${allowed} and ${address} is this machine's loopback`;
  if (rules.ownAddresses.includes(address) && !allowsLoopback(rules.allow)) return `${address} is this machine itself`;
  if (is(neverPublic.filter((block) => !rules.allow.includes(block))))
    return `${address} is a reserved or metadata address`;
  if (is(rules.allow)) return undefined;
  if (is(privateBlocks))
    return rules.allow.includes("private") ? undefined : `${allowed} and ${address} is a private address`;
  return rules.allow.includes("public") ? undefined : `${allowed} and ${address} is a public address`;
}

/** Whether `address` leads back to this machine. */
export function isOwnAddress(address: string, rules: EgressRules): boolean {
  return (
    blockList(loopback).check(address, isIP(address) === 6 ? "ipv6" : "ipv4") || rules.ownAddresses.includes(address)
  );
}

function asBlock(address: string): string {
  return `${address}/${isIP(address) === 6 ? 128 : 32}`;
}

/** The CIDR blocks among `entries`. */
function blockList(entries: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = "", bits = ""] = entry.split("/");
    const version = isIP(address);
    if (version !== 0 && /^[0-9]{1,3}$/.test(bits))
      list.addSubnet(address, Number(bits), version === 6 ? "ipv6" : "ipv4");
  }
  return list;
}
