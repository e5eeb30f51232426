import type { Solum } from "./start-solum.ts";

/** Uploads a module Worker through the API and gives it its address, as wrangler does it; without wrangler's own start, which takes a second. */
export async function uploadWorker(
  solum: Solum,
  name: string,
  source: string,
  metadata: Record<string, unknown> = {},
): Promise<void> {
  await call(solum, "PUT", `/workers/scripts/${name}`, uploadForm(source, metadata));
}

/** Uploads a version without deploying it, as `wrangler versions upload` does. Answers its id. */
export async function uploadVersion(
  solum: Solum,
  name: string,
  source: string,
  metadata: Record<string, unknown> = {},
): Promise<string> {
  const form = uploadForm(source, metadata);
  return ((await call(solum, "POST", `/workers/scripts/${name}/versions`, form)) as VersionItem).id;
}

/** Lets a Worker answer at `<name>.<app domain>`, and its versions at theirs. */
export async function giveAddress(solum: Solum, name: string): Promise<void> {
  const body = JSON.stringify({ enabled: true, previews_enabled: true });
  await call(solum, "POST", `/workers/scripts/${name}/subdomain`, body);
}

function uploadForm(source: string, metadata: Record<string, unknown>): FormData {
  const whole = { main_module: "index.js", compatibility_date: "2026-01-01", ...metadata };
  const form = new FormData();
  form.set("metadata", JSON.stringify(whole));
  form.append("index.js", new File([source], "index.js", { type: "application/javascript+module" }));
  return form;
}

export type VersionItem = { id: string };

/** The versions of a Worker, the newest first. */
export async function listVersions(solum: Solum, name: string): Promise<VersionItem[]> {
  return ((await call(solum, "GET", `/workers/scripts/${name}/versions`)) as { items: VersionItem[] }).items;
}

/** Deploys one version for everybody: what `wrangler rollback` and `wrangler versions deploy` do. */
export async function deployVersion(solum: Solum, name: string, versionId: string): Promise<void> {
  const body = { strategy: "percentage", versions: [{ version_id: versionId, percentage: 100 }] };
  await call(solum, "POST", `/workers/scripts/${name}/deployments`, JSON.stringify(body));
}

async function call(solum: Solum, method: string, path: string, body?: FormData | string): Promise<unknown> {
  const account = solum.environment["CLOUDFLARE_ACCOUNT_ID"];
  const answer = await fetch(`http://localhost:${solum.port}/client/v4/accounts/${account}${path}`, {
    method,
    headers: { authorization: `Bearer ${solum.environment["CLOUDFLARE_API_TOKEN"]}` },
    ...(body === undefined ? {} : { body }),
  });
  const { success, errors, result } = (await answer.json()) as { success: boolean; errors: unknown; result: unknown };
  if (!success) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(errors)}`);
  return result;
}
