import { networkInterfaces } from "node:os";
import type { Config } from "#config.ts";
import { allowsLoopback, type EgressRules } from "#runtime/egress-config.ts";
import type { RouterSettings } from "#runtime/router-settings.ts";

/** Where Workers may connect to, on this machine. */
export function egressRules(config: Config): EgressRules {
  return { allow: config.egressAllow, deny: config.egressDeny, ownAddresses: ownAddresses() };
}

/** What is the platform's own, for the part of a Worker's process that its `fetch()` goes through. */
export function routerSettings(config: Config): RouterSettings {
  const standard = config.publicScheme === "https" ? 443 : 80;
  return {
    hosts: [config.consoleHost],
    domain: config.appDomain,
    ports: [...new Set([config.port, standard, ...(config.tlsPort === undefined ? [] : [config.tlsPort])])],
    listenPort: config.port,
    reachesLoopback: allowsLoopback(config.egressAllow),
    addresses: ownAddresses(),
  };
}

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return [
    ...new Set(all.filter(({ internal }) => !internal).map(({ address }) => address.replace(/%.*$/, ""))),
  ].toSorted();
}
