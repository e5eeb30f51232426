import type { Socket } from "node:net";

/** Writes to `socket` so that what is written in one turn goes out in one system call. */
export function outbox(socket: Socket): (bytes: Buffer) => void {
  let corked = false;
  return (bytes) => {
    if (!corked) {
      corked = true;
      socket.cork();
      process.nextTick(() => {
        corked = false;
        socket.uncork();
      });
    }
    socket.write(bytes);
  };
}
