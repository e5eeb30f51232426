import { malformed, Message, type Struct } from "#ingress/rpc/message.ts";

/** The messages of Cap'n Proto's RPC protocol that are passed on, by their number (`rpc.capnp`). */
export const kinds = { call: 2, return: 3, finish: 4, resolve: 5, release: 6, bootstrap: 8, disembargo: 13 } as const;
type Kind = (typeof kinds)[keyof typeof kinds];

/**
 * A number that means something in one of the tables of a connection. `own`: of the message's sender, who gave it out; `peer`:
 * of its receiver.
 */
export type Reference = { space: "ownQuestion" | "ownExport" | "peerQuestion" | "peerExport"; at: number; id: number };

/** To what a call or a disembargo is addressed. */
export type Address = { kind: "export" | "answer"; id: number; data: number };

/** An RPC message with the places of all the numbers in it that belong to its connection. */
export type Envelope = {
  kind: Kind;
  bytes: Buffer;
  /** The question of a call, return, finish or bootstrap, the export of a resolve or release. */
  id: number;
  target: Address | undefined;
  /** Whether the target is the binding itself, which we stand for. */
  ours: boolean;
  references: Reference[];
  /** What the message hands over that its sender hosts. A `promise` is followed by a resolve. */
  handsOver: { id: number; promise: boolean }[];
  /** How many of a release. */
  count: number;
  /** A return that no finish follows, or a call that no return need follow. */
  flag: boolean;
};

/** Reads a message, or throws when it is none that two workerds send each other. */
export function readEnvelope(bytes: Buffer): Envelope {
  const message = new Message(bytes);
  const { root } = message;
  const kind = message.uint16(root, 0);
  if (!isKind(kind)) throw malformed(`an RPC message of kind ${kind}`);
  const body = message.struct(root, 0);
  if (!body || body.dataBytes < 8) throw malformed("an RPC message without a body");
  const id = message.uint32(body, 0);
  const envelope: Envelope = {
    kind,
    bytes,
    id,
    target: undefined,
    ours: false,
    references: [],
    handsOver: [],
    count: 0,
    flag: false,
  };
  const refer = (space: Reference["space"], at: number) =>
    envelope.references.push({ space, at, id: bytes.readUInt32LE(at) });
  const tag = message.uint16(body, 6);
  switch (kind) {
    case kinds.bootstrap:
    case kinds.finish:
      refer("ownQuestion", body.data);
      break;
    case kinds.call:
      refer("ownQuestion", body.data);
      if (tag > 1) throw malformed("results for a third party");
      // `onlyPromisePipeline`
      envelope.flag = (message.uint32(body, 16) & 4) !== 0;
      envelope.target = readTarget(message, message.struct(body, 0), envelope);
      readPayload(message, message.struct(body, 1), envelope);
      break;
    case kinds.return:
      refer("peerQuestion", body.data);
      envelope.flag = (message.uint32(body, 4) & 2) !== 0;
      if (tag === 0) readPayload(message, message.struct(body, 0), envelope);
      else if (tag === 4 && body.dataBytes >= 16) refer("ownQuestion", body.data + 8);
      else if (tag > 3) throw malformed("results from a third party");
      break;
    case kinds.resolve:
      refer("ownExport", body.data);
      if (message.uint16(body, 4) === 0) readDescriptor(message, message.struct(body, 0), envelope);
      break;
    case kinds.release:
      refer("peerExport", body.data);
      envelope.count = message.uint32(body, 4);
      break;
    case kinds.disembargo:
      if (message.uint16(body, 4) > 1) throw malformed("a disembargo of a third party");
      envelope.target = readTarget(message, message.struct(body, 0), envelope);
  }
  return envelope;
}

function isKind(kind: number): kind is Kind {
  return (Object.values(kinds) as number[]).includes(kind);
}

function readTarget(message: Message, target: Struct | undefined, { references }: Envelope): Address {
  if (!target || target.dataBytes < 8) throw malformed("a message without a target");
  const tag = message.uint16(target, 4);
  if (tag === 0) {
    const id = message.uint32(target, 0);
    references.push({ space: "peerExport", at: target.data, id });
    return { kind: "export", id, data: target.data };
  }
  if (tag !== 1) throw malformed("an unknown target");
  const id = readAnswer(message, message.struct(target, 0), references);
  return { kind: "answer", id, data: target.data };
}

function readAnswer(message: Message, answer: Struct | undefined, references: Reference[]): number {
  if (!answer || answer.dataBytes < 8) throw malformed("no answer to wait for");
  const id = message.uint32(answer, 0);
  references.push({ space: "ownQuestion", at: answer.data, id });
  return id;
}

function readPayload(message: Message, payload: Struct | undefined, envelope: Envelope): void {
  for (const descriptor of message.structs(payload, 1)) readDescriptor(message, descriptor, envelope);
}

function readDescriptor(message: Message, descriptor: Struct | undefined, envelope: Envelope): void {
  const tag = message.uint16(descriptor, 0);
  if (!descriptor || tag === 0) return;
  if (descriptor.dataBytes < 8) throw malformed("a capability without a number");
  const id = message.uint32(descriptor, 4);
  const { references, handsOver } = envelope;
  const at = descriptor.data + 4;
  if (tag === 1 || tag === 2) {
    references.push({ space: "ownExport", at, id });
    handsOver.push({ id, promise: tag === 2 });
  } else if (tag === 3) references.push({ space: "peerExport", at, id });
  else if (tag === 4) readAnswer(message, message.struct(descriptor, 0), references);
  else throw malformed("a capability of a third party");
}
