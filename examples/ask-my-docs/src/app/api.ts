import {
  answerHeaders,
  type Account,
  type ArchiveImport,
  type Document,
  type DocumentLink,
  type DocumentList,
  type ErrorBody,
  type FeatureCost,
  type Note,
  type NoteSummary,
  type Question,
} from "../shared/api.ts";

/** What the Worker answers when it cannot do something. Its message is written for people. */
export class ApiError extends Error {
  readonly code: string;
  readonly field: string | undefined;

  constructor(code: string, message: string, field?: string) {
    super(message);
    this.code = code;
    this.field = field;
  }
}

type Credentials = { email: string; password: string };
type NoteText = { title: string; body: string };

export const api = {
  session: () => request<Account | null>("GET", "/session"),
  signUp: (credentials: Credentials) => request<Account>("POST", "/account", credentials),
  signIn: (credentials: Credentials) => request<Account>("POST", "/session", credentials),
  signOut: () => request<void>("DELETE", "/session"),

  documents: (signal: AbortSignal) => request<DocumentList>("GET", "/documents", undefined, signal),
  document: (id: string, signal: AbortSignal) => request<Document>("GET", `/documents/${id}`, undefined, signal),
  renameDocument: (id: string, name: string) => request<Document>("PATCH", `/documents/${id}`, { name }),
  deleteDocument: (id: string) => request<void>("DELETE", `/documents/${id}`),
  linkToDocument: (id: string) => request<DocumentLink>("POST", `/documents/${id}/link`),
  archiveImport: (id: string, signal: AbortSignal) =>
    request<ArchiveImport>("GET", `/imports/${id}`, undefined, signal),
  documentAddress: (id: string) => `/api/documents/${id}/file`,

  costs: (signal: AbortSignal) => request<FeatureCost[]>("GET", "/costs", undefined, signal),

  notes: (search: string, signal: AbortSignal) =>
    request<NoteSummary[]>("GET", `/notes?${new URLSearchParams({ search })}`, undefined, signal),
  note: (id: string, signal?: AbortSignal) => request<Note>("GET", `/notes/${id}`, undefined, signal),
  createNote: (note: NoteText) => request<Note>("POST", "/notes", note),
  saveNote: (id: string, note: NoteText & { revision: number }) => request<Note>("PUT", `/notes/${id}`, note),
  deleteNote: (id: string) => request<void>("DELETE", `/notes/${id}`),
};

type OnProgress = (sent: number) => void;

export function upload(file: File, onProgress: OnProgress, signal: AbortSignal): Promise<Document> {
  return sendFile("/documents", file, onProgress, signal);
}

/** Sends an archive, whose files become documents later. */
export function uploadArchive(file: File, onProgress: OnProgress, signal: AbortSignal): Promise<ArchiveImport> {
  return sendFile("/imports", file, onProgress, signal);
}

/** Sends one file. `fetch` cannot tell how far an upload is, so this is an XMLHttpRequest. */
function sendFile<Answer>(path: string, file: File, onProgress: OnProgress, signal: AbortSignal): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const sending = new XMLHttpRequest();
  sending.open("POST", `/api${path}?${new URLSearchParams({ name: file.name })}`);
  sending.setRequestHeader("content-type", file.type || "application/octet-stream");
  sending.responseType = "json";
  sending.upload.onprogress = ({ loaded }) => onProgress(loaded);
  sending.onload = () => (sending.status < 400 ? resolve(sending.response) : reject(errorOf(sending.response)));
  sending.onerror = () => reject(unreachable());
  sending.onabort = () => reject(signal.reason);
  signal.addEventListener("abort", () => sending.abort());
  sending.send(file);
  return promise;
}

export interface ComingAnswer {
  model: string;
  isFromCache: boolean;
  /** The pieces of its text, as they come. */
  pieces: ReadableStream<string>;
}

/** Asks about a document. An answer may take its time, so only `signal` ends the wait. */
export async function askQuestion(question: Question, signal: AbortSignal): Promise<ComingAnswer> {
  const answer = await fetch("/api/questions", {
    method: "POST",
    body: JSON.stringify(question),
    headers: { "content-type": "application/json" },
    signal,
  }).catch((error: unknown) => {
    throw signal.aborted ? error : unreachable();
  });
  if (!answer.ok || answer.body === null) throw errorOf(await answer.json().catch(() => undefined));
  return {
    model: answer.headers.get(answerHeaders.model) ?? "",
    isFromCache: answer.headers.get(answerHeaders.cache) === "HIT",
    pieces: answer.body.pipeThrough(new TextDecoderStream()),
  };
}

/** What to tell people about something that went wrong. */
export function messageOf(error: unknown): string {
  return error instanceof ApiError ? error.message : "Something went wrong on this page. Please reload it.";
}

async function request<Answer>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Answer> {
  const answer = await fetch(`/api${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    signal: AbortSignal.any([AbortSignal.timeout(30_000), ...(signal ? [signal] : [])]),
  }).catch((error: unknown) => {
    throw signal?.aborted ? error : unreachable();
  });
  const content: unknown = answer.status === 204 ? undefined : await answer.json().catch(() => undefined);
  if (!answer.ok) throw errorOf(content);
  return content as Answer;
}

/** Somebody who is not signed in any more is asked to sign in, wherever this was noticed. */
function errorOf(content: unknown): ApiError {
  const { code, message, field } = (content as ErrorBody | undefined)?.error ?? unreachable();
  if (code === "signed_out") dispatchEvent(new Event("signed-out"));
  return new ApiError(code, message, field);
}

function unreachable(): ApiError & { field?: string } {
  return new ApiError("unreachable", "The server cannot be reached. Please try again.");
}
