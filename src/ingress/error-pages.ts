import type { CondemnOutcome } from "#runtime/routes.ts";

/** An answer that the ingress gives itself. */
export type Page = {
  status: number;
  /** Cloudflare's number for this error, where it has one. */
  code?: number;
  title: string;
  detail: string;
};

/** A request that gets such an answer instead of being passed on. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly page: Page;
  constructor(page: Page) {
    super(page.title);
    this.page = page;
  }
}

/** The pages. Nothing in them tells what else runs here or why a Worker failed: that is in its logs. */
export const pages = {
  noSuchHost: (host: string, hint: { worker: string; console: string }): Page => ({
    status: 404,
    title: "There is nothing at this address",
    detail: `No Worker answers for ${host}. Workers answer at ${hint.worker}; the console is at ${hint.console}.`,
  }),
  // RFC 9110 §15.5.20: the client used a connection that was opened for another host.
  misdirected: (): Page => ({
    status: 421,
    title: "This connection is not for this host",
    detail: "The certificate that it was opened with does not stand for the host that is asked for.",
  }),
  noLongerThere: (): Page => ({
    status: 404,
    title: "There is nothing at this address",
    detail: "The Worker that answered here is gone.",
  }),
  noSuchPath: (): Page => ({
    status: 404,
    title: "There is nothing at this address",
    detail: "Paths below /cdn-cgi/ belong to the platform and never reach a Worker.",
  }),
  exception: (): Page => ({
    status: 500,
    code: 1101,
    title: "The Worker threw an exception",
    detail: "Its logs say which. If you own it: wrangler tail, or the Worker's logs in the console.",
  }),
  // support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/error-1102
  exceededLimits: (outcome: CondemnOutcome): Page => ({
    status: 503,
    code: 1102,
    title: "Worker exceeded resource limits",
    detail:
      outcome === "exceededCpu"
        ? "It used more CPU time than it may, and was ended. Its logs say more; its limit is limits.cpu_ms."
        : "It used more memory than it may, and was ended. Its logs say more.",
  }),
  workerDied: (): Page => ({
    status: 502,
    title: "The Worker ended before it answered",
    detail: "Its process stopped or broke the connection. It is being started again; try once more.",
  }),
  badAnswer: (): Page => ({
    status: 502,
    title: "The Worker's answer could not be understood",
    detail: "What its process sent was not a valid HTTP response.",
  }),
  workerDown: (): Page => ({
    status: 503,
    title: "The Worker is not running",
    detail: "It could not be started, or it keeps failing. Its logs say why; it is tried again by itself.",
  }),
  workerStarting: (): Page => ({
    status: 503,
    title: "The Worker is not ready yet",
    detail: "It did not come up in the time that a request waits. Try again in a moment.",
  }),
  supervisorDown: (): Page => ({
    status: 503,
    title: "The Worker cannot be started now",
    detail:
      "It is asleep, and the supervisor that starts Workers does not answer. Workers that run are served meanwhile.",
  }),
  serviceDown: (): Page => ({
    status: 503,
    title: "This part of the platform is starting",
    detail: "The process that answers here is not up yet. Workers are served meanwhile. Try again in a moment.",
  }),
  consoleDown: (): Page => ({
    status: 503,
    title: "The console is starting",
    detail: "The control process does not answer yet. Workers are served meanwhile. Try again in a moment.",
  }),
  noSuchService: (name: string): Page => ({
    status: 502,
    title: `The service "${name}" is not there`,
    detail: `A service binding points to the Worker "${name}", which is not deployed. Deploy it, then try again.`,
  }),
  noSuchEntrypoint: (worker: string, entrypoint: string): Page => ({
    status: 502,
    title: `The Worker "${worker}" has no entrypoint named "${entrypoint}"`,
    detail: "Export a class of that name from it that extends WorkerEntrypoint, and deploy it.",
  }),
  notAllowed: (): Page => ({
    status: 403,
    title: "This Worker may not do that",
    detail: "The request carries no binding of this Worker that leads here.",
  }),
  loop: (): Page => ({
    status: 508,
    code: 1019,
    title: "The request goes round in circles",
    detail: "Workers passed it to each other, or to themselves, more often than a request may be passed on.",
  }),
  tooSlow: (): Page => ({
    status: 504,
    title: "The Worker took too long",
    detail: "It did not begin an answer in the time that this installation allows.",
  }),
  overloaded: (): Page => ({
    status: 503,
    title: "Too many requests are waiting",
    detail: "The platform could not take this one. Try again in a moment.",
  }),
  bodyTooLarge: (bytesMax: number): Page => ({
    status: 413,
    title: "The request is too large",
    detail: `A request's body may have ${bytesMax} bytes here.`,
  }),
  methodNotAllowed: (): Page => ({
    status: 405,
    title: "This method is not supported",
    detail: "CONNECT and TRACE do not reach Workers.",
  }),
  broken: (status: number, reason: string): Page => ({
    status,
    title: brokenTitles[status] ?? "The request could not be understood",
    detail: `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`,
  }),
};

const brokenTitles: Record<number, string> = {
  408: "The request took too long to arrive",
  414: "The address is too long",
  417: "The expectation cannot be met",
  431: "The request's headers are too large",
  501: "The request uses a coding that is not supported",
  505: "This version of HTTP is not supported",
};

const reasons: Record<number, string> = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  414: "URI Too Long",
  417: "Expectation Failed",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
  508: "Loop Detected",
};

/** The whole response with `page`. `head`: no body follows. */
export function renderPage(
  page: Page,
  options: { html: boolean; head: boolean; close: boolean; keepAlive: boolean; ray: string; date: string },
): string {
  const body = options.html ? htmlOf(page, options.ray) : textOf(page, options.ray);
  const lines = [
    `HTTP/1.1 ${page.status} ${reasons[page.status] ?? "Error"}`,
    `Date: ${options.date}`,
    `Content-Type: ${options.html ? "text/html" : "text/plain"}; charset=utf-8`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    `CF-Ray: ${options.ray}`,
  ];
  if (options.html) lines.push("Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'");
  if (page.status === 503) lines.push("Retry-After: 1");
  if (options.close) lines.push("Connection: close");
  else if (options.keepAlive) lines.push("Connection: keep-alive");
  return `${lines.join("\r\n")}\r\n\r\n${options.head ? "" : body}`;
}

function textOf(page: Page, ray: string): string {
  const code = page.code === undefined ? "" : `error code: ${page.code}\n`;
  return `${page.title}. ${page.detail}\n${code}ray: ${ray}\n`;
}

function htmlOf(page: Page, ray: string): string {
  const code = page.code === undefined ? "" : `Error ${page.code} · `;
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>${escapeHtml(page.title)}</title>
<style>
body{font:16px/1.6 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.5rem;color:#1d1f23;background:#fbfbfa}
h1{font-size:1.4rem;margin:0 0 .4rem}p{margin:0 0 1.2rem;color:#4a4e57}small{color:#868b95;font-variant-numeric:tabular-nums}
@media(prefers-color-scheme:dark){body{color:#eceef2;background:#15171b}p{color:#b3b8c2}}
</style>
<h1>${escapeHtml(page.title)}</h1>
<p>${escapeHtml(page.detail)}</p>
<small>${code}HTTP ${page.status} · Ray ${ray}</small>
</html>
`;
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
