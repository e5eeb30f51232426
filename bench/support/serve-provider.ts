import { createServer } from "node:http";
import { once } from "node:events";

/** A provider that answers at once, as JSON or as 52 events: prints its port. */
const usage = { prompt_tokens: 100, completion_tokens: 50, total_tokens: 150 };
const common = { id: "chatcmpl-123456789012345678901234", created: 1_760_000_000, model: "gpt-4o-mini" };
const message = {
  role: "assistant",
  content: "The ground is yours, and all that stands on it, all the way up. ".repeat(3),
};
const whole = JSON.stringify({
  ...common,
  object: "chat.completion",
  choices: [{ index: 0, message, finish_reason: "stop" }],
  usage,
});
const chunk = (members: object) =>
  `data: ${JSON.stringify({ ...common, object: "chat.completion.chunk", ...members })}\n\n`;
const events = [
  ...Array.from({ length: 50 }, (_, index) =>
    chunk({ choices: [{ index: 0, delta: { content: ` word${index}` }, finish_reason: null }] }),
  ),
  chunk({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }], usage }),
  "data: [DONE]\n\n",
];

const server = createServer((request, response) => {
  let body = "";
  request.on("data", (piece: Buffer) => (body += piece.toString("latin1")));
  request.on("end", () => {
    if (!body.includes('"stream":true')) {
      response
        .writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(whole) })
        .end(whole);
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    let next = 0;
    const write = () => {
      response.write(events[next++]);
      if (next < events.length) setImmediate(write);
      else response.end();
    };
    write();
  });
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const address = server.address();
if (typeof address !== "object" || !address) throw new Error("no port");
console.log(address.port);
