import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, constants, type OutgoingHttpHeaders } from "node:http2";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import type { IngressLimits } from "#ingress/limits.ts";
import { answering, type FakeHandler, type FakeUpstream } from "../../test/support/fake-upstream.ts";
import { frame, frameTypes, H2Raw, headersFrame, requestBlock, resetFrame } from "../../test/support/h2-frames.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { selfSigned } from "../../test/support/self-signed.ts";

/** What a client of HTTP/2 must not do: each ends its own connection or stream, and nobody else notices. */

let folder: string;
let rig: IngressRig;
let authority: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "solum-h2-"));
});

afterEach(async () => {
  await rig[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function start(onHead: FakeHandler, limits: Partial<IngressLimits> = {}): Promise<FakeUpstream> {
  const { cert, key } = selfSigned("app.localhost");
  const files = { cert: join(folder, "cert.pem"), key: join(folder, "cert.key") };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  authority = cert;
  rig = await IngressRig.start({ tls: { port: 0, certificates: [files] } }, limits);
  return await rig.fake(onHead);
}

async function ask(headers: OutgoingHttpHeaders): Promise<{ status: number; body: string }> {
  const session = connect(`https://127.0.0.1:${rig.ingress.tlsPort}`, { ca: authority, servername: "app.localhost" });
  const stream = session.request({ ":authority": "app.localhost", ...headers });
  let body = "";
  stream.on("data", (piece: Buffer) => (body += piece.toString("latin1")));
  const [answer] = (await once(stream, "response")) as [Record<string, unknown>];
  if (!stream.readableEnded) await once(stream, "end");
  session.destroy();
  return { status: Number(answer[":status"]), body };
}

async function until(ready: () => boolean, what: string): Promise<void> {
  await pollUntil({ ms: 10_000, everyMs: 2, what }, () => ready() || undefined);
}

// scale-reliability-security §3.3 row 65.
describe("attacks on the connection", () => {
  const ENHANCE_YOUR_CALM = constants.NGHTTP2_ENHANCE_YOUR_CALM;

  async function othersGoOn(): Promise<void> {
    await rig.quiet();
    expect(await ask({})).toMatchObject({ status: 200, body: "ok" });
  }

  test("10,000 streams that are taken back at once end it soon (CVE-2023-44487)", async () => {
    const app = await start(answering("ok"));
    using raw = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    const block = requestBlock("app.localhost");
    for (let n = 0; n < 10_000 && !raw.closed; n++) raw.send(headersFrame(n * 2 + 1, block), resetFrame(n * 2 + 1));
    await raw.untilClosed();
    // Some are under way before the first is taken back; what counts is that they are a small part.
    expect(app.heads.length).toBeLessThan(1000);
    await othersGoOn();
  });

  test("more streams than are allowed are refused, and the connection lives", async () => {
    const app = await start(() => {}, { h2Streams: 10 });
    using raw = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    for (let n = 0; n < 20; n++) raw.send(headersFrame(n * 2 + 1, requestBlock("app.localhost")));
    await until(() => raw.frames().filter(({ type }) => type === frameTypes.reset).length === 10, "ten refusals");
    await until(() => app.heads.length === 10, "ten requests");
    expect(raw.closed).toBe(false);
  });

  test("CONTINUATION frames without an end (CVE-2024-27316)", async () => {
    await start(answering("ok"));
    using raw = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    raw.send(headersFrame(1, requestBlock("app.localhost"), { whole: false }));
    const more = frame(frameTypes.continuation, 0, 1, requestBlock("x").subarray(0, 0));
    for (let n = 0; n < 1000 && !raw.closed; n++) raw.send(more);
    await raw.untilClosed();
    await othersGoOn();
  });

  test("a head that grows when it is unpacked", async () => {
    const app = await start(answering("ok"));
    using raw = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    // One large field is remembered (RFC 7541 §6.2.1), then named by one byte again and again: 4 MB from 1 kB.
    const large = Buffer.concat([
      Buffer.from([0x40, 1]),
      Buffer.from("a"),
      Buffer.from([127, 0x91, 0x1e]),
      Buffer.alloc(4000, "b"),
    ]);
    const bomb = Buffer.concat([requestBlock("app.localhost"), large, Buffer.alloc(1000, 0xbe)]);
    raw.send(headersFrame(1, bomb));
    await until(
      () => raw.closed || raw.frames().some(({ type, stream }) => type === frameTypes.reset || stream === 1),
      "a refusal",
    );
    expect(app.heads).toEqual([]);
    await othersGoOn();
  });

  test.each([
    ["PING", () => frame(frameTypes.ping, 0, 0, Buffer.alloc(8))],
    ["SETTINGS", () => frame(frameTypes.settings, 0, 0, Buffer.from([0, 3, 0, 0, 0, 100]))],
  ])("a flood of %s frames", async (_name, make) => {
    await start(answering("ok"), { sweepMs: 1000 });
    using raw = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    const one = make();
    for (let n = 0; n < 5000 && !raw.closed; n++) raw.send(one);
    await raw.untilClosed();
    expect([ENHANCE_YOUR_CALM, constants.NGHTTP2_INTERNAL_ERROR, undefined]).toContain(raw.goaway);
    await othersGoOn();
  });

  test("a preface that is none, and a connection that says nothing", async () => {
    await start(answering("ok"), { headMs: 100 });
    using wrong = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    wrong.send(Buffer.alloc(100, "x"));
    await wrong.untilClosed();
    using silent = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    await silent.untilClosed();
    await othersGoOn();
  });

  test.each<[string, [string, string][]]>([
    ["a header about the connection", [["connection", "close"]]],
    ["Transfer-Encoding", [["transfer-encoding", "chunked"]]],
    ["an upper-case name", [["X-Upper", "1"]]],
    ["a line end in a value", [["x-evil", "a\r\nx-bind: 1"]]],
    ["a NUL in a value", [["x-evil", "a\0b"]]],
    [
      "two lengths",
      [
        ["content-length", "1"],
        ["content-length", "2"],
      ],
    ],
    ["a second :path", [[":path", "/other"]]],
    ["an unknown pseudo-header", [[":evil", "1"]]],
    ["a blank in a name", [["x evil", "1"]]],
  ])("%s never reaches a Worker", async (_what, more) => {
    const app = await start(answering("ok"));
    using raw = await H2Raw.to(rig.ingress.tlsPort, "app.localhost");
    raw.send(headersFrame(1, requestBlock("app.localhost", "/", "GET", ...more)));
    await until(
      () => raw.closed || raw.frames().some(({ stream, type }) => stream === 1 || type === frameTypes.goaway),
      "an answer or a reset",
    );
    // nghttp2 resets the stream or leaves such a field out; either way nothing of it is written to a process.
    expect(app.heads.length).toBeLessThanOrEqual(1);
    expect(app.received).toMatch(/^$|^GET \/ HTTP\/1\.1\r\n/);
    expect(app.received).not.toMatch(/evil|x-bind|upper|other|connection|transfer|content-length/i);
  });

  test("too many headers and too large ones are 431", async () => {
    const app = await start(answering("ok"), { headerFields: 20, headBytes: 4096 });
    const many = Object.fromEntries(Array.from({ length: 22 }, (_, n) => [`x-${n}`, "1"]));
    expect(await ask(many)).toMatchObject({ status: 431 });
    expect(await ask({ "x-large": "x".repeat(5000) })).toMatchObject({ status: 431 });
    expect(app.heads).toEqual([]);
  });
});
