import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

/** What a WebSocket's owner decides. */
export type WebSocketOptions = {
  /** Bytes of one message from the client. */
  messageBytesMax: number;
  /** Bytes waiting for the client from which on `send` waits, and nothing more is read. */
  outputBytesMax: number;
  /** A ping goes out this often... */
  aliveEveryMs: number;
  /** ...and a client that has sent nothing at all for so long is gone. */
  aliveMs: number;
  /** Accept an unmasked first frame; every later one must be masked (RFC 6455 §5.1). */
  firstFrameMayBeUnmasked: boolean;
  /** A whole message, text or binary. */
  message(bytes: Buffer): void;
};

/** Why a request cannot become a WebSocket: a status and, for 426, what to ask for. */
export type Refusal = { status: 400 | 426; reason: string };

/** Whether a request is a valid opening (RFC 6455 §4.2.1) that offers `protocol`; undefined when it is. */
export function refusalOf(request: IncomingMessage, protocol: string): Refusal | undefined {
  const { headers } = request;
  if (request.method !== "GET" || headers.upgrade?.toLowerCase() !== "websocket")
    return { status: 426, reason: "this is a WebSocket" };
  if (headers["sec-websocket-version"] !== "13") return { status: 426, reason: "only WebSocket version 13 is known" };
  if (!/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(headers["sec-websocket-key"] ?? ""))
    return { status: 400, reason: "Sec-WebSocket-Key is not 16 bytes in base64" };
  const offered = (headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  return offered.includes(protocol) ? undefined : { status: 400, reason: `the subprotocol ${protocol} is not offered` };
}

/** The 101 answer to a valid opening. No extension is taken up: compression would cost the control process CPU. */
export function openingAnswer(request: IncomingMessage, protocol: string): string {
  const accept = createHash("sha1")
    .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`) // RFC 6455 §1.3
    .digest("base64");
  return [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${accept}`,
    `Sec-WebSocket-Protocol: ${protocol}`,
    "\r\n",
  ].join("\r\n");
}

/** Close codes, RFC 6455 §7.4.1. */
export const closeCodes = {
  normal: 1000,
  protocolError: 1002,
  notUtf8: 1007,
  tooBig: 1009,
  serviceRestart: 1012,
  tryAgainLater: 1013,
} as const;

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** Payload of a control frame, RFC 6455 §5.5. */
const controlBytesMax = 125;

/** How long the other side may take to answer a close. */
const closeMs = 1000;

/** A frame's head as it was read. */
type FrameHead = { final: boolean; opcode: number; masked: boolean; length: number; bytes: number };

class ProtocolError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** The server's side of a WebSocket whose 101 has been sent. Bounded both ways, and gone when the client is. */
export class ServerWebSocket {
  readonly #socket: Duplex;
  readonly #options: WebSocketOptions;
  readonly #gone = new AbortController();
  readonly #ticking: NodeJS.Timeout;
  #unread: Buffer = Buffer.alloc(0);
  /** Pieces of a fragmented message, its opcode and size. */
  #pieces: Buffer[] = [];
  #opcode: number | undefined;
  #size = 0;
  #first = true;
  #closing = false;
  #heardAt = performance.now();

