/** Names under which addresses carry keys. */
const secretParameter = /^(key|api[-_]?key|token|access[-_]?token|secret|x-amz-signature|x-amz-security-token)$/i;

/** Path and query of an address, as a log may show them. */
export function redactedPath(url: URL): string {
  const shown = new URL(url);
  for (const name of new Set(shown.searchParams.keys()))
    if (secretParameter.test(name)) shown.searchParams.set(name, "redacted");
  return shown.pathname.slice(1) + shown.search;
}

const secretHeader =
  /^(authorization|proxy-authorization|cookie|x-api-key|api-key|x-goog-api-key|xi-api-key|cf-aig-authorization|cf-access-.*)$/i;

/** A list of steps without the keys in its headers; other bodies as they are. */
export function redactedBody(body: Buffer): Buffer {
  let steps: unknown;
  try {
    steps = JSON.parse(body.toString());
  } catch {
    return body;
  }
  if (!Array.isArray(steps)) return body;
  const clean = steps.map((step: unknown) => {
    if (typeof step !== "object" || step === null) return step;
    const { headers, authorization, ...rest } = step as Record<string, unknown>;
    return {
      ...rest,
      ...(authorization === undefined ? {} : { authorization: "redacted" }),
      ...(typeof headers === "object" && headers !== null ? { headers: redactedHeaders(headers) } : {}),
    };
  });
  return Buffer.from(JSON.stringify(clean));
}

function redactedHeaders(headers: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]: [string, unknown]) => [
      name,
      secretHeader.test(name) ? "redacted" : value,
    ]),
  );
}
