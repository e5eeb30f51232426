import { ApiError, messageOf, toErrorRecord } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import type { WireHandler, WireRequest, WireResponse } from "#http/wire/server.ts";
import type { TrialRequest } from "#products/workers/deployer.ts";
import type { Supervisor } from "#runtime/supervisor.ts";

const log = createLogger("supervisor.server");

/** Bytes of a trial's description: bindings and sealed secrets, no code. */
const requestMax = 16 * 1024 * 1024;

/** Status that carries an ApiError as JSON, apart from any that HTTP itself would give. */
export const apiErrorStatus = 520;

/** What the control process and the command line ask of the supervisor, on its unix socket. */
export function supervisorHandler(supervisor: Supervisor): WireHandler {
  return async (request) => {
    try {
      return await route(supervisor, request);
    } catch (error) {
      if (error instanceof ApiError) return { status: apiErrorStatus, body: JSON.stringify(toErrorRecord(error)) };
      log.error("a request failed", { target: request.target, error });
      return { status: 500, body: messageOf(error) };
    }
  };
}

async function route(supervisor: Supervisor, request: WireRequest): Promise<WireResponse> {
  switch (`${request.method} ${request.target}`) {
    case "GET /ready":
      return { status: 200 };
    case "GET /status":
      return json(supervisor.status());
    case "POST /wake": {
      const wanted = (await body(request)) as { target?: string; host?: string };
      if (wanted.host !== undefined) return json({ known: supervisor.wakePreview(wanted.host) });
      await supervisor.wakeTarget(wanted.target ?? "");
      return json({});
    }
    case "POST /log-listener": {
      const { workerId } = (await body(request)) as { workerId: string };
      await supervisor.tellListening(workerId);
      return json(null);
    }
    case "POST /settle":
      await supervisor.settle();
      return json(null);
    case "POST /d1-host": {
      const { host } = (await body(request)) as { host: number };
      await supervisor.startD1Host(host);
      return json(null);
    }
    case "POST /owner": {
      const { workerId } = (await body(request)) as { workerId: string };
      return json({ socket: await supervisor.wakeOwner(workerId) });
    }
    case "POST /on-demand": {
      const { name } = (await body(request)) as { name: string };
      await supervisor.startOnDemand(name);
      return json(null);
    }
    case "POST /compatibility": {
      const { date, flags } = (await body(request)) as { date: string; flags: string[] };
      return json({ refusal: await supervisor.refusesCompatibility(date, flags) });
    }
    case "POST /trial": {
      const { version, secrets, stagingFolder } = (await body(request)) as TrialRequest;
      const opened = new Map(Object.entries(secrets).map(([name, text]) => [name, Buffer.from(text, "base64")]));
      const startable = { version, secrets: opened, ...(stagingFolder === undefined ? {} : { stagingFolder }) };
      return json(await supervisor.trial(startable, request.signal));
    }
    default:
      return { status: 404 };
  }
}

async function body(request: WireRequest): Promise<unknown> {
  return JSON.parse((await request.bytes(requestMax)).toString("utf8"));
}

function json(value: unknown): WireResponse {
  return { status: 200, headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
}
