import { limits } from "#products/r2/schema.ts";
import type { Bytes } from "#products/r2/store.ts";

/** How long a body that was opened waits for its reader to begin; after that its files are let go. */
const beginMs = 60_000;
const pieceBytes = 64 * 1024;

/** `body` whole when it is short enough to be kept in the database, else as a stream from its first byte. */
export async function upToInline(body: Bytes): Promise<Bytes> {
  if (body instanceof Uint8Array) return body.length <= limits.inlineBytes ? body : piecesOf(body);
  const iterator = body[Symbol.asyncIterator]();
  const pieces: Uint8Array[] = [];
  let size = 0;
  while (size <= limits.inlineBytes) {
    const { value, done } = await iterator.next();
    if (done) return pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces, size);
    pieces.push(value);
    size += value.length;
  }
  return goOn(pieces, iterator);
}

/** Bytes as a stream of pieces that are small enough to be hashed without holding up the event loop. */
export function piecesOf(body: Bytes): AsyncIterable<Uint8Array> {
  return body instanceof Uint8Array ? cut(body) : body;
}

// oxlint-disable-next-line require-await -- An async generator is what makes these bytes a stream.
async function* cut(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

async function* goOn(first: Uint8Array[], iterator: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  try {
    yield* first;
    for (;;) {
      const { value, done } = await iterator.next();
      if (done) return;
      yield value;
    }
  } finally {
    await iterator.return?.();
  }
}

/**
 * `pieces`, of which the first is read now: what is wrong with it is known before an answer begins. `release` is called once,
 * when the reader ends, fails, or has not begun in time; a reader that is dropped before it began would else be waited for
 * for ever.
 */
export async function heldBody(
  pieces: AsyncGenerator<Uint8Array, void>,
  release: () => void,
): Promise<AsyncIterable<Uint8Array>> {
  let first: IteratorResult<Uint8Array, void>;
  try {
    first = await pieces.next();
  } catch (error) {
    release();
    throw error;
  }
  let state: "waiting" | "read" | "given up" = "waiting";
  const end = async () => {
    await pieces.return();
    release();
  };
  const timer = setTimeout(() => {
    state = "given up";
    void end();
  }, beginMs).unref();
  return {
    async *[Symbol.asyncIterator]() {
      if (state !== "waiting") throw new Error(`a body that was ${state} already`);
      state = "read";
      clearTimeout(timer);
      try {
        if (!first.done) yield first.value;
        yield* pieces;
      } finally {
        await end();
      }
    },
  };
}
