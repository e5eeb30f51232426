/** The request that opens a WebSocket (RFC 6455 §1.2, with its sample key). */
export function openingRequest(host: string, target = "/"): string {
  return [
    `GET ${target} HTTP/1.1`,
    `Host: ${host}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "",
    "",
  ].join("\r\n");
}

/** The answer to the sample key. */
export const sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const mask = [1, 2, 3, 4] as const;

/** A text message as a client sends it: one masked frame, as Latin-1 text. `opcode` 8 closes. */
export function clientFrame(text: string, opcode = 1): string {
  const payload = Buffer.from(text, "latin1");
  const head = [0x80 | opcode];
  if (payload.length < 126) head.push(0x80 | payload.length);
  else if (payload.length < 65_536) head.push(0x80 | 126, payload.length >> 8, payload.length & 0xff);
  else head.push(0x80 | 127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((shift) => (payload.length >> shift) & 0xff));
  const masked = payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0));
  return Buffer.concat([Buffer.from([...head, ...mask]), masked]).toString("latin1");
}

/** The messages in what a server sent after its opening answer; frames that are not whole are left. */
export function serverMessages(received: string): string[] {
  const bytes = Buffer.from(received.slice(received.indexOf("\r\n\r\n") + 4), "latin1");
  const messages: string[] = [];
  for (let at = 0; at + 2 <= bytes.length;) {
    let length = (bytes[at + 1] ?? 0) & 0x7f;
    let start = at + 2;
    if (length === 126) {
      length = bytes.readUInt16BE(start);
      start += 2;
    } else if (length === 127) {
      length = Number(bytes.readBigUInt64BE(start));
      start += 8;
    }
    if (start + length > bytes.length) break;
    messages.push(bytes.toString("latin1", start, start + length));
    at = start + length;
  }
  return messages;
}
