import { z } from "zod";
import { readJson, type ApiContext } from "#http/app.ts";
import { GraphqlError, parseGraphql, pick, type Selection } from "#http/graphql.ts";

/** What a dataset is asked for. Filters of a query's `AND` are put together. */
export type DatasetQuery = { accountId: string; limit: number; filter: Record<string, unknown>; orderBy: string[] };

/** The rows of a dataset, by its name; each as the dataset's GraphQL type has it. */
export type Datasets = Record<string, (query: DatasetQuery) => Promise<unknown[]>>;

const body = z.looseObject({ query: z.string(), variables: z.record(z.string(), z.unknown()).nullish() });

/** Rows at most, https://developers.cloudflare.com/analytics/graphql-api/limits/. */
const rowsMax = 10_000;

/** `POST /graphql`, https://developers.cloudflare.com/analytics/graphql-api/: no envelope; errors stand beside the data, with 200. */
export function answerGraphql(datasets: Datasets): (c: ApiContext) => Promise<Response> {
  return async (c) => {
    const { query, variables } = await readJson(c, body);
    try {
      const data = await resolve(parseGraphql(query, variables ?? {}), c.get("principal").accountIds, datasets);
      return c.json({ data, errors: null });
    } catch (error) {
      if (!(error instanceof GraphqlError)) throw error;
      return c.json({ data: null, errors: [{ message: error.message, path: null, extensions: {} }] });
    }
  };
}

async function resolve(fields: Selection[], allowed: readonly string[], datasets: Datasets): Promise<unknown> {
  const root: Record<string, unknown> = {};
  for (const viewer of fields) {
    if (viewer.name !== "viewer") throw unknownField(viewer.name, "Query");
    const found: Record<string, unknown> = {};
    for (const accounts of viewer.fields) {
      if (accounts.name !== "accounts") throw unknownField(accounts.name, "viewer");
      const { accountTag } = objectOf(accounts.args["filter"]);
      if (typeof accountTag !== "string" || !allowed.includes(accountTag))
        throw new GraphqlError("not authorized for that account");
      found[accounts.as] = [await resolveAccount(accounts.fields, accountTag, datasets)];
    }
    root[viewer.as] = found;
  }
  return root;
}

async function resolveAccount(fields: Selection[], accountId: string, datasets: Datasets): Promise<unknown> {
  const account: Record<string, unknown> = {};
  for (const { name, as, args, fields: wanted } of fields) {
    const dataset = Object.hasOwn(datasets, name) ? datasets[name] : undefined;
    if (!dataset) throw unknownField(name, "account");
    const limit = typeof args["limit"] === "number" ? args["limit"] : rowsMax;
    if (!Number.isInteger(limit) || limit < 1 || limit > rowsMax)
      throw new GraphqlError(`limit must be a whole number from 1 to ${rowsMax}`);
    const orderBy = Array.isArray(args["orderBy"]) ? args["orderBy"].map(String) : [];
    account[as] = pick(await dataset({ accountId, limit, filter: filterOf(args["filter"]), orderBy }), wanted);
  }
  return account;
}

function filterOf(given: unknown): Record<string, unknown> {
  const { AND: parts, ...rest } = objectOf(given);
  return Object.assign({}, rest, ...(Array.isArray(parts) ? parts.map(filterOf) : [])) as Record<string, unknown>;
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function unknownField(name: string, of: string): GraphqlError {
  return new GraphqlError(`unknown field "${name}" of ${of}`);
}
