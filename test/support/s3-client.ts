import { GetObjectCommand, S3Client, type GetObjectCommandInput } from "@aws-sdk/client-s3";
import type { S3Endpoint, S3Keys } from "./s3-endpoint.ts";

/** The SDK as people set it up for R2. */
export function s3Client(endpoint: S3Endpoint, credentials: S3Keys, more: { region?: string } = {}): S3Client {
  const { url } = endpoint;
  return new S3Client({ region: "auto", endpoint: url, forcePathStyle: true, credentials, maxAttempts: 1, ...more });
}

/** Status and name of the error that a call ends with. */
export async function s3ErrorOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    const { name, $metadata } = error as { name: string; $metadata?: { httpStatusCode?: number } };
    return `${$metadata?.httpStatusCode} ${name}`;
  }
  return "no error";
}

/** All bytes of an object. */
export async function s3Bytes(s3: S3Client, input: GetObjectCommandInput): Promise<Buffer> {
  const { Body } = await s3.send(new GetObjectCommand(input));
  return Buffer.from((await Body?.transformToByteArray()) ?? []);
}
