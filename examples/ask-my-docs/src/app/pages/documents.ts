import type { Document } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import { api, messageOf } from "../api.ts";
import { element } from "../dom.ts";
import { sizeText } from "../format.ts";
import type { Page } from "../page.ts";
import { createDocumentRow } from "./document-row.ts";
import { createArchiveImport } from "./archive-import.ts";
import { acceptDrops, createUploads } from "./uploads.ts";

/** Everything that was uploaded, the newest first, and the place to drop more. */
export function documentsPage(): Page {
  const left = new AbortController();
  const usage = element("p", { className: "muted", role: "status" });
  const list = element("ul", { className: "rows", ariaLabel: "Documents" });
  const empty = element(
    "div",
    { className: "empty", hidden: true },
    element("h2", {}, "No documents yet"),
    element("p", { className: "muted" }, "Drop a file anywhere on this page, or choose one above."),
  );
  const shown = new Map<string, Document>();

  const uploads = createUploads(add, left.signal);
  const archive = createArchiveImport(load, left.signal);
  const page = element(
    "section",
    { className: "documents" },
    element("div", { className: "heading" }, element("h1", {}, "Documents"), usage),
    createDropZone(uploads.add, archive.button),
    uploads.element,
    archive.list,
    list,
    empty,
  );
  acceptDrops(page, uploads.add, left.signal);
  void load();
  return { title: "Documents", element: page, leave: () => left.abort() };

  async function load(): Promise<void> {
    try {
      const { documents } = await api.documents(left.signal);
      for (const document of documents) shown.set(document.id, document);
      list.replaceChildren(...documents.map(rowOf));
      showTotals();
    } catch (error) {
      if (!left.signal.aborted) usage.textContent = messageOf(error);
    }
  }

  function add(document: Document): void {
    shown.set(document.id, document);
    list.prepend(rowOf(document));
    showTotals();
  }

  function rowOf(document: Document): HTMLElement {
    return createDocumentRow(document, {
      signal: left.signal,
      onRemoved() {
        shown.delete(document.id);
        showTotals();
      },
    });
  }

  function showTotals(): void {
    const bytes = [...shown.values()].reduce((sum, { size }) => sum + size, 0);
    const count = shown.size === 1 ? "1 document" : `${shown.size} documents`;
    usage.textContent =
      shown.size === 0 ? "" : `${count}, ${sizeText(bytes)} of ${sizeText(limits.storageBytesPerUser)}`;
    empty.hidden = shown.size > 0;
  }
}

function createDropZone(onFiles: (files: Iterable<File>) => void, ...others: HTMLElement[]): HTMLElement {
  const input = element("input", { type: "file", multiple: true, className: "visually-hidden", id: "files" });
  input.onchange = () => {
    onFiles(input.files ?? []);
    input.value = "";
  };
  return element(
    "div",
    { className: "drop-zone" },
    input,
    element("label", { htmlFor: "files", className: "button" }, "Choose files"),
    element("span", { className: "muted" }, `or drop them here, up to ${sizeText(limits.uploadBytes)} each`),
    ...others,
  );
}
