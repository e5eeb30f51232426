import { once } from "node:events";
import { Agent, request, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { messageOf } from "#core/errors.ts";

/**
 * How a Worker took an event. `unreached`: no process of the Worker has seen it. `lost`: one may have seen it, and has not told
 * how it ended.
 */
export type EventAnswer =
  | { kind: "done"; body: string }
  | { kind: "unreached"; why: string }
  | { kind: "lost"; why: string };

/** Which Worker, and `queue` or `scheduled?…`. */
export type WorkerEvent = { accountId: string; script: string; event: string; body?: Uint8Array };

export interface EventCaller {
  call(event: WorkerEvent, signal: AbortSignal): Promise<EventAnswer>;
  close(): void;
}

const noBody = new Uint8Array();

/** Hands events to Workers by the ingress's own socket for them. `timeMs`: how long a handler may take. */
export function eventCaller(options: { socket: string; timeMs: number }): EventCaller {
  const agent = new Agent({ keepAlive: true, maxSockets: 1000 });
  return {
    close: () => agent.destroy(),
    async call({ accountId, script, event, body = noBody }, signal) {
      const timeout = AbortSignal.timeout(options.timeMs);
      const outgoing = request({
        socketPath: options.socket,
        agent,
        method: "POST",
        path: `/${accountId}/${script}/${event}`,
        headers: { host: "events", "content-length": body.length },
        signal: AbortSignal.any([signal, timeout]),
      });
      outgoing.on("error", () => {}); // Whoever waits for the answer is told; an unheard event would end the process.
      try {
        const answered = once(outgoing, "response");
        outgoing.end(body);
        const [response] = (await answered) as [IncomingMessage];
        return readAnswer(response.statusCode ?? 0, await text(response));
      } catch (error) {
        if (timeout.aborted) return { kind: "lost", why: `the handler took longer than ${options.timeMs} ms` };
        // The ingress is gone, and with it what it knew. Its end is no failure of the Worker.
        return { kind: "unreached", why: messageOf(error) };
      }
    },
  };
}

/** What the ingress says: a Worker's own answer is 200, everything else is a page of its own. */
function readAnswer(status: number, body: string): EventAnswer {
  if (status === 200) return { kind: "done", body };
  const [why = ""] = body.split("\n");
  // 1102: a process that was ended because it took too much. The other pages of this status say that none runs.
  const nobody = status === 404 || (status === 503 && !body.includes("error code: 1102"));
  return { kind: nobody ? "unreached" : "lost", why };
}
