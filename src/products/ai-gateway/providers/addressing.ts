import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import type { Provider } from "#products/ai-gateway/providers/catalogue.ts";

/** One label of a host name: nothing in it can name another host. */
const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;

/**
 * Where the path `rest` of a provider leads (with its query, without a leading slash). It stays on the provider's own origin and
 * below its base, whatever dots, slashes or escapes it holds. `base`: used instead of the provider's own.
 */
export function addressOf(provider: Provider, rest: string, base: string | undefined): URL {
  const placed = base === undefined ? place(provider, rest) : { base, path: withPrefix(provider, rest) };
  const root = new URL(placed.base);
  let url: URL;
  try {
    url = new URL(placed.base + placed.path);
  } catch {
    throw gatewayErrors.invalid("the path is not valid");
  }
  if (url.origin !== root.origin || !url.pathname.startsWith(root.pathname) || url.username !== "")
    throw gatewayErrors.invalid("the path leaves its provider");
  return url;
}

function withPrefix({ prefix }: Provider, rest: string): string {
  return prefix === undefined || rest.startsWith(prefix) ? rest : prefix + rest;
}

function place(provider: Provider, rest: string): { base: string; path: string } {
  switch (provider.addressing) {
    case "azure": {
      // /{resource}/{deployment}/{rest}
      const [resource = "", deployment = "", ...path] = rest.split("/");
      if (!label.test(resource) || deployment === "")
        throw gatewayErrors.invalid("the path needs a resource and a deployment");
      return { base: `https://${resource}.openai.azure.com/openai/deployments/${deployment}/`, path: path.join("/") };
    }
    case "bedrock": {
      // /bedrock-runtime/{region}/{rest}
      const [service = "", region = "", ...path] = rest.split("/");
      if (!/^bedrock(-[a-z]+)?$/.test(service) || !label.test(region))
        throw gatewayErrors.invalid("the path needs a service and a region");
      return { base: `https://${service}.${region}.amazonaws.com/`, path: path.join("/") };
    }
    case "vertex": {
      // /v1/projects/{project}/locations/{region}/{rest}
      const region = /(?:^|\/)locations\/([^/?]+)/.exec(rest)?.[1] ?? "";
      if (!label.test(region)) throw gatewayErrors.invalid("the path needs a location");
      const host = region === "global" ? "aiplatform.googleapis.com" : `${region}-aiplatform.googleapis.com`;
      return { base: `https://${host}/`, path: rest };
    }
    case undefined:
    default:
      return { base: provider.base, path: withPrefix(provider, rest) };
  }
}
