// The SDK's own client: says what it sees, a JSON line each, until its standard input ends.
import { createInterface } from "node:readline";
import { AgentClient } from "agents/client";
import { Agent, WebSocket } from "undici";

const [host, name] = process.argv.slice(2);
const lookup = (_host, { all }, done) => (all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4));
const dispatcher = new Agent({ connect: { lookup } });
class LocalWebSocket extends WebSocket {
  constructor(url, protocols = []) {
    super(url, { protocols, dispatcher });
  }
}
globalThis.WebSocket = LocalWebSocket;
const say = (line) => console.log(JSON.stringify(line));
const client = new AgentClient({
  host,
  protocol: "ws",
  agent: "counter",
  name,
  WebSocket: LocalWebSocket,
  onStateUpdate: (state, source) => say({ state, source }),
});
client.addEventListener("open", () => say({ open: true }));
client.addEventListener("message", ({ data }) => {
  const message = JSON.parse(data);
  if (message.type === "hello") say({ hello: message.name });
});
for await (const line of createInterface({ input: process.stdin })) {
  const [method, ...args] = JSON.parse(line);
  try {
    say({ method, result: await client.call(method, args) });
  } catch (error) {
    say({ method, error: error.message });
  }
}
client.close();
process.exit(0);
