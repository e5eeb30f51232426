import type { Account } from "../shared/api.ts";
import { element } from "./dom.ts";

export interface Shell {
  element: HTMLElement;
  /** Puts a page below the header. Without an account there is nothing in the header to go to. */
  show(page: HTMLElement, state: { section: string; account: Account | null }): void;
}

/** The header that stays, and the place below it where pages come and go. */
export function createShell({ onSignOut }: { onSignOut: () => Promise<void> }): Shell {
  const links = [
    element("a", { href: "/documents" }, "Documents"),
    element("a", { href: "/notes" }, "Notes"),
    element("a", { href: "/costs" }, "Costs"),
  ];
  const email = element("span", { className: "email" });
  const signOut = element(
    "button",
    { type: "button", className: "quiet", onclick: () => void onSignOut() },
    "Sign out",
  );
  const logo = element("img", { src: "/favicon.svg", alt: "", width: 24, height: 24 });
  const header = element(
    "header",
    { className: "bar", hidden: true },
    element(
      "a",
      { href: "/documents", className: "brand", ariaLabel: "Ask my docs, start" },
      logo,
      element("span", {}, "Ask my docs"),
    ),
    element("nav", { ariaLabel: "Main" }, ...links),
    email,
    signOut,
  );
  const main = element("main");
  return {
    element: element("div", { className: "shell" }, header, main),
    show(page, { section, account }) {
      header.hidden = account === null;
      email.textContent = account?.email ?? "";
      for (const link of links) link.ariaCurrent = link.pathname === `/${section}` ? "page" : null;
      main.replaceChildren(page);
    },
  };
}
