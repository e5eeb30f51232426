import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import type { Works } from "#ingress/client.ts";
import { CoarseClock } from "#ingress/clock.ts";
import { Connections, countedAddress } from "#ingress/connections.ts";
import type { Door } from "#ingress/door.ts";
import { limits } from "#ingress/limits.ts";
import { RpcSessions } from "#ingress/rpc/sessions.ts";
import { Routing } from "#ingress/routing.ts";
import { WaitingRoom } from "#ingress/waiting-room.ts";
import { Waker } from "#ingress/waker.ts";

test("one address may have so many connections; others and loopback are not concerned", async () => {
  const clock = new CoarseClock();
  const routing = new Routing({ consoleHost: "localhost", consoleSocket: "/none", limits, clock });
  const works: Works = {
    routing,
    waiting: new WaitingRoom(limits, routing),
    waker: new Waker(undefined, limits),
    rpc: new RpcSessions(routing),
    limits,
    clock,
    firstByteMs: 1000,
    date: () => "now",
    stopping: false,
  };
  const connections = new Connections(works, () => "ray", 2);
  const door: Door = {
    admit: () => {
      throw new Error("nobody asks");
    },
    describe: () => ({
      lines: "",
      scheme: "http",
      cfBlob: () => "{}",
      covers: undefined,
      hostless: false,
      caller: undefined,
    }),
    left: () => {},
  };
  // Tests have only loopback; where the connection says that it comes from is put in its place.
  const addresses = [
    "203.0.113.9",
    "203.0.113.9",
    "203.0.113.9",
    "2001:db8::1",
    "127.0.0.1",
    "127.0.0.1",
    "127.0.0.1",
    "203.0.113.9",
  ];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.accept(socket, door, countedAddress(addresses.shift()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const open = async () => {
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1").on("error", () => {});
    await once(socket, "connect");
    return socket;
  };
  const until = (ready: () => boolean) =>
    pollUntil({ ms: 5000, everyMs: 2, what: "the condition" }, () => ready() || undefined);
  const sockets: Socket[] = [];
  for (let n = 0; n < 7; n++) {
    const left = addresses.length;
    sockets.push(await open());
    await until(() => addresses.length < left);
  }
  await until(() => connections.size === 6);
  // One that ends makes room for another.
  sockets[0]?.destroy();
  await until(() => connections.size === 5);
  sockets.push(await open());
  await until(() => connections.size === 6);
  expect(addresses).toEqual([]);
  for (const socket of sockets) socket.destroy();
  await until(() => connections.size === 0);
  expect(connections.size).toBe(0);
  server.close();
});
