import { sleep } from "#core/deadline.ts";
import { createLogger } from "#core/log.ts";
import { ApiError, fromErrorRecord, messageOf, systemCode, type ErrorRecord } from "#core/errors.ts";
import type { Deployer, TrialOutcome } from "#products/workers/deployer.ts";
import { askSocket } from "#runtime/probe.ts";
import { apiErrorStatus } from "#runtime/supervisor-server.ts";

const log = createLogger("supervisor.client");

const limits = {
  /** The supervisor has shorter deadlines of its own; this one is for a supervisor that hangs. */
  answerMs: 60_000,
  /** How long a supervisor that is being restarted is waited for. */
  restartMs: 5000,
  /** How long somebody who begins to listen waits until processes know. */
  tellMs: 2000,
};

export type SupervisorClient = Deployer & {
  startD1Host(host: number): Promise<void>;
  /** Resolves once AI Gateway answers. */
  startOnDemand(name: string): Promise<void>;
  /** Resolves once the process of a Worker's objects answers: where it is asked about Workflows. */
  wakeOwner(workerId: string): Promise<string>;
  /** Somebody has begun to listen to a Worker's logs: its processes are told. */
  tellListening(workerId: string): Promise<void>;
};

/** The supervisor as the control process sees it. */
export function supervisorClient(socket: string): SupervisorClient {
  const never = new AbortController().signal;
  const ask = async (method: string, path: string, body: unknown, signal: AbortSignal = never): Promise<unknown> => {
    const end = performance.now() + limits.restartMs;
    for (;;) {
      try {
        const answer = await askSocket(socket, {
          method,
          path,
          body: JSON.stringify(body),
          ms: limits.answerMs,
          signal,
        });
        if (answer.status === apiErrorStatus) throw fromErrorRecord(JSON.parse(answer.body) as ErrorRecord);
        if (answer.status !== 200) throw new Error(`the supervisor answered ${answer.status} ${answer.body}`);
        return JSON.parse(answer.body);
      } catch (error) {
        const code = systemCode(error);
        // Nothing was sent: nobody listens. Other failures may have had an effect and are not repeated.
        if (code !== "ECONNREFUSED" && code !== "ENOENT") throw error;
        if (performance.now() > end) throw supervisorDown(error);
        await sleep(50, signal);
      }
    }
  };
  return {
    trial: async (request, signal) => (await ask("POST", "/trial", request, signal)) as TrialOutcome,
    async refusesCompatibility(date, flags) {
      const { refusal } = (await ask("POST", "/compatibility", { date, flags })) as { refusal?: string };
      return refusal;
    },
    async settle() {
      await ask("POST", "/settle", null);
    },
    async tellListening(workerId) {
      const told = { method: "POST", path: "/log-listener", body: JSON.stringify({ workerId }), ms: limits.tellMs };
      await askSocket(socket, told).catch((error: unknown) =>
        log.warn("processes learn of a listener with their next batch", { workerId, error: messageOf(error) }),
      );
    },
    async wakeOwner(workerId) {
      const answer = (await ask("POST", "/owner", { workerId })) as { socket: string };
      return answer.socket;
    },
    async startOnDemand(name) {
      await ask("POST", "/on-demand", { name });
    },
    async startD1Host(host) {
      await ask("POST", "/d1-host", { host });
    },
  };
}

/** Ours: on Cloudflare there is no supervisor to be down. */
function supervisorDown(cause: unknown): ApiError {
  return new ApiError(
    503,
    10504,
    "Nothing can be deployed while the supervisor is down. What runs goes on. Start it again: solum up",
    { cause },
  );
}
