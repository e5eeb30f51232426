import { z } from "zod";
import { messageOf } from "#core/errors.ts";
import { createWireServer, type WireRequest, type WireResponse, type WireServer } from "#http/wire/server.ts";
import type { CondemnOutcome, OpenReport } from "#runtime/routes.ts";
import type { DrainReport } from "#ingress/reports.ts";
import type { Acceptance } from "#ingress/table.ts";
import { parseSignedTable, type SignedTable } from "#ingress/table-file.ts";

/** What the supervisor can ask of an ingress. */
export type AdminCommands = {
  offerTable: (signed: SignedTable) => Promise<Acceptance>;
  generation: () => number;
  open: (socket: string | undefined) => OpenReport;
  condemn: (socket: string, outcome: CondemnOutcome) => void;
  port: () => number;
  listenForWorker: (workerId: string) => Promise<void>;
  drain: () => Promise<DrainReport>;
  tableBytes: number;
};

/**
 * The supervisor's door, a unix socket of mode 0600:
 * `PUT /table` `{supervisor, table}`: 200 once it is in force and on disk, 409 for an older one, 400 for one that is no table.
 * `PUT /workers/<id>`: 200 once that Worker's platform socket listens; those of Workers in the table do anyway.
 * `GET /open[?socket=<path>]`: what is under way.
 * `POST /condemn` `{socket, outcome}`: that process is killed next; what breaks off there gets Cloudflare's page for it.
 * `GET /ready`, `GET /port`. `POST /drain`: 200 when everything has ended.
 */
export function createAdmin(commands: AdminCommands): WireServer {
  return createWireServer((request) => answer(request, commands));
}

async function answer(request: WireRequest, commands: AdminCommands): Promise<WireResponse> {
  const url = new URL(request.target, "http://ingress");
  switch (`${request.method} ${url.pathname}`) {
    case "PUT /table":
      return await putTable(request, commands);
    case "GET /open":
      return json(200, commands.open(url.searchParams.get("socket") ?? undefined));
    case "POST /condemn":
      return await condemn(request, commands);
    case "GET /ready":
      return json(200, { ready: true, generation: commands.generation() });
    case "GET /port":
      return json(200, { port: commands.port() });
    case "POST /drain":
      return json(200, await commands.drain());
    default:
  }
  const [, workerId] = /^\/workers\/([A-Za-z0-9_-]{1,64})$/.exec(url.pathname) ?? [];
  if (request.method !== "PUT" || workerId === undefined) return json(404, { error: "no such command" });
  await commands.listenForWorker(workerId);
  return json(200, {});
}

const condemnation = z.strictObject({
  socket: z.string(),
  outcome: z.enum(["exceededCpu", "exceededMemory"]),
});
const condemnationBytes = 4096;

async function condemn(request: WireRequest, commands: AdminCommands): Promise<WireResponse> {
  const bytes = await request.bytes(condemnationBytes);
  try {
    const { socket, outcome } = condemnation.parse(JSON.parse(bytes.toString("utf8")));
    commands.condemn(socket, outcome);
    return json(200, {});
  } catch (error) {
    return json(400, { error: messageOf(error) });
  }
}

async function putTable(request: WireRequest, commands: AdminCommands): Promise<WireResponse> {
  const bytes = await request.bytes(commands.tableBytes);
  let signed: SignedTable;
  try {
    signed = parseSignedTable(JSON.parse(bytes.toString("utf8")));
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    return json(400, { error: `not a routing table: ${reason}` });
  }
  const acceptance = await commands.offerTable(signed);
  const generation = commands.generation();
  if (acceptance === "stale") return json(409, { error: "an older table than the one in force", generation });
  return json(200, { generation });
}

function json(status: number, body: object): WireResponse {
  return { status, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}
