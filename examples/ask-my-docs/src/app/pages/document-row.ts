import type { Document } from "../../shared/api.ts";
import { isText } from "../../shared/is-text.ts";
import { api, messageOf } from "../api.ts";
import { confirmDialog } from "../confirm-dialog.ts";
import { element, iconButton } from "../dom.ts";
import { sizeText, timeText } from "../format.ts";
import { goTo } from "../router.ts";
import { createRenameForm } from "./rename-form.ts";
import { waitUntilRead } from "./wait-until-read.ts";

const beingRead = " · being read";

/** One document: its name opens it, and the line below tells about it, or how the last thing that was done to it went. */
export function createDocumentRow(
  document: Document,
  { onRemoved, signal }: { onRemoved: () => void; signal: AbortSignal },
): HTMLElement {
  let { name, passages } = document;
  const link = element("a", { href: api.documentAddress(document.id), target: "_blank", rel: "noopener" });
  const title = element("div", { className: "title" }, link);
  const line = element("p", { className: "line muted", role: "status" });
  const ask = iconButton("ask", "Ask", () => goTo(`/ask/${document.id}`));
  const copy = iconButton("link", "Copy a link", () => void attempt(copyLink));
  const rename = iconButton("rename", "Rename", startRenaming);
  const remove = iconButton("remove", "Delete", () => void attempt(askAndRemove));
  const canBeRead = isText(document);
  ask.hidden = !canBeRead || passages === null;
  const buttons = [ask, copy, rename, remove];
  const actions = element("div", { className: "actions" }, ...buttons);
  const row = element(
    "li",
    { className: "row" },
    fileBadge(name),
    element("div", { className: "text" }, title, line),
    actions,
  );
  showName();
  showFacts();
  if (ask.hidden && canBeRead) void offerToAsk();
  return row;

  function showName(): void {
    link.textContent = link.title = name;
    row.querySelector(".badge")?.replaceWith(fileBadge(name));
    ask.ariaLabel = `Ask about ${name}`;
    copy.ariaLabel = `Copy a link to ${name}`;
    rename.ariaLabel = `Rename ${name}`;
    remove.ariaLabel = `Delete ${name}`;
  }

  function showFacts(): void {
    line.classList.remove("problem");
    const reading = canBeRead && passages === null ? [beingRead] : [];
    line.replaceChildren(sizeText(document.size), " · ", timeElement(document.uploadedAt), ...reading);
  }

  async function offerToAsk(): Promise<void> {
    passages = await waitUntilRead(document.id, signal);
    ask.hidden = passages === null;
    if (line.textContent?.endsWith(beingRead)) showFacts();
  }

  function say(text: string, isProblem = false): void {
    line.classList.toggle("problem", isProblem);
    line.textContent = text;
  }

  async function attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      say(messageOf(error), true);
    }
  }

  async function copyLink(): Promise<void> {
    const { url, expiresAt } = await api.linkToDocument(document.id);
    await navigator.clipboard.writeText(url);
    say(`Link copied. Whoever has it can open this until ${timeText(expiresAt)}.`);
  }

  async function askAndRemove(): Promise<void> {
    if (!(await confirmDialog(`Delete “${name}”?`, "It is gone for good then.", "Delete"))) return;
    await api.deleteDocument(document.id);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    onRemoved();
    next?.querySelector("a")?.focus();
  }

  /** The name becomes a field, and the buttons beside it become the two ways out. */
  function startRenaming(): void {
    const stop = () => {
      title.replaceChildren(link);
      actions.replaceChildren(...buttons);
      showFacts();
      rename.focus();
    };
    const save = (newName: string) =>
      attempt(async () => {
        if (newName !== name) ({ name } = await api.renameDocument(document.id, newName));
        showName();
        stop();
      });
    const renaming = createRenameForm(name, { save, stop });
    title.replaceChildren(renaming.form);
    actions.replaceChildren(...renaming.buttons);
    renaming.focus();
  }
}

function timeElement(ms: number): HTMLElement {
  const at = new Date(ms);
  return element("time", { dateTime: at.toISOString(), title: at.toLocaleString() }, timeText(ms));
}

/** The ending of a file's name, as a small sign before it. */
export function fileBadge(name: string): HTMLElement {
  const ending = /\.(\w{1,4})$/.exec(name)?.[1] ?? "file";
  return element("span", { className: "badge", ariaHidden: "true" }, ending.toLowerCase());
}
