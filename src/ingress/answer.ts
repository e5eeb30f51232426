import { bodyReader, type BodyReader } from "#http/wire/body.ts";
import { parseResponseHead, WireError, type RequestHead, type ResponseHead } from "#http/wire/head.ts";
import type { Admission } from "#ingress/door.ts";
import { HeadReader } from "#ingress/head-reader.ts";
import {
  clientHead,
  exceptionBody,
  isExceptionHead,
  planResponse,
  switchingHead,
  type ResponsePlan,
} from "#ingress/response-head.ts";

/** What becomes of an answer as it is read. */
export interface AnswerSink {
  /** The final head is here; nothing is sent yet. */
  answerComes(): void;
  /** Whether the client's connection may carry another request after this answer, as far as the request's side goes. */
  mayKeepClient(upstreamKeeps: boolean): boolean;
  sendHead(head: string, body: Buffer | undefined): void;
  send(bytes: Buffer): void;
  /** All is sent. `reusable`: the process's connection can carry another request. */
  answerEnds(reusable: boolean, closeClient: boolean): void;
  /** The Worker threw. */
  answerIsException(): void;
  /** Both connections become a pipe. */
  switchProtocols(head: string, rest: Buffer): void;
}

/** What the answer is to. `bare`: the client wants bodies without chunks. */
type Asked = { head: RequestHead; admission: Admission; bare: boolean };

export type AnswerLimits = { headBytes: number; headerFields: number };

/** Reads what a process sends for one request, and says what the client gets. Throws a WireError where it cannot be understood. */
export class Answer {
  readonly #sink: AnswerSink;
  readonly #request: RequestHead;
  readonly #admission: Admission;
  readonly #bare: boolean;
  readonly #limits: AnswerLimits;
  readonly #date: () => string;
  readonly #heads: HeadReader;
  #body: BodyReader | undefined;
  #plan: ResponsePlan = { dechunk: false, close: true };
  #head: ResponseHead | undefined;
  /** Set while the head looks like that of an exception and its body is awaited. */
  #doubt: { head: ResponseHead; text: string; body: Buffer } | undefined;

  constructor(sink: AnswerSink, asked: Asked, limits: AnswerLimits, date: () => string) {
    this.#sink = sink;
    this.#request = asked.head;
    this.#admission = asked.admission;
    this.#bare = asked.bare;
    this.#limits = limits;
    this.#date = date;
    this.#heads = new HeadReader(limits.headBytes);
  }

  /** Whether any byte has come. */
  get touched(): boolean {
    return this.#heads.begun || this.#doubt !== undefined || this.#body !== undefined;
  }

  /** Whether the client has got a part of it. */
  get begun(): boolean {
    return this.#body !== undefined;
  }

  /** Whether the client can tell by itself that something is missing at the end. */
  get framed(): boolean {
    return !this.#endsWithConnection && !this.#plan.dechunk;
  }

  read(bytes: Buffer): void {
    if (this.#body) this.#pass(this.#body, bytes, 0);
    else if (this.#doubt) this.#resolveDoubt(this.#doubt, bytes);
    else this.#readHeads(bytes);
  }

  /** The process closed its connection in order. False when that is not where this answer ends. */
  upstreamEnded(): boolean {
    if (!this.begun || !this.#endsWithConnection) return false;
    this.#sink.answerEnds(false, true);
    return true;
  }

  get #endsWithConnection(): boolean {
    return this.#head?.framing.kind === "close";
  }

  #readHeads(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) {
      const end = this.#heads.take(bytes, from);
      if (end < 0) return;
      const text = this.#heads.text;
      const head = parseResponseHead(text, {
        fieldsMax: this.#limits.headerFields,
        bodyless: this.#request.method === "HEAD",
      });
      if (head.status === 101) return this.#switch(text, head, bytes.subarray(end));
      if (head.status >= 200) return this.#decide(text, head, bytes, end);
      // What was interim is done with: the client was told to continue by us, and other hints are not passed on.
      from = end;
    }
  }

  #decide(text: string, head: ResponseHead, bytes: Buffer, from: number): void {
    this.#sink.answerComes();
    if (!this.#admission.explains || !isExceptionHead(head)) return this.#begin(text, head, bytes, from);
    if (this.#request.method === "HEAD") return this.#sink.answerIsException();
    this.#doubt = { head, text, body: Buffer.alloc(0) };
    this.#resolveDoubt(this.#doubt, bytes.subarray(from));
  }

  #resolveDoubt(doubt: { head: ResponseHead; text: string; body: Buffer }, bytes: Buffer): void {
    doubt.body = Buffer.concat([doubt.body, bytes]);
    if (doubt.body.equals(exceptionBody)) return this.#sink.answerIsException();
    const soFar = doubt.body.length;
    if (soFar < exceptionBody.length && exceptionBody.subarray(0, soFar).equals(doubt.body)) return;
    this.#doubt = undefined;
    this.#begin(doubt.text, doubt.head, doubt.body, 0);
  }

  #begin(text: string, head: ResponseHead, bytes: Buffer, from: number): void {
    const keeps = this.#sink.mayKeepClient(head.keepAlive);
    const plan = planResponse(this.#request, head, { mayKeep: keeps, bare: this.#bare });
    const ours = clientHead(text, head, this.#request, plan, this.#stamp());
    const body = bodyReader(head.framing);
    this.#head = head;
    this.#plan = plan;
    this.#body = body;
    if (plan.dechunk || from === bytes.length || body.done) {
      this.#sink.sendHead(ours, undefined);
      if (body.done) this.#end(from < bytes.length);
      else if (from < bytes.length) this.#pass(body, bytes, from);
      return;
    }
    const end = body.read(bytes, from);
    this.#sink.sendHead(ours, bytes.subarray(from, end));
    if (body.done) this.#end(end < bytes.length);
  }

  #pass(body: BodyReader, bytes: Buffer, from: number): void {
    let end: number;
    if (this.#plan.dechunk) end = body.read(bytes, from, (content) => this.#sink.send(content));
    else {
      end = body.read(bytes, from);
      this.#sink.send(from === 0 && end === bytes.length ? bytes : bytes.subarray(from, end));
    }
    if (body.done) this.#end(end < bytes.length);
  }

  /** `surplus`: the process sent more than it announced; such a connection is not used again. */
  #end(surplus: boolean): void {
    this.#sink.answerEnds(!surplus && (this.#head?.keepAlive ?? false), this.#plan.close);
  }

  #switch(text: string, head: ResponseHead, rest: Buffer): void {
    if (!this.#admission.upgrade) throw new WireError(502, "a switch of protocols that nobody asked for");
    this.#sink.answerComes();
    this.#sink.switchProtocols(switchingHead(text, head, this.#stamp()), rest);
  }

  #stamp() {
    const { ray, dressed, by } = this.#admission;
    if (!dressed) return undefined;
    // s3cmd signs what it read of an object when it changes the object's headers, and this one would not arrive as it was signed.
    return { ray: by === "platform" ? undefined : ray, date: this.#date() };
  }
}
