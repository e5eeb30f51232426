import { ApiError, type ErrorEntry } from "#core/errors.ts";

const support = "docs/COMPATIBILITY.md lists what is supported.";

/** Codes as wrangler branches on them (wrangler-api §1.4) and as users quote real answers; where none is known, 10021. */
export const workerErrors = {
  scriptNotFound: () => new ApiError(404, 10007, "This Worker does not exist on your account."),
  serviceNotFound: () => new ApiError(404, 10090, "This Worker does not exist on your account."),
  versionNotFound: () => new ApiError(404, 10025, "This version does not exist for this Worker."),
  deploymentNotFound: () => new ApiError(404, 10025, "This deployment does not exist for this Worker."),
  /** The rule is documented (workers/scripts/deployments: delete); code and text are ours. */
  deploymentInForce: () =>
    new ApiError(400, 10021, "The latest deployment, which is actively serving traffic, cannot be deleted."),
  secretNotFound: (name: string) => new ApiError(404, 10056, `Binding '${name}' not found.`),
  noVersions: () => new ApiError(404, 10222, "This Worker has no versions yet."),
  invalidName: (why: string) => new ApiError(400, 10016, `Invalid Worker name: ${why}`),
  /** Whatever is wrong with an upload: wrangler prints the first message, source-mapped. */
  invalidUpload: (message: string) => new ApiError(400, 10021, message),
  uncaughtAtStartup: (message: string) => new ApiError(400, 10021, message),
  startupTooSlow: (cpuMs: number) =>
    new ApiError(
      400,
      10021,
      `Script startup exceeded CPU time limit: your Worker used more than ${cpuMs} ms before it could take a request.`,
    ),
  startupTooLarge: (memoryBytes: number) =>
    new ApiError(
      400,
      10021,
      `Script startup exceeded memory limits: your Worker took more than ${Math.floor(memoryBytes / 1024 ** 2)} MB before it could take a request.`,
    ),
  /** wrangler prints a table of dependency sizes on 10027. */
  scriptTooLarge: (maxBytes: number) =>
    new ApiError(
      413,
      10027,
      `Your Worker exceeded the size limit of ${Math.floor(maxBytes / 1024 / 1024)} MiB. The limit is the setting workerBytes.`,
    ),
  /** Texts and codes 10041, 10042, 10052, 10085, 10181 as users report them from real deploys. */
  bindingWithoutName: (index: number) => new ApiError(400, 10052, `Binding at index ${index} must have a name.`),
  kvNotFound: (id: string) => new ApiError(400, 10041, `KV namespace '${id}' not found.`),
  kvInvalid: (id: string) =>
    new ApiError(
      400,
      10042,
      `KV namespace '${id}' is not valid. Please verify the namespace_id in your configuration.`,
    ),
  r2NotFound: (bucket: string) =>
    new ApiError(400, 10085, `R2 bucket '${bucket}' not found. Please use a different name and try again.`),
  /** Text of wrangler, which asks before it deploys; the code is that of messages to such a queue. */
  queueNotFound: (queue: string) => new ApiError(400, 10104, `Queue "${queue}" does not exist.`),
  d1NotFound: (name: string, id: string) =>
    new ApiError(
      400,
      10181,
      `D1 binding '${name}' references database '${id}' which was not found. Verify the database exists in your account and that the database_id in your configuration is correct.`,
    ),
  /** wrangler 4.156 and later test for this text to the letter. */
  d1Invalid: (name: string) =>
    new ApiError(400, 10021, `binding ${name} of type d1 must have a valid \`id\` specified`),
  vectorIndexNotFound: (name: string, index: string) =>
    new ApiError(400, 10159, `Vectorize binding '${name}' references index '${index}' which was not found.`),
  serviceTargetNotFound: (name: string, target: string) =>
    new ApiError(400, 10143, `Could not resolve service binding '${name}'. Target script '${target}' not found.`),
  /** One entry for each name; wrangler matches the prefix. */
  inheritInvalid: (names: readonly string[]) => {
    const [first = "", ...rest] = names.map(
      (name) => `inherit binding '${name}' is invalid: the previous version has no binding of that name`,
    );
    return new ApiError(400, 10057, first, { more: rest.map((message) => ({ code: 10057, message })) });
  },
  unsupportedBinding: (name: string, type: string) =>
    new ApiError(
      400,
      10021,
      `binding ${name} of type ${type} is not supported by Solum yet. ${support} With the setting unsupportedBindings = stub the Worker deploys and the binding throws when it is used.`,
    ),
  unknownBinding: (name: string, type: string) =>
    new ApiError(400, 10021, `binding ${name} has the unknown type ${type}`),
  unsupported: (what: string) => new ApiError(400, 10021, `${what} is not supported by Solum yet. ${support}`),
  /** wrangler tells the user to use `versions secret put` (VERSION_NOT_DEPLOYED_ERR_CODE in its source). */
  latestNotDeployed: () => new ApiError(400, 10215, "The latest version of this Worker is not deployed."),
  /** Text and code as users report them from real uploads. */
  aliasTooLong: () =>
    new ApiError(
      400,
      10021,
      "validation failures: Alias name too long. The alias name and script name combined together must total less than 63 characters in length.",
    ),
  aliasInvalid: (alias: string) =>
    new ApiError(
      400,
      10021,
      `validation failures: Invalid alias name ${JSON.stringify(alias.slice(0, 80))}. It begins with a lower-case letter, has lower-case letters, digits and hyphens, does not end with a hyphen, and is not eight hexadecimal digits.`,
    ),
  /** The only answer to a version past the last hundred that is reported of the real API (code 100147, deployment_too_old). */
  versionTooOld: (id: string, kept: number) =>
    new ApiError(
      400,
      100147,
      `Version ${id} is too old to be deployed: only the ${kept} most recent versions of a Worker can be.`,
    ),
  /** Text and code as reported of the real API; the entries behind it say which resource in the words of an upload. */
  rollbackResourcesGone: (what: readonly string[], more: readonly ErrorEntry[]) =>
    new ApiError(400, 100140, `Failed to rollback due to external resources being modified (${what.join(",")})`, {
      more: [...more],
    }),
  resourcesGone: ([first, ...more]: readonly ErrorEntry[]) =>
    new ApiError(400, first?.code ?? 10021, first?.message ?? "", { more }),
  /** wrangler reads the names behind "The following secrets have changed:" and asks; then it says `force=true`. */
  secretsChanged: (names: readonly string[]) =>
    new ApiError(
      400,
      10220,
      `This version was deployed with other secrets than the current one. The following secrets have changed: ${names.join(", ")}`,
    ),
  /**
   * Without `force`, bindings of others stop a deletion (api/resources/workers/subresources/scripts/methods/delete); wrangler
   * asks before it says it. The text is ours.
   */
  inUse: (name: string, users: readonly string[]) =>
    new ApiError(
      400,
      10064,
      `Cannot delete the Worker ${name}: it is in use by ${users.join(", ")}. Delete it anyway with ?force=true.`,
    ),
  notLive: () =>
    new ApiError(
      503,
      10503,
      "The change is recorded but not live yet: the ingress did not acknowledge it in time. It goes live as soon as the ingress answers.",
    ),
};
