import { afterEach, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { FakeUpstream, answering } from "../../test/support/fake-upstream.ts";
import { IngressRig } from "../../test/support/ingress-rig.ts";
import { readResponse, sendRaw } from "../../test/support/raw-client.ts";

/** A process that the supervisor is about to kill: whoever waits for it is told why, and nobody is sent to the next one with what killed it. */

let rig: IngressRig;

afterEach(async () => {
  await rig[Symbol.asyncDispose]();
});

async function condemn(outcome: string, socket = rig.socket("app")): Promise<number> {
  const body = JSON.stringify({ socket, outcome });
  const request = `POST /condemn HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  return readResponse(await sendRaw(`${rig.folder}/admin.sock`, request)).status;
}

async function until(ready: () => boolean, what: string): Promise<void> {
  await pollUntil({ ms: 10_000, everyMs: 2, what }, () => ready() || undefined);
}

test.each(["exceededCpu", "exceededMemory"])(
  "%s: an answer that has not begun is Cloudflare's 1102",
  async (outcome) => {
    rig = await IngressRig.start();
    const app = await rig.fake(() => {});
    const answers = [rig.get("/"), rig.get("/", ["Accept: text/html"])];
    await until(() => app.heads.length === 2, "both to be asked");
    expect(await condemn(outcome)).toBe(200);
    await app.kill();
    const [text, html] = await Promise.all(answers);
    expect(text).toMatchObject({ status: 503, body: expect.stringContaining("error code: 1102") });
    expect(text?.body).toContain("Worker exceeded resource limits");
    expect(html).toMatchObject({
      status: 503,
      body: expect.stringContaining("<h1>Worker exceeded resource limits</h1>"),
    });
    expect(html?.body).toContain("Error 1102");
    expect(app.heads).toHaveLength(2);
  },
);

test("an answer that has begun is cut, also one that ends with its connection", async () => {
  rig = await IngressRig.start();
  const app = await rig.fake((connection, head) => {
    if (head.includes("/chunked")) connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    else connection.send("HTTP/1.1 200 OK\r\n\r\nabc");
  });
  using chunked = await rig.client();
  using unframed = await rig.client();
  chunked.write("GET /chunked HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  unframed.write("GET /unframed HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
  await chunked.until((text) => text.endsWith("abc\r\n"));
  await unframed.until((text) => text.endsWith("abc"));
  await condemn("exceededCpu");
  await app.kill();
  await chunked.closed();
  expect(chunked.received).not.toContain("0\r\n\r\n");
  // An orderly end would be the end of the answer.
  expect(await unframed.closed()).toBe("reset");
});

test("a request that it may have run is not run again, and one that it has not read is", async () => {
  rig = await IngressRig.start();
  let asked = 0;
  const app = await rig.fake((connection) => {
    asked++;
    // Once it has a request it reads nothing more, as a process that computes.
    connection.socket.pause();
  });
  const first = rig.get("/poison");
  await until(() => asked === 1, "the poison to be taken");
  await condemn("exceededCpu");
  // What comes now waits for the next process instead.
  const second = rig.get("/innocent");
  await until(() => rig.ingress.open().waiting === 1, "the second to wait");
  await app.kill();
  expect(await first).toMatchObject({ status: 503, body: expect.stringContaining("1102") });
  await using next = await FakeUpstream.listen(rig.socket("app-2"), answering("fine"));
  await rig.route({ app: [next.path] });
  expect(await second).toMatchObject({ status: 200, body: "fine" });
  expect(next.heads.map((head) => head.split(" ")[1])).toEqual(["/innocent"]);
});

test("the other processes of its version are not concerned", async () => {
  rig = await IngressRig.start();
  const app = await rig.fake(answering("app"));
  await using other = await FakeUpstream.listen(rig.socket("other"), answering("other"));
  await rig.route({ app: [app.path, other.path] });
  await condemn("exceededMemory");
  for (let n = 0; n < 10; n++) expect((await rig.get("/")).body).toBe("other");
});

test("a process that dies without a word is as before", async () => {
  rig = await IngressRig.start();
  const app = await rig.fake((connection) => connection.socket.destroy());
  expect(await rig.get("/")).toMatchObject({ status: 502, body: expect.stringContaining("ended before it answered") });
  // A GET is tried once more on a new connection.
  expect(app.heads).toHaveLength(2);
});

test("what is no outcome, and a socket that nobody knows", async () => {
  rig = await IngressRig.start();
  await rig.fake(answering("app"));
  expect(await condemn("bored")).toBe(400);
  expect(await condemn("exceededCpu", "/unknown.sock")).toBe(200);
  expect(await rig.get("/")).toMatchObject({ status: 200, body: "app" });
});
