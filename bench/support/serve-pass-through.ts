import { createServer } from "node:http";
import { once } from "node:events";
import { Pool } from "undici";

/** The least that stands between a client and a provider: `node serve-pass-through.ts '{"provider": PORT, "path": SOCKET}'`. */
const { provider, path } = JSON.parse(process.argv[2] ?? "{}") as { provider: number; path: string };
const pool = new Pool(`http://127.0.0.1:${provider}`, { connections: 256 });
const server = createServer((request, response) => {
  const { host: _host, connection: _connection, ...headers } = request.headers;
  const passed = pool.stream(
    { path: "/v1/chat/completions", method: "POST", headers, body: request, opaque: response },
    ({ statusCode, headers: answered }) => {
      const { connection: _, "transfer-encoding": __, ...kept } = answered;
      response.writeHead(statusCode, kept);
      return response;
    },
  );
  // The load ends in the middle of answers.
  passed.catch(() => response.destroy());
});
server.listen(path);
await once(server, "listening");
console.log(path);
