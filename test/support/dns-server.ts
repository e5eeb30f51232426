import { createSocket } from "node:dgram";
import { once } from "node:events";

/**
 * A name server on 127.0.0.1:53 that answers questions for IPv4 addresses with what `answer` says, never to be kept, and
 * every other question with nothing (RFC 1035 §4).
 */
export async function startDnsServer(
  answer: (name: string) => readonly string[],
): Promise<{ questions: () => number; close: () => void }> {
  let questions = 0;
  const server = createSocket("udp4");
  server.on("message", (question, from) => {
    let end = 12;
    const labels: string[] = [];
    for (let length = question[end] ?? 0; length > 0; length = question[end] ?? 0) {
      labels.push(question.toString("latin1", end + 1, end + 1 + length));
      end += length + 1;
    }
    const asksForIpv4 = question.readUInt16BE(end + 1) === 1;
    if (asksForIpv4) questions++;
    const addresses = asksForIpv4 ? answer(labels.join(".")) : [];
    const head = Buffer.from(question.subarray(0, 12));
    // A response, recursion available, no error; one question; as many answers; nothing else.
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(addresses.length, 6);
    head.fill(0, 8);
    const records = addresses.map((address) =>
      // The name of the question, type A, class IN, 0 s, 4 bytes.
      Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...address.split(".").map(Number)]),
    );
    server.send(Buffer.concat([head, question.subarray(12, end + 5), ...records]), from.port, from.address);
  });
  server.bind(53, "127.0.0.1");
  await once(server, "listening");
  return { questions: () => questions, close: () => void server.close() };
}
