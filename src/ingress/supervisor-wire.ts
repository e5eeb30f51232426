import { Agent, request, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { json } from "node:stream/consumers";

/** Asks the supervisor, on connections that are kept: `POST /wake` comes in bursts. */
export class SupervisorWire {
  readonly #socketPath: string;
  readonly #timeoutMs: number;
  readonly #agent: Agent;

  constructor(socketPath: string, limits: { wakeQuestions: number; wakeAnswerMs: number }) {
    this.#socketPath = socketPath;
    this.#timeoutMs = limits.wakeAnswerMs;
    this.#agent = new Agent({ keepAlive: true, maxSockets: limits.wakeQuestions, maxFreeSockets: 2 });
  }

  async wake(what: { target: string } | { host: string }): Promise<{ known?: boolean }> {
    const body = JSON.stringify(what);
    const outgoing = request({
      socketPath: this.#socketPath,
      method: "POST",
      path: "/wake",
      headers: { host: "solum.internal", "content-length": Buffer.byteLength(body) },
      signal: AbortSignal.timeout(this.#timeoutMs),
      agent: this.#agent,
    });
    outgoing.end(body);
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    if (response.statusCode !== 200) {
      response.resume();
      throw new Error(`the supervisor answered ${response.statusCode}`);
    }
    return (await json(response)) as { known?: boolean };
  }

  close(): void {
    this.#agent.destroy();
  }
}
