import { marks, type NoteSummary } from "../../shared/api.ts";
import { api, messageOf } from "../api.ts";
import { element } from "../dom.ts";
import { timeText, withoutMarkdown } from "../format.ts";
import type { Page } from "../page.ts";
import { goTo } from "../router.ts";
import { createNoteEditor, type NoteEditor } from "./note-editor.ts";

const searchDelayMs = 150;

/** The list of notes on one side, the open one on the other. On a narrow screen there is room for one of them. */
export function notesPage(): Page {
  const left = new AbortController();
  let searching = new AbortController();
  let editor: NoteEditor | undefined;
  let opening = new AbortController();

  const search = element("input", { type: "search", ariaLabel: "Search notes", placeholder: "Search" });
  const create = element("button", { type: "button", className: "primary", onclick: () => void write() }, "New note");
  const list = element("ul", { className: "note-list", ariaLabel: "Notes" });
  const message = element("p", { className: "muted list-message", role: "status" });
  const place = element("div", { className: "note-place" });
  const page = element(
    "section",
    { className: "notes" },
    element(
      "div",
      { className: "note-side" },
      element("h1", { className: "visually-hidden" }, "Notes"),
      element("div", { className: "note-tools" }, search, create),
      message,
      list,
    ),
    place,
  );
  let delay = 0;
  search.oninput = () => {
    clearTimeout(delay);
    delay = setTimeout(() => void load(), searchDelayMs);
  };
  void load();
  return { title: "Notes", element: page, show: (id) => void open(id), leave };

  async function leave(): Promise<void> {
    left.abort();
    opening.abort();
    await editor?.close();
  }

  async function load(): Promise<void> {
    searching.abort();
    searching = new AbortController();
    const { signal } = searching;
    const wanted = search.value.trim();
    try {
      const found = await api.notes(wanted, AbortSignal.any([signal, left.signal]));
      list.replaceChildren(...found.map(entryOf));
      markOpen();
      message.textContent =
        found.length > 0
          ? ""
          : wanted === ""
            ? "No notes yet. Begin with “New note”; it is saved while you type."
            : `Nothing found for “${wanted}”.`;
    } catch (error) {
      if (!signal.aborted && !left.signal.aborted) message.textContent = messageOf(error);
    }
  }

  async function write(): Promise<void> {
    try {
      const { id } = await api.createNote({ title: "", body: "" });
      search.value = "";
      goTo(`/notes/${id}`);
      await load();
    } catch (error) {
      message.textContent = messageOf(error);
    }
  }

  async function open(id: string): Promise<void> {
    opening.abort();
    opening = new AbortController();
    const { signal } = opening;
    void editor?.close();
    editor = undefined;
    page.classList.toggle("note-is-open", id !== "");
    markOpen();
    if (id === "") return place.replaceChildren(invitation());
    try {
      const note = await api.note(id, signal);
      editor = createNoteEditor(note, { onSaved: () => void load(), onRemoved: () => goTo("/notes") });
      place.replaceChildren(editor.element);
      editor.focus();
    } catch (error) {
      if (!signal.aborted) place.replaceChildren(plainMessage(messageOf(error)));
    }
  }

  function markOpen(): void {
    for (const link of list.querySelectorAll("a"))
      link.ariaCurrent = link.pathname === location.pathname ? "page" : null;
  }
}

function entryOf({ id, title, excerpt, updatedAt }: NoteSummary): HTMLElement {
  return element(
    "li",
    {},
    element(
      "a",
      { href: `/notes/${id}` },
      element("span", { className: "title" }, title || "Untitled"),
      element("time", { className: "muted", dateTime: new Date(updatedAt).toISOString() }, timeText(updatedAt)),
      element("span", { className: "excerpt muted" }, ...highlighted(withoutMarkdown(excerpt))),
    ),
  );
}

/** What a search found stands between two marks. */
function highlighted(excerpt: string): (Node | string)[] {
  return excerpt.split(marks.start).flatMap((part, index) => {
    const [hit = "", after = ""] = index === 0 ? ["", part] : part.split(marks.end);
    return [...(hit === "" ? [] : [element("mark", {}, hit)]), after];
  });
}

function invitation(): HTMLElement {
  return element(
    "div",
    { className: "empty" },
    element("h2", {}, "Nothing open"),
    element("p", { className: "muted" }, "Choose a note, or write a new one. It is saved while you type."),
  );
}

function plainMessage(text: string): HTMLElement {
  return element("div", { className: "empty" }, element("p", {}, text), element("a", { href: "/notes" }, "All notes"));
}
