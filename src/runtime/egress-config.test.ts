import { describe, expect, test } from "vitest";
import { allowsLoopback, networkLists, refusalOf, type EgressRules } from "#runtime/egress-config.ts";

const rules = (more: Partial<EgressRules> = {}): EgressRules => ({
  allow: ["public"],
  deny: [],
  ownAddresses: ["203.0.113.9", "2606:4700::9"],
  ...more,
});

describe("what an address is refused for", () => {
  test.each<[string, Partial<EgressRules>, string | undefined]>([
    ["8.8.8.8", {}, undefined],
    ["2606:4700::1111", {}, undefined],
    ["2606:4700::9", {}, "2606:4700::9 is this machine itself"],
    ["127.0.0.1", {}, "egressAllow is [public] and 127.0.0.1 is this machine's loopback"],
    [
      "127.0.0.1",
      { allow: ["public", "private"] },
      "egressAllow is [public, private] and 127.0.0.1 is this machine's loopback",
    ],
    ["127.0.0.1", { allow: ["local"] }, undefined],
    ["2606:4700::9", { allow: ["public", "local"] }, undefined],
    ["192.168.1.1", {}, "egressAllow is [public] and 192.168.1.1 is a private address"],
    ["192.168.1.1", { allow: ["private"] }, undefined],
    ["192.168.1.1", { allow: ["192.168.0.0/16"] }, undefined],
    ["192.168.1.1", { allow: ["private"], deny: ["192.168.1.0/24"] }, "egressDeny covers 192.168.1.1"],
    ["8.8.8.8", { allow: ["private"] }, "egressAllow is [private] and 8.8.8.8 is a public address"],
    ["169.254.169.254", { allow: ["public", "private"] }, "169.254.169.254 is a reserved or metadata address"],
    ["fd00:ec2::254", { allow: ["public", "private"] }, "fd00:ec2::254 is a reserved or metadata address"],
    ["100.64.0.1", { allow: ["public", "100.64.0.0/10"] }, undefined],
  ])("%s with %j", (address, more, reason) => {
    expect(refusalOf(address, rules(more))).toBe(reason);
  });
});

test("loopback is open only when it is named", () => {
  expect(allowsLoopback(["public", "private"])).toBe(false);
  expect(allowsLoopback(["local"])).toBe(true);
  expect(allowsLoopback(["127.0.0.0/8"])).toBe(true);
  expect(allowsLoopback(["0.0.0.0/0"])).toBe(true);
  expect(allowsLoopback(["::/0"])).toBe(true);
});

test("the lists for workerd close loopback, this machine and the file system's sockets", () => {
  const { allow, deny } = networkLists(rules({ allow: ["public", "private"], deny: ["8.8.8.8/32"] }));
  expect(allow).toEqual(["public", "private"]);
  for (const block of [
    "unix",
    "unix-abstract",
    "127.0.0.0/8",
    "::1/128",
    "203.0.113.9/32",
    "2606:4700::9/128",
    "198.18.0.0/15",
    "64:ff9b::/96",
    "169.254.0.0/16",
    "8.8.8.8/32",
  ])
    expect(deny).toContain(block);
  expect(networkLists(rules({ allow: ["local"] })).deny).not.toContain("127.0.0.0/8");
});
