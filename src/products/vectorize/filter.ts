import { comparable, type Comparable } from "#products/vectorize/indexed-value.ts";
import { vectorErrors } from "#products/vectorize/errors.ts";
import { limits, type Filter, type Scalar } from "#products/vectorize/schema.ts";

/** Part of a WHERE on `vectors`, with what it is asked with. */
export type Condition = { sql: string; values: (string | number)[] };

const comparisons = { $lt: "<", $lte: "<=", $gt: ">", $gte: ">=" } as const;

/**
 * A filter as SQL. Only what a metadata index holds can match: a property without one is missing in every vector
 * (https://developers.cloudflare.com/vectorize/reference/metadata-filtering/).
 */
export function filterConditions(num: number, filter: Filter): Condition[] {
  if (Buffer.byteLength(JSON.stringify(filter)) > limits.filterBytes)
    throw vectorErrors.badFilter(`it may have ${limits.filterBytes} bytes`);
  return Object.entries(filter).flatMap(([property, wanted]) => {
    if (property.startsWith("$")) throw vectorErrors.badFilter(`a property's name does not begin with $: ${property}`);
    const all = typeof wanted === "object" && wanted !== null ? wanted : { $eq: wanted };
    return Object.entries(all).flatMap(([operator, value]) =>
      value === undefined ? [] : [oneCondition(num, property, [operator, value])],
    );
  });
}

function oneCondition(num: number, property: string, [operator, value]: [string, Scalar | Scalar[]]): Condition {
  const any = (sql: string, values: Comparable[] = [], not = false): Condition => ({
    sql: `vectors.row ${not ? "NOT " : ""}IN (SELECT row FROM vectors_indexed WHERE index_num = ? AND property = ?${sql})`,
    values: [num, property, ...values],
  });
  if (Array.isArray(value)) {
    if (operator !== "$in" && operator !== "$nin") throw vectorErrors.badFilter(`${operator} takes one value`);
    const values = value.flatMap((one) => comparable(one) ?? []);
    return any(` AND value IN (${values.map(() => "?").join(", ")})`, values, operator === "$nin");
  }
  const wanted = comparable(value);
  if (operator === "$eq") return wanted === undefined ? any("", [], true) : any(" AND value = ?", [wanted]);
  if (operator === "$ne") return wanted === undefined ? any("") : any(" AND value = ?", [wanted], true);
  const sign = comparisons[operator as keyof typeof comparisons];
  if (sign === undefined || wanted === undefined) throw vectorErrors.badFilter(`${operator} takes a text or a number`);
  // Texts and numbers have an order in SQLite, in which one kind is less than the other.
  const kind = typeof wanted === "string" ? "= 'text'" : "<> 'text'";
  return any(` AND value ${sign} ? AND typeof(value) ${kind}`, [wanted]);
}
