import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";

/** A request head, wherever in a connection's bytes; bodies are passed over. */
const wholeHead = /[A-Z]+ \S+ HTTP\/1\.1\r\n(?:[^\r]+\r\n)*\r\n/;

/** One connection to a fake process: what it was sent, and how it ended. */
export class FakeConnection {
  readonly socket: Socket;
  received = "";
  /** Heads that were complete so far. */
  heads: string[] = [];
  closed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => (this.closed = true));
  }

  send(text: string): this {
    this.socket.write(text, "latin1");
    return this;
  }

  /** What came after the last head. */
  get body(): string {
    const last = this.heads.at(-1) ?? "";
    return this.received.slice(this.received.lastIndexOf(last) + last.length);
  }
}

export type FakeHandler = (connection: FakeConnection, head: string) => void;

/**
 * A process that does what a test says, well or badly: `onHead` is called with each request head that is complete.
 */
export class FakeUpstream implements AsyncDisposable {
  readonly path: string;
  readonly connections: FakeConnection[] = [];
  readonly #server: Server;

  private constructor(path: string, onHead: FakeHandler) {
    this.path = path;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket, onHead));
  }

  static async listen(path: string, onHead: FakeHandler): Promise<FakeUpstream> {
    rmSync(path, { force: true });
    const fake = new FakeUpstream(path, onHead);
    fake.#server.listen(path);
    await once(fake.#server, "listening");
    return fake;
  }

  /** All heads, in the order in which they came. */
  get heads(): string[] {
    return this.connections.flatMap(({ heads }) => heads);
  }

  /** All bytes of all connections. */
  get received(): string {
    return this.connections.map(({ received }) => received).join("");
  }

  get open(): number {
    return this.connections.filter(({ closed }) => !closed).length;
  }

  /** Ends as a killed process does. */
  async kill(): Promise<void> {
    for (const { socket } of this.connections) socket.destroy();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, "close");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #accept(socket: Socket, onHead: FakeHandler): void {
    const connection = new FakeConnection(socket);
    this.connections.push(connection);
    let looked = 0;
    socket.on("end", () => socket.end());
    socket.on("data", (bytes: Buffer) => {
      connection.received += bytes.toString("latin1");
      for (;;) {
        const [head] = wholeHead.exec(connection.received.slice(looked)) ?? [];
        if (head === undefined) return;
        looked = connection.received.indexOf(head, looked) + head.length;
        connection.heads.push(head);
        onHead(connection, head);
      }
    });
  }
}

/** A response with its length. */
export function response(body: string, fields: string[] = [], status = "200 OK"): string {
  return [`HTTP/1.1 ${status}`, `Content-Length: ${body.length}`, ...fields, "", body].join("\r\n");
}

/** Answers every request at once with `body`. */
export function answering(body: string): FakeHandler {
  return (connection) => connection.send(response(body));
}
