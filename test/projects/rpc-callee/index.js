import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";

class Counter extends RpcTarget {
  #value;
  constructor(value) {
    super();
    this.#value = value;
  }
  increment(by = 1) {
    return (this.#value += by);
  }
  get value() {
    return this.#value;
  }
  child() {
    return new Counter(this.#value * 10);
  }
}

export default class extends WorkerEntrypoint {
  fetch(request) {
    return new Response(`default ${request.method} ${new URL(request.url).pathname}`);
  }
  add(a, b) {
    return a + b;
  }
  release() {
    return this.env.RELEASE;
  }
  get motto() {
    return "per aspera";
  }
  echo(value) {
    return value;
  }
  fail(kind) {
    if (kind === "range") throw new RangeError("out of range");
    if (kind === "own") throw Object.assign(new Error("with more"), { code: 42 });
    throw "a string";
  }
  counter(value) {
    return new Counter(value);
  }
  adder(by) {
    return (value) => value + by;
  }
  async callBack(callback, value) {
    return `called ${await callback(value)}`;
  }
  async useTarget(target) {
    return [await target.increment(), await target.increment(5)];
  }
  async size(stream) {
    let bytes = 0;
    for await (const chunk of stream) bytes += chunk.length;
    return bytes;
  }
  stream(chunks, chunkBytes) {
    let sent = 0;
    return new ReadableStream({
      type: "bytes",
      pull(controller) {
        if (sent++ === chunks) controller.close();
        else controller.enqueue(new Uint8Array(chunkBytes).fill(7));
      },
    });
  }
  answer(request) {
    return new Response(`${request.method} ${request.url} ${request.headers.get("x-mine")}`, { status: 201 });
  }
  nested() {
    return { counter: new Counter(1), list: [1, 2, { date: new Date(5), map: new Map([["a", 1n]]) }] };
  }
  props() {
    return this.ctx.props;
  }
  async viaSelf() {
    return await this.env.SELF.whoami();
  }
  async viaExports() {
    return await this.ctx.exports.Named({ props: { from: "exports" } }).whoami();
  }
  async wait(ms) {
    await scheduler.wait(ms);
    return "waited";
  }
}

export class Named extends WorkerEntrypoint {
  whoami() {
    return { entrypoint: "Named", props: this.ctx.props, release: this.env.RELEASE };
  }
  async fetch(request) {
    if (request.headers.get("upgrade") === "websocket") {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      server.addEventListener("message", ({ data }) => server.send(`echo ${data}`));
      return new Response(null, { status: 101, webSocket: client });
    }
    const headers = [...request.headers.keys()].filter((name) => name.startsWith("x-"));
    return Response.json({ props: this.ctx.props, url: request.url, headers, body: await request.text() });
  }
}

export class Secret extends WorkerEntrypoint {
  tell() {
    return "nobody may hear this";
  }
}
