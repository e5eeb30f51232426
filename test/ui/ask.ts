import { once } from "node:events";
import { request, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";
import type { Page } from "playwright-core";

/** A GET with the cookies of `page`. Names below localhost resolve in a browser, but not everywhere outside of one. */
export async function ask(
  address: string,
  page?: Page,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }> {
  const url = new URL(address);
  const cookies = (await page?.context().cookies(url.href)) ?? [];
  const cookie = cookies.map(({ name, value }) => `${name}=${value}`).join("; ");
  const outgoing = request({
    host: "127.0.0.1",
    port: url.port,
    path: url.pathname + url.search,
    headers: { host: url.host, ...(cookie ? { cookie } : {}), ...headers },
    agent: false,
  });
  outgoing.end();
  const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: await buffer(answer) };
}
