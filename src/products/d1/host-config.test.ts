import { expect, test } from "vitest";
import { capnpText } from "#core/capnp-text.ts";
import { dataLayout, runtimeLayout } from "#core/layout.ts";
import { d1Piece } from "#products/d1/binding.ts";
import { hostConfig, hostProcess } from "#products/d1/host-config.ts";

test("the configuration of a host", () => {
  expect(
    hostConfig({ name: "d1-0", colo: "SOL", disk: "/data/d1/0", databaseBytes: 0, socket: "/run/d1/0.sock" }),
  ).toMatchSnapshot();
});

test("a host gets its key by the environment, and the lock that its databases need", () => {
  const { environment, files, lock, args } = hostProcess({
    host: 3,
    colo: "SOL",
    databaseBytes: 0,
    workerd: "workerd",
    capabilityKey: Buffer.from("00ff", "hex"),
    data: dataLayout("/data"),
    runtime: runtimeLayout("/run"),
  });
  expect(environment).toEqual({ SOLUM_CAPABILITY_KEY: "00ff" });
  expect([lock, args]).toEqual(["/data/d1/3/lock", ["serve", "--experimental", "/run/services/d1-3/config.capnp"]]);
  expect(files.map(({ path }) => path)).toEqual(["/run/services/d1-3/config.capnp", "/run/services/d1-3/d1-host.js"]);
  expect(files[0]?.content).not.toContain("00ff");
});

test("what a binding adds to a version's configuration", () => {
  const { bindings, services } = d1Piece({
    name: "DB",
    databaseId: "5e3dbf5f-716c-431d-be22-1edb988397a4",
    host: 1,
    hosts: 2,
    workerId: "w1",
    socketOf: (host) => `/run/w/w1/d1-${host}.sock`,
    capabilityKey: Buffer.alloc(32, 7),
  });
  expect(capnpText([...bindings, ...services])).toMatchSnapshot();
});
