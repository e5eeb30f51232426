import type { Account } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import { api, ApiError, messageOf } from "../api.ts";
import { element } from "../dom.ts";
import type { Page } from "../page.ts";

const wordings = {
  signIn: {
    title: "Sign in",
    submit: "Sign in",
    other: "New here?",
    switch: "Create an account",
    autocomplete: "current-password",
  },
  signUp: {
    title: "Create an account",
    submit: "Create account",
    other: "Have an account?",
    switch: "Sign in",
    autocomplete: "new-password",
  },
} as const;

/** One form for both: signing in, and creating an account. */
export function signInPage(onSignedIn: (account: Account) => void): Page {
  let mode: keyof typeof wordings = "signIn";

  const title = element("h1");
  const email = createField("Email", { type: "email", name: "email", autocomplete: "username" });
  const password = createField("Password", { type: "password", name: "password" });
  const problem = element("p", { className: "problem", role: "alert" });
  const submit = element("button", { type: "submit", className: "primary" });
  const other = element("span", { className: "muted" });
  const switchMode = element("button", { type: "button", className: "link", onclick: () => show(opposite(mode)) });
  const form = element("form", { noValidate: true }, email.element, password.element, problem, submit);
  form.onsubmit = (event) => {
    event.preventDefault();
    void send();
  };
  show(mode);

  return {
    title: "Sign in",
    element: element(
      "section",
      { className: "sign-in" },
      element("img", { src: "/favicon.svg", alt: "", width: 48, height: 48 }),
      element("p", { className: "name" }, "Ask my docs"),
      element("p", { className: "muted" }, "A quiet place for your documents and notes."),
      element("div", { className: "card" }, title, form, element("p", { className: "switch" }, other, " ", switchMode)),
    ),
  };

  function show(next: keyof typeof wordings): void {
    mode = next;
    const words = wordings[mode];
    title.textContent = words.title;
    submit.textContent = words.submit;
    other.textContent = words.other;
    switchMode.textContent = words.switch;
    password.input.autocomplete = words.autocomplete;
    password.hint = mode === "signUp" ? `At least ${limits.passwordLengthMin} characters` : "";
    clearProblems();
  }

  async function send(): Promise<void> {
    clearProblems();
    submit.disabled = true;
    try {
      const credentials = { email: email.input.value, password: password.input.value };
      onSignedIn(await (mode === "signIn" ? api.signIn(credentials) : api.signUp(credentials)));
    } catch (error) {
      showProblem(error);
    } finally {
      submit.disabled = false;
    }
  }

  function showProblem(error: unknown): void {
    const field = [email, password].find(({ input }) => error instanceof ApiError && error.field === input.name);
    if (field === undefined) problem.textContent = messageOf(error);
    else field.problem = messageOf(error);
    (field ?? password).input.focus();
  }

  function clearProblems(): void {
    email.problem = password.problem = problem.textContent = "";
  }
}

function opposite(mode: keyof typeof wordings): keyof typeof wordings {
  return mode === "signIn" ? "signUp" : "signIn";
}

/** A labelled input with one line below it, for a hint or for what is wrong. The line keeps its place when it is empty. */
function createField(label: string, properties: Partial<HTMLInputElement>) {
  const noteId = `${properties.name}-note`;
  const input = element("input", { required: true, ...properties });
  const note = element("span", { id: noteId, className: "note" });
  input.setAttribute("aria-describedby", noteId);
  let hint = "";
  return {
    element: element("label", { className: "field" }, element("span", {}, label), input, note),
    input,
    set hint(text: string) {
      hint = text;
      note.textContent = text;
    },
    set problem(text: string) {
      note.textContent = text || hint;
      note.classList.toggle("problem", text !== "");
      input.ariaInvalid = text === "" ? null : "true";
    },
  };
}
