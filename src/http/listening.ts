import { connect } from "node:net";
import { systemCode } from "#core/errors.ts";

/** Whether somebody listens on a unix socket. A process that was killed leaves its file behind. */
export async function isListening(path: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.once("connect", () => resolve(true));
  socket.once("error", (error) => {
    const code = systemCode(error);
    if (code === "ECONNREFUSED" || code === "ENOENT") resolve(false);
    else reject(error);
  });
  return promise.finally(() => socket.destroy());
}
