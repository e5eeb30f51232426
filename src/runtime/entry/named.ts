import { privateHeaders } from "#runtime/routes.ts";

type Loopback = (options: { props: unknown }) => { fetch(request: Request): Promise<Response> };

/** What a request through a service binding with an `entrypoint` or `props` is for; undefined for any other. */
export function namedEntrypoint(request: Request): { entrypoint: string; props: unknown } | undefined {
  const said = request.headers.get(privateHeaders.entry);
  if (said === null) return undefined;
  const [entrypoint, props] = JSON.parse(decodeURIComponent(said)) as [string, unknown];
  return { entrypoint, props };
}

/** Hands a request to one of the Worker's own entrypoints, as if it had come to that. */
export async function fetchNamed(
  request: Request,
  { entrypoint, props }: { entrypoint: string; props: unknown },
  exports: unknown,
): Promise<Response> {
  const loopback = Reflect.get(exports as object, entrypoint) as Loopback | undefined;
  if (typeof loopback !== "function") throw new TypeError(`The Worker has no entrypoint named "${entrypoint}".`);
  const plain = new Request(request);
  plain.headers.delete(privateHeaders.entry);
  return loopback({ props }).fetch(plain);
}
