import type { Feature } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import { api, askQuestion, messageOf } from "../api.ts";
import { element } from "../dom.ts";
import type { Page } from "../page.ts";

/** One document, a question to it, and the answer as it is written. */
export function askPage(): Page {
  const left = new AbortController();
  let documentId = "";
  /** Ends the answer that is still coming when the next question is asked. */
  let asking = new AbortController();

  const title = element("h1", {}, "Ask a document");
  const input = element("input", {
    ariaLabel: "Question",
    placeholder: "What would you like to know?",
    maxLength: limits.questionLength,
    required: true,
  });
  const send = element("button", { className: "primary" }, "Ask");
  const sumUp = element("button", { type: "button", onclick: () => void ask("summary") }, "Sum it up");
  const form = element("form", {}, input, send, sumUp);
  form.onsubmit = (event) => {
    event.preventDefault();
    void ask("answer");
  };
  const answer = element("div", { className: "answer", hidden: true, ariaLive: "polite" });
  const line = element("p", { className: "line muted", role: "status" });

  return {
    title: "Ask",
    element: element("section", { className: "ask" }, title, form, answer, line),
    show(rest) {
      documentId = rest;
      void load();
    },
    leave() {
      left.abort();
      asking.abort();
    },
  };

  async function load(): Promise<void> {
    try {
      title.textContent = (await api.document(documentId, left.signal)).name;
      input.focus();
    } catch (error) {
      if (!left.signal.aborted) say(messageOf(error), true);
    }
  }

  async function ask(feature: Feature): Promise<void> {
    asking.abort();
    const { signal } = (asking = new AbortController());
    answer.hidden = false;
    answer.textContent = "";
    say("Reading");
    try {
      const text = feature === "answer" ? input.value : "";
      const { model, isFromCache, pieces } = await askQuestion({ documentId, feature, text }, signal);
      const reader = pieces.getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) answer.append(piece.value);
      say(isFromCache ? `Answered before by ${model}, for nothing this time` : `Answered by ${model}`);
    } catch (error) {
      if (!signal.aborted) say(messageOf(error), true);
    }
  }

  function say(text: string, isProblem = false): void {
    line.classList.toggle("problem", isProblem);
    line.textContent = text;
  }
}
