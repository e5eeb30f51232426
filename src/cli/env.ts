import { wranglerEnvironment } from "#cli/environment.ts";
import { findInstance } from "#cli/instance.ts";

/** `solum env`: the exports that wrangler needs, for `eval "$(solum env)"`. */
export async function env(options: { data?: string; json: boolean }): Promise<void> {
  const variables = await wranglerEnvironment(await findInstance(options.data));
  if (options.json) process.stdout.write(`${JSON.stringify(variables, null, 2)}\n`);
  else
    for (const [name, value] of Object.entries(variables))
      process.stdout.write(`export ${name}='${value.replaceAll("'", String.raw`'\''`)}'\n`);
}
