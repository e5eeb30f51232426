import { parseArgs } from "node:util";
import type { LogsOptions } from "#cli/logs.ts";
import { flagOf, settingNames, nearestSetting, type SettingInput } from "#config.ts";
import { UserError } from "#core/errors.ts";

/** A command line, understood. */
export type Command =
  | { name: "up"; settings: SettingInput & { config?: string }; firstDeploy?: string }
  | { name: "env" | "status"; data?: string; json: boolean }
  | ({ name: "logs" } & LogsOptions)
  | { name: "wrangler"; args: string[]; data?: string }
  | { name: "help" | "version" };

export const help = `Solum: Cloudflare's developer platform on ground you own.

  solum up [--data DIR] [--port N] [--host ADDR] [--app-domain D] [--console-host H]
                                   run it in the foreground; Ctrl-C stops it
  solum wrangler ...               your project's wrangler, pointed here: solum wrangler deploy
  solum env [--json]               the variables that point wrangler here: eval "$(solum env)"
  solum status [--json]            processes, Workers, versions, addresses
  solum logs WORKER [--json]       log lines and exceptions as they happen; filters as in wrangler tail: --status ok|error,
                                   --method, --header NAME[:TEXT], --search TEXT, --ip, --sampling-rate, --version-id
  solum help, solum version

Every setting of "up" is also an environment variable (--app-domain is SOLUM_APP_DOMAIN) and a member of config.json in
the data folder (appDomain); docs/SETTINGS.md lists them. The other commands find the instance that was started last;
--data DIR names another.
`;

/** Understands a command line; a UserError says what is wrong with it. */
export function parseCommand(argv: readonly string[]): Command {
  const [name = "help", ...rest] = argv;
  switch (name) {
    case "up":
      return parseUp(rest);
    case "env":
    case "status": {
      const { values } = parse(rest, { data: { type: "string" }, json: { type: "boolean" } }, 0);
      return { name, json: values["json"] === true, ...dataOf(values) };
    }
    case "logs":
      return parseLogs(rest);
    case "wrangler":
      // Everything after it is wrangler's own; only a --data before wrangler's command is ours.
      if (rest[0] === "--data" && rest[1] !== undefined) return { name, args: rest.slice(2), data: rest[1] };
      return { name, args: rest };
    case "help":
    case "--help":
    case "-h":
      return { name: "help" };
    case "version":
    case "--version":
      return { name: "version" };
    default:
      throw new UserError(`There is no command "${name}".\n\n${help}`);
  }
}

type Options = Record<string, { type: "string" | "boolean"; multiple?: boolean }>;
type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

function parseUp(args: readonly string[]): Command {
  const options: Options = { config: { type: "string" }, "first-deploy": { type: "string" } };
  for (const setting of settingNames) options[flagOf(setting)] = { type: "string" };
  const { values } = parse(args, options, 0);
  const settings: SettingInput & { config?: string } = {};
  for (const setting of settingNames)
    if (values[flagOf(setting)] !== undefined) settings[setting] = values[flagOf(setting)];
  const { config, "first-deploy": firstDeploy } = values;
  if (typeof config === "string") settings.config = config;
  return { name: "up", settings, ...(typeof firstDeploy === "string" ? { firstDeploy } : {}) };
}

function parseLogs(args: readonly string[]): Command {
  const one = { type: "string" } as const;
  const several = { type: "string", multiple: true } as const;
  const { values, positionals } = parse(
    args,
    {
      data: one,
      json: { type: "boolean" },
      status: several,
      method: several,
      header: one,
      search: one,
      ip: several,
      "sampling-rate": one,
      "version-id": one,
    },
    1,
  );
  const [worker] = positionals;
  if (worker === undefined) throw new UserError("Whose logs? solum logs WORKER");
  const text = <N extends string>(name: N, flag: string = name) =>
    (typeof values[flag] === "string" ? { [name]: values[flag] } : {}) as { [name in N]?: string };
  const texts = <N extends string>(name: N) => {
    const found = values[name];
    return (Array.isArray(found) ? { [name]: found.map(String) } : {}) as { [name in N]?: string[] };
  };
  return {
    name: "logs",
    worker,
    json: values["json"] === true,
    ...dataOf(values),
    ...texts("status"),
    ...texts("method"),
    ...texts("ip"),
    ...text("header"),
    ...text("search"),
    ...text("samplingRate", "sampling-rate"),
    ...text("versionId", "version-id"),
  };
}

function parse(
  args: readonly string[],
  options: Options,
  positionalsMax: number,
): { values: Values; positionals: string[] } {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options,
      allowPositionals: positionalsMax > 0,
      strict: true,
    });
    if (positionals.length > positionalsMax)
      throw new UserError(`Too many arguments: ${positionals.slice(positionalsMax).join(" ")}`);
    return { values, positionals };
  } catch (error) {
    const unknown = error instanceof Error ? /Unknown option '--([^']*)'/.exec(error.message)?.[1] : undefined;
    if (unknown !== undefined) {
      throw new UserError(`There is no option "--${unknown}". Did you mean "--${flagOf(nearestSetting(unknown))}"?`, {
        cause: error,
      });
    }
    throw error instanceof UserError
      ? error
      : new UserError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function dataOf(values: Record<string, unknown>): { data?: string } {
  return typeof values["data"] === "string" ? { data: values["data"] } : {};
}
