import { Agent, request, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { sleep } from "#core/deadline.ts";
import { messageOf, systemCode } from "#core/errors.ts";
import { workflowErrors } from "#products/workflows/errors.ts";
import { workflowKey } from "#products/workflows/key.ts";
import type { Workflow } from "#products/workflows/schema.ts";
import { askPath, movedStatus, type AskFailure } from "#products/durable-objects/broker-protocol.ts";
import type { WorkflowRequest } from "#products/workflows/workflow-protocol.ts";

const limits = {
  /** How long a process that makes room for another is asked again. */
  movedMs: 10_000,
  movedPauseMs: 20,
  answerMs: 60_000,
  sockets: 64,
};

/** What a Workflow's process answers, by what it is asked. */
export interface Instances {
  /** Fails with the API's errors. */
  ask<T>(workflow: Workflow, wanted: WorkflowRequest): Promise<T>;
  close(): void;
}

/** `wake`: has the process that has a Worker's Workflows started, and says where it is asked. */
export function workflowInstances(wake: (workerId: string) => Promise<string>): Instances {
  const agent = new Agent({ keepAlive: true, maxSockets: limits.sockets });

  async function post(socketPath: string, path: string, body: string): Promise<{ status: number; body: string }> {
    const outgoing = request({
      socketPath,
      agent,
      path,
      method: "POST",
      headers: { host: "workflows", "content-length": Buffer.byteLength(body) },
      signal: AbortSignal.timeout(limits.answerMs),
    });
    outgoing.on("error", () => {}); // Whoever waits for the answer is told; an unheard event would end the process.
    const answered = once(outgoing, "response");
    outgoing.end(body);
    const [response] = (await answered) as [IncomingMessage];
    return { status: response.statusCode ?? 0, body: await text(response) };
  }

  return {
    close: () => agent.destroy(),
    async ask(workflow, wanted) {
      const path = askPath + workflowKey(workflow.id);
      const body = JSON.stringify(wanted);
      const end = performance.now() + limits.movedMs;
      for (;;) {
        try {
          const answer = await post(await wake(workflow.workerId), path, body);
          if (answer.status === 200) return JSON.parse(answer.body);
          if (answer.status !== movedStatus) throw failureOf(answer.body);
        } catch (error) {
          // Nobody listened: nothing has begun. Whatever else goes wrong may have had an effect.
          const code = systemCode(error);
          if (code !== "ECONNREFUSED" && code !== "ENOENT") throw toApiError(error);
          if (performance.now() > end) throw toApiError(error);
        }
        if (performance.now() > end) throw workflowErrors.unavailable("its process makes room for another");
        await sleep(limits.movedPauseMs);
      }
    },
  };
}

function toApiError(error: unknown): unknown {
  return error instanceof Error && "status" in error ? error : workflowErrors.unavailable(messageOf(error));
}

/** What the engine threw, as the API says it. */
function failureOf(body: string) {
  const { message } = JSON.parse(body) as AskFailure;
  const code = /\((instance\.[a-z_]+)\)/.exec(message)?.[1] ?? /\binstance\.[a-z_]+/.exec(message)?.[0];
  switch (code) {
    case "instance.not_found":
      return workflowErrors.instanceNotFound();
    case "instance.already_exists":
      return workflowErrors.instanceExists();
    case "instance.invalid_id":
      return workflowErrors.instanceInvalidId();
    case "instance.params_too_large":
      return workflowErrors.valueTooLarge("params");
    case "instance.payload_too_large":
      return workflowErrors.valueTooLarge("payload");
    case undefined:
      return /has invalid id/.test(message) ? workflowErrors.instanceInvalidId() : workflowErrors.unavailable(message);
    default:
      return workflowErrors.instanceCannot(`${code.slice("instance.".length)}: ${message.replace(/^.*?\) /, "")}`);
  }
}
