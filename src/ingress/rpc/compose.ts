import { kinds } from "#ingress/rpc/envelope.ts";

/** RPC messages that we send ourselves, as workerd writes them (`rpc.capnp`). */

export function bootstrap(question: number): Buffer {
  return message(kinds.bootstrap, { data: [[question, 0]], pointers: [undefined] });
}

export function finish(question: number, options: { releaseResults: boolean }): Buffer {
  // `releaseResultCaps` is true by default, and so stored flipped.
  return message(kinds.finish, { data: [[question, options.releaseResults ? 0 : 1]], pointers: [] });
}

export function release(exported: number, count: number): Buffer {
  return message(kinds.release, { data: [[exported, count]], pointers: [] });
}

/** The answer to a bootstrap: the capability `exported`, hosted by us. */
export function returnCapability(question: number, exported: number): Buffer {
  const payload: Struct = { data: [], pointers: [{ capability: 0 }, { descriptors: [exported] }] };
  return message(kinds.return, { data: [[question, keepParameters], none], pointers: [payload] });
}

const exceptionTypes = { failed: 0, overloaded: 1, disconnected: 2 } as const;
export type ExceptionType = keyof typeof exceptionTypes;

export function returnException(question: number, type: ExceptionType, reason: string): Buffer {
  const exception: Struct = { data: [[0, exceptionTypes[type]]], pointers: [{ text: reason }, undefined] };
  return message(kinds.return, { data: [[question, keepParameters | isException], none], pointers: [exception] });
}

/** Asks workerd's debug port (`WorkerdDebugPort` of `worker-interface.capnp`), which is the answer to `port`, for an entrypoint. */
export function getEntrypoint(
  question: number,
  port: number,
  wanted: { service: string; entrypoint: string | undefined; props: unknown },
): Buffer {
  const { service, entrypoint, props } = wanted;
  const target: Struct = { data: [[0, answerTarget]], pointers: [{ data: [[port, 0]], pointers: [undefined] }] };
  const content: Struct = {
    data: [],
    pointers: [
      { text: service },
      entrypoint === undefined ? undefined : { text: entrypoint },
      props === undefined
        ? undefined
        : {
            data: [[jsonValue, 0], none],
            pointers: [{ text: JSON.stringify(props) }, undefined, undefined, undefined],
          },
    ],
  };
  return message(kinds.call, {
    data: [[question, 0], debugPortInterface, none],
    pointers: [target, { data: [], pointers: [content, undefined] }, undefined],
  });
}

/** Low and high half of a word. */
type Word = readonly [number, number];
type Struct = { data: readonly Word[]; pointers: readonly (Node | undefined)[] };
type Node = Struct | { text: string } | { capability: number } | { descriptors: readonly number[] };

const none: Word = [0, 0];
/** `releaseParamCaps` of a return, whose default is true: false. */
const keepParameters = 1;
/** Tag of a return's union, in the upper half of its first word. */
const isException = 1 << 16;
/** Tag of a target that is the answer to a question. */
const answerTarget = 1;
/** Tag of a `Frankenvalue` that is JSON. */
const jsonValue = 1;
const debugPortInterface: Word = [0x7aea7327, 0xea5b0b48];
const senderHosted = 1;

function message(kind: number, body: Struct): Buffer {
  const words: Word[] = [none];
  put(words, 0, { data: [[kind, 0]], pointers: [body] });
  const bytes = Buffer.alloc(8 + words.length * 8);
  bytes.writeUInt32LE(words.length, 4);
  for (const [index, [low, high]] of words.entries()) {
    bytes.writeUInt32LE(low >>> 0, 8 + index * 8);
    bytes.writeUInt32LE(high >>> 0, 12 + index * 8);
  }
  return bytes;
}

/** Appends `node` and points to it from the word at `pointer`. */
function put(words: Word[], pointer: number, node: Node | undefined): void {
  if (node === undefined) return;
  const at = words.length;
  const offset = (at - pointer - 1) << 2;
  if ("capability" in node) words[pointer] = [3, node.capability];
  else if ("text" in node) {
    const bytes = Buffer.from(`${node.text}\0`, "utf8");
    const padded = Buffer.alloc(Math.ceil(bytes.length / 8) * 8);
    bytes.copy(padded);
    for (let i = 0; i < padded.length; i += 8) words.push([padded.readUInt32LE(i), padded.readUInt32LE(i + 4)]);
    words[pointer] = [offset | 1, (bytes.length << 3) | 2];
  } else if ("descriptors" in node) {
    words.push([node.descriptors.length << 2, sizes(1, 1)]);
    for (const exported of node.descriptors) words.push([senderHosted, exported], none);
    words[pointer] = [offset | 1, ((node.descriptors.length * 2) << 3) | 7];
  } else {
    words.push(...node.data, ...node.pointers.map(() => none));
    words[pointer] = [offset, sizes(node.data.length, node.pointers.length)];
    for (const [index, to] of node.pointers.entries()) put(words, at + node.data.length + index, to);
  }
}

function sizes(dataWords: number, pointers: number): number {
  return dataWords | (pointers << 16);
}
