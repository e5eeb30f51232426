import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import { systemCode, UserError } from "#core/errors.ts";
import { defaultDataFolder, variable } from "#environment.ts";

/**
 * Every setting: its default, its unit, one sentence. `appDomain` is `--app-domain` on the command line, `SOLUM_APP_DOMAIN`
 * in the environment and `appDomain` in the file; the command line wins over the environment, and that over the file.
 */
const bytes = z.coerce.number().int().positive();
const milliseconds = z.coerce.number().int().positive();
const host = z.string().regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, "must be a host name in lower case, without a port");
const list = z.preprocess(
  (value) => (typeof value === "string" ? value.split(",").filter(Boolean) : value),
  z.array(z.string()),
);

const settings = z.strictObject({
  data: z.string().min(1).describe("Folder that holds everything durable."),
  runtime: z
    .string()
    .optional()
    .describe(
      "Folder for sockets; short, mode 0700. Default: one under XDG_RUNTIME_DIR or the system's temporary folder.",
    ),
  port: z.coerce.number().int().min(0).max(65535).default(8787).describe("Public TCP port; 0 takes a free one."),
  host: z.string().default("localhost").describe("Address to listen on; localhost means 127.0.0.1 and ::1."),
  appDomain: host.default("localhost").describe("Workers answer at <worker>.<appDomain>."),
  consoleHost: host
    .default("localhost")
    .describe("Host of the console and the API; outside the app domain of a public installation."),
  publicScheme: z
    .enum(["http", "https"])
    .default("http")
    .describe("Scheme of printed addresses; https behind a proxy that ends TLS."),
  logLevel: z
    .enum(["debug", "info", "warn", "error"])
    .default("info")
    .describe("What the processes write to their logs."),
  unsupportedBindings: z
    .enum(["refuse", "stub"])
    .default("refuse")
    .describe("A binding type that Solum lacks: refuse the upload, or deploy and throw on use."),
  egressAllow: list
    .default(["public"])
    .describe("Where Workers may connect to: CIDR blocks, or public, private, local."),
  egressDeny: list.default([]).describe("CIDR blocks that Workers may not reach even when allowed above."),
  d1Hosts: z.coerce.number().int().min(1).max(64).default(2).describe("Processes that D1 databases are spread over."),
  startupCpuMs: milliseconds
    .default(1000)
    .describe("CPU time that a Worker's start-up may take before it is refused (10021)."),
  startupMs: milliseconds.default(5000).describe("The same as wall time."),
  drainMs: milliseconds.default(30_000).describe("How long requests under way may go on after a deploy or a stop."),
  requestBodyBytes: bytes.default(512 * 1024 * 1024).describe("Largest request body to a Worker."),
  workerBytes: bytes.default(64 * 1024 * 1024).describe("Largest Worker, all modules together."),
  colo: z
    .string()
    .regex(/^[A-Z]{3}$/)
    .default("SOL")
    .describe("What request.cf.colo and the end of CF-Ray say."),
  ingressProcesses: z.coerce
    .number()
    .int()
    .min(1)
    .max(64)
    .default(1)
    .describe("Processes that take requests and share the port; one does for two cores."),
  keptAssetsHours: z.coerce
    .number()
    .min(0)
    .max(24 * 30)
    .default(24)
    .describe(
      "How long assets of a replaced deployment stay reachable when their names hold a content hash; 0 drops them at once.",
    ),
  frontsMax: z.coerce
    .number()
    .int()
    .min(0)
    .max(1024)
    .default(0)
    .describe("Processes that one version of a Worker gets under load; 0 means as many as the machine has cores."),
  drainingMax: z.coerce
    .number()
    .int()
    .min(1)
    .max(1024)
    .default(32)
    .describe(
      "Processes of one Worker that may finish what they have begun after deploys; the one that left first is cut off.",
    ),
  idleMs: milliseconds
    .default(5 * 60_000)
    .describe("A Worker that nobody used for so long has no process until the next request starts one."),
  cpuMs: milliseconds
    .default(1000)
    .describe(
      "CPU time that one computation of a Worker may take before it comes back to its event loop, when its configuration has no limits.cpu_ms.",
    ),
  memoryBytes: bytes
    .min(64 * 1024 * 1024)
    .default(256 * 1024 * 1024)
    .describe(
      "Memory of one process of a Worker, all that is its own: 9 MB of workerd, compiled code, heap, ArrayBuffers and WebAssembly.",
    ),
  vectorMemoryBytes: bytes
    .min(64 * 1024 * 1024)
    .default(2 * 1024 * 1024 * 1024)
    .describe(
      "Memory for the graphs of Vectorize indexes together, about 1 KB for a vector of 768 numbers; the least used make room.",
    ),
  eventMs: milliseconds
    .default(15 * 60_000)
    .describe("How long a queue's consumer may take for one batch; past it the batch counts as failed."),
  tlsPort: z.coerce.number().int().min(1).max(65535).optional().describe("Public TCP port for HTTPS, with HTTP/2."),
  tlsCert: list
    .default([])
    .describe("PEM files of certificates with their chains, the first for unknown hosts; read anew when they change."),
  tlsKey: list.default([]).describe("PEM files of their keys, in the same order."),
  sandbox: z
    .enum(["auto", "bwrap", "off"])
    .default("auto")
    .describe("Isolation of Workers' processes: the best that works here, bwrap or no start, or none."),
  d1OwnHosts: z.coerce
    .number()
    .int()
    .min(1)
    .max(64)
    .default(4)
    .describe("Further D1 processes, for databases whose queries take long; each starts when it gets its first."),
  d1DatabaseBytes: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe("Largest D1 database; 0 is as large as the disk allows. Cloudflare's limit is 10 GB."),
  s3Host: host
    .optional()
    .describe("Host of R2's S3 endpoint, and what buckets' own hosts are below. Default: s3.<appDomain>."),
  aiProviders: list
    .default([])
    .describe("Addresses of AI providers to use instead of their own, as <slug>=<url>: a mirror, a proxy, a stand-in."),
});

