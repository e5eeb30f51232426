/** Names under which addresses carry keys. */
const secretParameter = /^(key|api[-_]?key|token|access[-_]?token|secret|x-amz-signature|x-amz-security-token)$/i;

/** Path and query of an address, as a log may show them. */
export function redactedPath(url: URL): string {
  return redactedTarget(url.pathname.slice(1) + url.search);
}

/** The same for what stands after the host's slash; one without a key in it stays byte for byte. */
function redactedTarget(target: string): string {
  const query = target.indexOf("?");
  if (query < 0) return target;
  const parameters = new URLSearchParams(target.slice(query + 1));
  const secret = [...new Set(parameters.keys())].filter((name) => secretParameter.test(name));
  if (secret.length === 0) return target;
  for (const name of secret) parameters.set(name, "redacted");
  return `${target.slice(0, query)}?${parameters.toString()}`;
}

const secretHeader =
  /^(authorization|proxy-authorization|cookie|x-api-key|api-key|x-goog-api-key|xi-api-key|cf-aig-authorization|cf-access-.*)$/i;

/** A list of steps without the keys in its headers and endpoints; other bodies as they are. */
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
    const { headers, authorization, endpoint, ...rest } = step as Record<string, unknown>;
    return {
      ...rest,
      ...(endpoint === undefined
        ? {}
        : { endpoint: typeof endpoint === "string" ? redactedTarget(endpoint) : endpoint }),
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
