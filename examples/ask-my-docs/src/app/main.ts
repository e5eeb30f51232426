import type { Account } from "../shared/api.ts";
import { api, messageOf } from "./api.ts";
import type { Page } from "./page.ts";
import { askPage } from "./pages/ask.ts";
import { costsPage } from "./pages/costs.ts";
import { documentsPage } from "./pages/documents.ts";
import { notesPage } from "./pages/notes.ts";
import { notFoundPage, problemPage } from "./pages/plain.ts";
import { signInPage } from "./pages/sign-in.ts";
import { goTo, startRouter } from "./router.ts";
import { createShell } from "./shell.ts";

const pages = new Map<string, () => Page>([
  ["documents", documentsPage],
  ["notes", notesPage],
  ["ask", askPage],
  ["costs", costsPage],
]);

const shell = createShell({ onSignOut: signOut });
let account: Account | null = null;
let current: { name: string; page: Page } | undefined;

document.getElementById("app")?.replaceWith(shell.element);
try {
  account = await api.session();
  startRouter(show);
  addEventListener("signed-out", () => signedOut());
  show(location.pathname);
} catch (error) {
  display("problem", problemPage(messageOf(error)));
}

/** The first part of a path names the page, and the page makes of the rest what it likes. */
function show(path: string): void {
  const [name = "", ...rest] = path.slice(1).split("/");
  if (account === null) return display("sign-in", signInPage(signedIn));
  if (name === "") return goTo("/documents", { replace: true });
  if (current?.name !== name) display(name, (pages.get(name) ?? notFoundPage)());
  current?.page.show?.(rest.join("/"));
}

function display(name: string, page: Page): void {
  void current?.page.leave?.();
  current = { name, page };
  document.title = `${page.title} · Ask my docs`;
  shell.show(page.element, { section: name, account });
}

function signedIn(by: Account): void {
  account = by;
  show(location.pathname);
}

function signedOut(): void {
  if (account === null) return;
  account = null;
  show(location.pathname);
}

async function signOut(): Promise<void> {
  try {
    await current?.page.leave?.();
    await api.signOut();
    account = null;
    goTo("/", { replace: true });
  } catch (error) {
    display("problem", problemPage(messageOf(error)));
  }
}
