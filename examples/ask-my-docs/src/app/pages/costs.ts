import type { Feature, FeatureCost } from "../../shared/api.ts";
import { api, messageOf } from "../api.ts";
import { element } from "../dom.ts";
import { dollarText } from "../format.ts";
import type { Page } from "../page.ts";

const names: Record<Feature, string> = { answer: "Answers", summary: "Summaries" };

/** What each feature that asks a model cost so far. */
export function costsPage(): Page {
  const left = new AbortController();
  const total = element("p", { className: "muted", role: "status" });
  const place = element("div", { className: "scroll" });
  void load();
  return {
    title: "Costs",
    element: element(
      "section",
      { className: "costs" },
      element("div", { className: "heading" }, element("h1", {}, "Costs"), total),
      place,
    ),
    leave: () => left.abort(),
  };

  async function load(): Promise<void> {
    try {
      const costs = await api.costs(left.signal);
      total.textContent =
        costs.length === 0
          ? "Nothing was asked yet"
          : `${dollarText(costs.reduce((sum, { cost }) => sum + cost, 0))} in all`;
      place.replaceChildren(...(costs.length === 0 ? [] : [tableOf(costs)]));
    } catch (error) {
      if (!left.signal.aborted) total.textContent = messageOf(error);
    }
  }
}

function tableOf(costs: readonly FeatureCost[]): HTMLElement {
  const heads = ["Feature", "Cost", "Questions", "From the cache", "Tokens"];
  return element(
    "table",
    {},
    element("thead", {}, element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...costs.map(rowOf)),
  );
}

function rowOf({ feature, questions, cached, tokens, cost, unknown }: FeatureCost): HTMLElement {
  const open = unknown === 0 ? "" : ` + ${unknown} not known yet`;
  const counts = [questions, cached, tokens].map((count) => count.toLocaleString());
  const cells = [dollarText(cost) + open, ...counts];
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, names[feature]),
    ...cells.map((text) => element("td", {}, text)),
  );
}
