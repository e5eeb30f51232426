import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { configText, embed } from "#core/capnp-text.ts";
import { bootstrap, finish, getEntrypoint } from "#ingress/rpc/compose.ts";
import { kinds, readEnvelope, type Envelope } from "#ingress/rpc/envelope.ts";
import { Frames } from "#ingress/rpc/message.ts";
import { startWorkerd, temporaryFolder, type TestWorkerd } from "../../../test/support/workerd.ts";

/**
 * What the isolation of calls between Workers stands on: once we have let go of a process's debug port, nothing that is sent on
 * that connection reaches it again, whatever bytes a caller's process makes up.
 */
const folder = temporaryFolder();
const socket = join(folder.path, "debug.sock");
let workerd: TestWorkerd;

beforeAll(async () => {
  const source = `export default { fetch: () => new Response("default") };
    import { WorkerEntrypoint } from "cloudflare:workers";
    export class Secret extends WorkerEntrypoint { tell() { return "secret" } }`;
  workerd = await startWorkerd({
    folder: folder.path,
    text: configText({
      services: [
        {
          name: "user",
          worker: { modules: [{ name: "a.js", esModule: embed("a.js") }], compatibilityDate: "2026-11-01" },
        },
      ],
      sockets: [{ name: "http", address: `unix:${join(folder.path, "http.sock")}`, service: "user" }],
    }),
    files: [{ name: "a.js", bytes: Buffer.from(source) }],
    flags: ["--experimental", `--debug-port=unix:${socket}`],
  });
});
afterAll(async () => {
  await workerd.stop();
  folder[Symbol.dispose]();
});

const bootQuestion = 0xffff_fffe;
const entryQuestion = 0xffff_ffff;
const wanted = { service: "user", entrypoint: undefined, props: { a: 1 } };
const secret = { service: "user", entrypoint: "Secret", props: { forged: true } };

test("the debug port gives any entrypoint while it is held", async () => {
  const peer = new Peer(connect(socket));
  peer.send(bootstrap(bootQuestion), getEntrypoint(entryQuestion, bootQuestion, wanted));
  expect((await peer.returnOf(entryQuestion)).handsOver).toHaveLength(1);
  peer.send(getEntrypoint(7, bootQuestion, secret));
  expect((await peer.returnOf(7)).handsOver).toHaveLength(1);
  peer.end();
});

test("and nothing once it was let go of, by whatever number it is asked for", async () => {
  // An unknown answer or export ends the connection, which ends the attempts on it.
  for (const target of [
    { answer: bootQuestion },
    { answer: entryQuestion },
    ...[0, 1, 2, 3].map((id) => ({ export: id })),
  ]) {
    const peer = new Peer(connect(socket));
    peer.send(bootstrap(bootQuestion), getEntrypoint(entryQuestion, bootQuestion, wanted));
    await peer.returnOf(entryQuestion);
    peer.send(finish(entryQuestion, { releaseResults: false }), finish(bootQuestion, { releaseResults: true }));
    peer.send(aimed(getEntrypoint(7, bootQuestion, secret), target));
    const answer = await Promise.race([peer.returnOf(7), peer.closed]);
    expect(answer?.handsOver ?? [], JSON.stringify(target)).toEqual([]);
    peer.end();
  }
});

/** The same call of another target. */
function aimed(call: Buffer, target: { answer: number } | { export: number }): Buffer {
  const { references, target: at } = readEnvelope(call);
  const answer = references.find(({ space, id }) => space === "ownQuestion" && id === bootQuestion);
  if (!at || !answer) throw new Error("not the call that was expected");
  if ("answer" in target) call.writeUInt32LE(target.answer, answer.at);
  else {
    call.writeUInt16LE(0, at.data + 4);
    call.writeUInt32LE(target.export, at.data);
  }
  return call;
}

class Peer {
  readonly #socket: Socket;
  readonly #returns = new Map<number, Envelope>();
  #heard: () => void = () => {};
  readonly closed: Promise<undefined>;

  constructor(to: Socket) {
    this.#socket = to;
    this.closed = new Promise((resolve) => to.on("close", () => resolve(undefined)));
    const frames = new Frames(1 << 20);
    to.on("error", () => {});
    to.on("data", (bytes: Buffer) => {
      for (const message of frames.take(bytes)) {
        // An abort says why the connection ends.
        if (new DataView(message.buffer, message.byteOffset).getUint16(16, true) === 1) continue;
        const envelope = readEnvelope(message);
        if (envelope.kind === kinds.return) this.#returns.set(envelope.id, envelope);
      }
      this.#heard();
    });
  }

  send(...messages: Buffer[]): void {
    this.#socket.write(Buffer.concat(messages));
  }

  async returnOf(question: number): Promise<Envelope> {
    for (;;) {
      const known = this.#returns.get(question);
      if (known) return known;
      await new Promise<void>((resolve) => (this.#heard = resolve));
    }
  }

  end(): void {
    this.#socket.destroy();
  }
}