  /** `head` is what came with the request. */
  constructor(socket: Duplex, head: Buffer, options: WebSocketOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#ticking = setInterval(() => this.#tick(), options.aliveEveryMs);
    socket.on("data", (bytes: Buffer) => this.#read(bytes));
    socket.on("drain", () => socket.resume());
    socket.on("error", () => socket.destroy());
    // A client that has nothing more to say without a close frame is gone as well.
    socket.on("end", () => socket.destroy());
    socket.on("close", () => {
      clearInterval(this.#ticking);
      this.#gone.abort();
    });
    if (socket.destroyed) {
      clearInterval(this.#ticking);
      this.#gone.abort();
    } else if (head.length > 0) this.#read(head);
  }

  /** Aborted when the connection is over. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Sends a text message; resolves when there is room for the next one, with false when nobody is there any more. */
  async send(text: string): Promise<boolean> {
    if (this.#closing || this.#socket.destroyed) return false;
    this.#write(opcodes.text, Buffer.from(text));
    if (this.#socket.writableLength <= this.#options.outputBytesMax) return true;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#socket.off("drain", done);
        this.gone.removeEventListener("abort", done);
        resolve();
      };
      this.#socket.on("drain", done);
      this.gone.addEventListener("abort", done);
    });
    return !this.#socket.destroyed;
  }

  /** Says that it is over, and ends the connection when the client has answered, or soon. */
  close(code: number, reason = ""): void {
    if (this.#closing || this.#socket.destroyed) return;
    this.#closing = true;
    this.#write(opcodes.close, closePayload(code, reason));
    setTimeout(() => this.#socket.destroy(), closeMs).unref();
  }

  #tick(): void {
    if (performance.now() - this.#heardAt > this.#options.aliveMs) this.#socket.destroy();
    else if (!this.#closing && this.#socket.writableLength <= this.#options.outputBytesMax)
      this.#write(opcodes.ping, Buffer.alloc(0));
  }

  #read(bytes: Buffer): void {
    this.#heardAt = performance.now();
    this.#unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes]);
    try {
      while (this.#takeFrame());
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close(error.code, error.message);
      this.#unread = Buffer.alloc(0);
      this.#socket.end();
    }
    // Whoever sends pings and does not read the pongs waits until there is room for them.
    if (this.#socket.writableLength > this.#options.outputBytesMax) this.#socket.pause();
  }

  /** Handles the next frame when it is whole; whether there may be another. */
  #takeFrame(): boolean {
    const head = readHead(this.#unread);
    if (!head) return false;
    this.#check(head);
    const end = head.bytes + (head.masked ? 4 : 0) + head.length;
    if (this.#unread.length < end) return false;
    const payload = Buffer.from(this.#unread.subarray(end - head.length, end));
    if (head.masked) unmask(payload, this.#unread.subarray(head.bytes, head.bytes + 4));
    this.#unread = this.#unread.subarray(end);
    this.#first = false;
    if (head.opcode >= opcodes.close) return this.#control(head.opcode, payload);
    this.#data(head, payload);
    return true;
  }

  #check({ final, opcode, masked, length }: FrameHead): void {
    const fail = (message: string) => new ProtocolError(closeCodes.protocolError, message);
    if (!masked && !(this.#first && this.#options.firstFrameMayBeUnmasked)) throw fail("a frame is not masked");
    if (opcode >= opcodes.close) {
      if (opcode > opcodes.pong) throw fail("unknown opcode");
      if (!final || length > controlBytesMax) throw fail("a control frame is fragmented or too long");
      return;
    }
    if (opcode > opcodes.binary) throw fail("unknown opcode");
    if ((opcode === opcodes.continuation) === (this.#opcode === undefined)) throw fail("fragments out of order");
    if (this.#size + length > this.#options.messageBytesMax)
      throw new ProtocolError(closeCodes.tooBig, `a message may have ${this.#options.messageBytesMax} bytes`);
  }

  #data({ final, opcode }: FrameHead, payload: Buffer): void {
    this.#opcode ??= opcode;
    this.#pieces.push(payload);
    // Empty fragments are legal; each is counted, so that there is an end to them.
    this.#size += payload.length + 1;
    if (!final) return;
    const message = Buffer.concat(this.#pieces);
    const isText = this.#opcode === opcodes.text;
    this.#pieces = [];
    this.#opcode = undefined;
    this.#size = 0;
    if (isText && !isUtf8(message)) throw new ProtocolError(closeCodes.notUtf8, "a text message is not UTF-8");
    if (!this.#closing) this.#options.message(message);
  }

  /** Whether frames may follow. */
  #control(opcode: number, payload: Buffer): boolean {
    if (opcode === opcodes.ping && !this.#closing) this.#write(opcodes.pong, payload);
    if (opcode !== opcodes.close) return true;
    const code = closeCodeOf(payload);
    if (code === undefined) throw new ProtocolError(closeCodes.protocolError, "a close frame is malformed");
    this.close(code);
    this.#unread = Buffer.alloc(0);
    this.#socket.end();
    return false;
  }

  #write(opcode: number, payload: Buffer): void {
    if (this.#socket.writableEnded || this.#socket.destroyed) return;
    this.#socket.cork();
    this.#socket.write(frameHead(opcode, payload.length));
    if (payload.length > 0) this.#socket.write(payload);
    this.#socket.uncork();
  }
}

function readHead(bytes: Buffer): FrameHead | undefined {
  const [first, second] = bytes;
  if (first === undefined || second === undefined) return undefined;
  // No extension was taken up that would give these bits a meaning.
  if ((first & 0x70) !== 0) throw new ProtocolError(closeCodes.protocolError, "reserved bits are set");
  const head = { final: (first & 0x80) !== 0, opcode: first & 0x0f, masked: (second & 0x80) !== 0 };
  const short = second & 0x7f;
  if (short < 126) return { ...head, length: short, bytes: 2 };
  if (short === 126) return bytes.length < 4 ? undefined : { ...head, length: bytes.readUInt16BE(2), bytes: 4 };
  return bytes.length < 10 ? undefined : { ...head, length: Number(bytes.readBigUInt64BE(2)), bytes: 10 };
}

function unmask(payload: Buffer, mask: Buffer): void {
  for (let at = 0; at < payload.length; at++) payload[at] = (payload[at] ?? 0) ^ (mask[at & 3] ?? 0);
}

function frameHead(opcode: number, length: number): Buffer {
  if (length < 126) return Buffer.from([0x80 | opcode, length]);
  if (length < 65_536) return Buffer.from([0x80 | opcode, 126, length >> 8, length & 0xff]);
  const head = Buffer.alloc(10);
  head[0] = 0x80 | opcode;
  head[1] = 127;
  head.writeBigUInt64BE(BigInt(length), 2);
  return head;
}

function closePayload(code: number, reason: string): Buffer {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code);
  payload.write(reason, 2);
  return payload.subarray(0, controlBytesMax);
}

/** The code to answer a close frame with; undefined when the frame is not valid (RFC 6455 §5.5.1, §7.4). */
function closeCodeOf(payload: Buffer): number | undefined {
  if (payload.length === 0) return closeCodes.normal;
  if (payload.length === 1 || !isUtf8(payload.subarray(2))) return undefined;
  const code = payload.readUInt16BE();
  if (code >= 3000 && code < 5000) return code;
  return code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code) ? code : undefined;
}
