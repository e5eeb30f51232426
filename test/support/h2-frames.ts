import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import { pollUntil } from "#core/deadline.ts";

/** HTTP/2 by hand, for what no client library sends (RFC 9113 §4, §6). */

export const frameTypes = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
};
const endStream = 1;
const endHeaders = 4;

export function frame(type: number, flag: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flag;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header block without compression: literals that are not remembered (RFC 7541 §6.2.2). */
function headerBlock(...fields: [string, string][]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const size = [127];
  let left = bytes.length - 127;
  for (; left > 127; left >>= 7) size.push((left & 127) | 128);
  return Buffer.concat([Buffer.from([...size, left]), bytes]);
}

export function requestBlock(host: string, path = "/", method = "GET", ...more: [string, string][]): Buffer {
  return headerBlock([":method", method], [":scheme", "https"], [":path", path], [":authority", host], ...more);
}

export function headersFrame(stream: number, block: Buffer, options: { ends?: boolean; whole?: boolean } = {}): Buffer {
  const { ends = true, whole = true } = options;
  return frame(frameTypes.headers, (ends ? endStream : 0) | (whole ? endHeaders : 0), stream, block);
}

export function resetFrame(stream: number): Buffer {
  return frame(frameTypes.reset, 0, stream, Buffer.from([0, 0, 0, 8]));
}

/** A connection that sends exactly the frames it is told to. */
export class H2Raw {
  readonly socket: TLSSocket;
  received = Buffer.alloc(0);
  closed = false;

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on("data", (bytes: Buffer) => (this.received = Buffer.concat([this.received, bytes])));
    socket.on("error", () => {});
    socket.on("close", () => (this.closed = true));
  }

  static async to(port: number, servername: string): Promise<H2Raw> {
    const socket = connect({ port, host: "127.0.0.1", servername, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    await once(socket, "secureConnect");
    const raw = new H2Raw(socket);
    raw.send(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameTypes.settings, 0, 0));
    return raw;
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** Frames that came so far. */
  frames(): { type: number; flags: number; stream: number; payload: Buffer }[] {
    const all = [];
    for (let at = 0; at + 9 <= this.received.length;) {
      const length = this.received.readUIntBE(at, 3);
      const payload = this.received.subarray(at + 9, at + 9 + length);
      const [type = 0, flags = 0] = this.received.subarray(at + 3, at + 5);
      all.push({ type, flags, stream: this.received.readUInt32BE(at + 5), payload });
      at += 9 + length;
    }
    return all;
  }

  /** Error code of the GOAWAY frame, if one came. */
  get goaway(): number | undefined {
    const last = this.frames().findLast(({ type }) => type === frameTypes.goaway);
    return last && last.payload.length >= 8 ? last.payload.readUInt32BE(4) : undefined;
  }

  async untilClosed(): Promise<void> {
    await pollUntil({ ms: 10_000, everyMs: 2, what: "the connection to close" }, () => this.closed || undefined);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