export type Config = Readonly<z.infer<typeof settings>>;
export type SettingName = keyof Config;
export type SettingInput = Partial<Record<SettingName, unknown>>;

export const settingNames = Object.keys(settings.shape) as SettingName[];

/** `appDomain` → `app-domain`. */
export function flagOf(name: SettingName): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `appDomain` → `SOLUM_APP_DOMAIN`. */
function variableOf(name: SettingName): string {
  return `SOLUM_${flagOf(name).replaceAll("-", "_").toUpperCase()}`;
}

/** The configuration from the command line's `flags`, the environment and the config file. */
export function loadConfig(flags: SettingInput & { config?: string }): Config {
  const { config: file, ...given } = flags;
  const variables = readVariables();
  const named = file ?? variable("SOLUM_CONFIG");
  const before = { ...variables, ...given };
  const namedFile = named ? readFile(named) : undefined;
  const wanted = before.data ?? namedFile?.["data"];
  const data = resolve(typeof wanted === "string" && wanted !== "" ? wanted : defaultDataFolder());
  const fromFile = namedFile ?? readFile(join(data, "config.json"), { optional: true });
  const result = settings.safeParse({ ...fromFile, ...before, data });
  if (!result.success) throw new UserError(explain(result.error));
  const absolute = (files: string[]) => files.map((name) => resolve(name));
  const { tlsCert, tlsKey } = result.data;
  return Object.freeze(checkTogether({ ...result.data, tlsCert: absolute(tlsCert), tlsKey: absolute(tlsKey) }));
}

function readVariables(): SettingInput {
  const found: SettingInput = {};
  for (const name of settingNames) {
    const value = variable(variableOf(name));
    if (value !== undefined) found[name] = value;
  }
  return found;
}

function readFile(file: string, { optional = false } = {}): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (optional && systemCode(error) === "ENOENT") return {};
    throw new UserError(`${file} cannot be read`, { cause: error });
  }
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  } catch (error) {
    throw new UserError(`${file} is not a JSON object`, { cause: error });
  }
}

function checkTogether(config: Config): Config {
  if (config.tlsCert.length !== config.tlsKey.length)
    throw new UserError("tlsCert and tlsKey must name as many files: a key for each certificate.");
  if ((config.tlsPort !== undefined) !== config.tlsCert.length > 0)
    throw new UserError("HTTPS needs tlsPort, tlsCert and tlsKey together.");
  const inside = config.consoleHost === config.appDomain || config.consoleHost.endsWith(`.${config.appDomain}`);
  if (inside && config.appDomain !== "localhost") {
    throw new UserError(
      `consoleHost ${config.consoleHost} lies in the app domain ${config.appDomain}: a Worker could plant cookies for the console. Choose another host.`,
    );
  }
  return config;
}

function explain(error: z.ZodError): string {
  return error.issues
    .map((issue) => {
      if (issue.code === "unrecognized_keys")
        return issue.keys
          .map((key) => `There is no setting "${key}". Did you mean "${nearestSetting(key)}"?`)
          .join("\n");
      return `${issue.path.join(".")}: ${issue.message}`;
    })
    .join("\n");
}

/** `docs/SETTINGS.md`. */
export function settingsPage(): string {
  const { data: _, ...defaults }: Partial<Config> & { data?: string } = settings.parse({ data: "-" });
  const rows = settingNames.map((name) => {
    const value = name === "data" ? undefined : defaults[name];
    const shown = value === undefined || String(value) === "" ? "" : `\`${String(value)}\``;
    const about = settings.shape[name].description ?? "";
    return `| \`${name}\` | \`--${flagOf(name)}\` | \`${variableOf(name)}\` | ${shown} | ${about.replaceAll("<", "\\<")} |`;
  });
  return `${pageHead}${rows.join("\n")}\n`;
}

const pageHead = `# Settings

Every setting is a member of \`config.json\` in the data folder (or of the file that \`--config\` or \`SOLUM_CONFIG\` names), an option of
\`solum up\`, and an environment variable. The command line wins over the environment, and that over the file. Lists are written with
commas on the command line and in the environment. A name that does not exist is an error that tells the nearest one.

The data folder is \`--data\`, else \`SOLUM_DATA\`, else \`~/.local/share/solum\`.

| setting | option | variable | default | what it is |
| --- | --- | --- | --- | --- |
`;

/** The setting whose name is nearest to `key`, however its words are joined. */
export function nearestSetting(key: string): SettingName {
  const wanted = key.replaceAll(/[-_]/g, "").toLowerCase();
  const nearest = settingNames.toSorted(
    (a, b) => distance(a.toLowerCase(), wanted) - distance(b.toLowerCase(), wanted),
  );
  return nearest[0] ?? "data";
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
