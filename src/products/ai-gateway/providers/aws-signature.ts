import { AwsV4Signer } from "aws4fetch";
import { parseJson } from "#products/ai-gateway/meter.ts";
import { isObject } from "#products/ai-gateway/usage.ts";

/** What signs requests to Bedrock. */
export type AwsKey = { accessKeyId: string; secretAccessKey: string; region?: string; sessionToken?: string };

/** A stored key that is one of AWS's, not an API key. */
export function awsKeyOf(secret: string): AwsKey | undefined {
  const given = parseJson(secret);
  if (!isObject(given)) return undefined;
  const { accessKeyId, secretAccessKey, region, sessionToken } = given;
  if (typeof accessKeyId !== "string" || typeof secretAccessKey !== "string") return undefined;
  return {
    accessKeyId,
    secretAccessKey,
    ...(typeof region === "string" ? { region } : {}),
    ...(typeof sessionToken === "string" ? { sessionToken } : {}),
  };
}

/** The headers that go with a request to be signed, Signature Version 4; a signature is good for minutes, so each try has its own. */
export async function awsHeaders(
  key: AwsKey,
  request: { url: URL; method: string; headers: Record<string, string>; body: Buffer },
): Promise<Record<string, string>> {
  const { url, method, headers, body } = request;
  const region = /^bedrock[a-z-]*\.([a-z0-9-]+)\.amazonaws\.com$/.exec(url.hostname)?.[1] ?? key.region ?? "us-east-1";
  const signer = new AwsV4Signer({ ...key, url: url.href, method, headers, body, region, service: "bedrock" });
  const signed = await signer.sign();
  const all = Object.fromEntries(signed.headers);
  // Written by whoever sends the request.
  delete all["host"];
  return all;
}
