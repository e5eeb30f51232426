import { lookup } from "node:dns/promises";
import { connect, isIP } from "node:net";
import { z } from "zod";
import { readCapability } from "#core/capability.ts";
import { DeadlineError, withDeadline } from "#core/deadline.ts";
import { messageOf, systemCode } from "#core/errors.ts";
import type { WireHandler } from "#http/wire/server.ts";
import { isOwnAddress, refusalOf, type EgressRules } from "#runtime/egress-config.ts";
import { routerCapabilities } from "#runtime/router-config.ts";
import { bindHeader } from "#core/binding-piece.ts";

/** Path on a Worker's log socket at which its router asks why a `fetch()` failed. */
export const egressExplainPath = "/egress/explain";

const limits = {
  /** Name lookup and trial connection together. */
  explainMs: 2000,
  questionBytes: 4096,
};

/** What a router asks about: the host and port of a `fetch()` that failed. */
export type EgressQuestion = { host: string; port: number; tls: boolean };
/** `own`: the host is an address of this machine. `reason`: words that go after "fetch to … failed:". */
export type EgressExplanation = { own: boolean; reason: string };

const question = z.object({ host: z.string().max(255), port: z.number().int().min(0).max(65535), tls: z.boolean() });

/**
 * Answers `POST /egress/explain` on the log socket of the Worker `workerId`. It connects only to what the Worker itself could
 * connect to, so that a question opens no way that the rules close.
 */
export function egressExplainHandler(options: {
  capabilityKey: Buffer;
  workerId: string;
  rules: EgressRules;
}): WireHandler {
  return async (request) => {
    const capability = readCapability(options.capabilityKey, request.header(bindHeader) ?? "");
    if (capability?.kind !== routerCapabilities.control || capability.scope !== options.workerId)
      return { status: 403 };
    const asked = question.safeParse(parseJson(await request.bytes(limits.questionBytes)));
    if (!asked.success) return { status: 400 };
    return { status: 200, body: JSON.stringify(await explainEgress(asked.data, options.rules)) };
  };
}

/** Why connecting to `question` fails, as far as can be found out within 2 s. */
async function explainEgress(asked: EgressQuestion, rules: EgressRules): Promise<EgressExplanation> {
  try {
    return await withDeadline(limits.explainMs, "looking into it", async (signal) => explain(asked, rules, signal));
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    return { own: false, reason: `no answer within ${limits.explainMs} ms` };
  }
}

async function explain(asked: EgressQuestion, rules: EgressRules, signal: AbortSignal): Promise<EgressExplanation> {
  const host = asked.host.replaceAll(/^\[|\]$/g, "");
  let addresses: string[];
  try {
    addresses = isIP(host) ? [host] : (await lookup(host, { all: true })).map(({ address }) => address);
  } catch (error) {
    return { own: false, reason: `the name ${host} does not resolve (${systemCode(error) ?? messageOf(error)})` };
  }
  const own = addresses.some((address) => isOwnAddress(address, rules));
  const refusals = addresses.map((address) => refusalOf(address, rules));
  const open = addresses.find((_, index) => refusals[index] === undefined);
  if (open === undefined) return { own, reason: `refused, ${refusals[0] ?? "the name has no address"}` };
  const failure = await connectionFailure(open, asked.port, signal);
  if (failure) return { own, reason: `${open} port ${asked.port}: ${failure}` };
  const spoke = asked.tls ? "the TLS handshake or the answer failed" : "it closed the connection without an answer";
  return { own, reason: `${open} port ${asked.port} accepts connections, but ${spoke}` };
}

/** Undefined when `address` takes a connection. */
async function connectionFailure(address: string, port: number, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, signal });
    const end = (failure: string | undefined) => {
      socket.destroy();
      resolve(failure);
    };
    socket.on("connect", () => end(undefined));
    socket.on("error", (error) => end(wordsFor[systemCode(error) ?? ""] ?? messageOf(error)));
  });
}

const wordsFor: Record<string, string> = {
  ECONNREFUSED: "connection refused",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no route to the network",
  ECONNRESET: "connection reset",
  ETIMEDOUT: "connection timed out",
};

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}
