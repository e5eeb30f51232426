import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { json } from "node:stream/consumers";
import { isListening } from "#http/listening.ts";

/** What others ask of the process of vectors. */
export interface VectorIndexes {
  /** The id of the account's index of that name. */
  findId(accountId: string, name: string): Promise<string | undefined>;
}

/** Where that process answers it. */
export const findIdPath = "/index-id";

export function remoteVectorIndexes(socket: string, start: () => Promise<void>): VectorIndexes {
  return {
    async findId(accountId, name) {
      if (!(await isListening(socket))) await start();
      const asked = new URLSearchParams({ account: accountId, name });
      const outgoing = request({ socketPath: socket, path: `${findIdPath}?${asked.toString()}` });
      const answered = once(outgoing, "response");
      outgoing.end();
      const [response] = (await answered) as [IncomingMessage];
      const { id } = (await json(response)) as { id?: string };
      return id;
    },
  };
}
