import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { request, type IncomingMessage } from "node:http";
import { json } from "node:stream/consumers";
import type { Instance } from "#cli/instance.ts";
import { systemCode, UserError } from "#core/errors.ts";
import { dataLayout, runtimeLayout } from "#core/layout.ts";

/** An answer of the v4 API, asked on its unix socket: no name to resolve, no proxy between. `path` is below the account. */
export async function askApi(instance: Instance, path: string, signal?: AbortSignal): Promise<IncomingMessage> {
  const outgoing = request({
    socketPath: runtimeLayout(instance.runtime).control,
    path: `/client/v4/accounts/${instance.accountId}${path}`,
    headers: { host: new URL(instance.url).host, authorization: `Bearer ${await readToken(instance)}` },
    ...(signal ? { signal } : {}),
  });
  outgoing.end();
  let answer: IncomingMessage;
  try {
    [answer] = (await once(outgoing, "response")) as [IncomingMessage];
  } catch (error) {
    if (systemCode(error) === "ECONNREFUSED" || systemCode(error) === "ENOENT")
      throw new UserError("The control process is restarting. Try again.");
    throw error;
  }
  if (answer.statusCode === 200) return answer;
  const { errors } = (await json(answer)) as { errors: { code: number; message: string }[] };
  throw new UserError(errors.map(({ code, message }) => `${message} [code: ${code}]`).join("\n"));
}

/** The `result` of an answer of the API. */
export async function askResult<T>(instance: Instance, path: string): Promise<T> {
  const { result } = (await json(await askApi(instance, path))) as { result: T };
  return result;
}

/** The command line's own API token. */
export async function readToken(instance: Instance): Promise<string> {
  return (await readFile(dataLayout(instance.data).token, "utf8")).trim();
}
