import { element } from "../dom.ts";
import type { Page } from "../page.ts";

export function notFoundPage(): Page {
  return plainPage(
    "There is no page here",
    "The address may be old, or it may have a slip in it.",
    "Go to your documents",
  );
}

/** When not even the first question to the server was answered. */
export function problemPage(message: string): Page {
  const page = plainPage("This did not work", message, "Try again");
  // The router leaves links with a target to the browser, which then loads everything again.
  page.element.querySelector("a")?.setAttribute("target", "_self");
  return page;
}

function plainPage(title: string, text: string, way: string): Page {
  return {
    title,
    element: element(
      "section",
      { className: "plain" },
      element("h1", {}, title),
      element("p", { className: "muted" }, text),
      element("p", {}, element("a", { href: "/documents" }, way)),
    ),
  };
}
