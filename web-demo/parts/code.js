// The same action as text to copy: a dialog with one tab for each language.

import { fill, h, icon } from "../core/dom.js";
import { base, endpoints, identities } from "../core/gateway.js";
import { LANGUAGES, snippets } from "../protocol/snippets.js";

let language = LANGUAGES[0];

/** A small button that opens the dialog; `action` is one of snippets.js, or a function that gives it. */
export function codeButton(action, what, { text = false } = {}) {
  return h(
    "button",
    {
      type: "button",
      class: text ? "button" : "icon-button",
      title: `${what} as code`,
      "aria-label": `${what} as code`,
      onclick: () => openCode(typeof action === "function" ? action() : action, what),
    },
    icon("code"),
    text && "As code",
  );
}

export function openCode(action, what) {
  const dialog = document.getElementById("code");
  const close = h(
    "button",
    { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => dialog.close() },
    icon("cross"),
  );
  fill(
    dialog,
    h("header", {}, h("h2", {}, `${what} as code`), close),
    h(
      "p",
      { class: "quiet" },
      "The same call from elsewhere. A message id counts once: paste it twice, and the second answer says duplicate.",
    ),
    codeTabs(() => action).element,
  );
  dialog.showModal();
}

/** The tabs alone; `refresh` writes them anew from what `action` gives then. */
export function codeTabs(action) {
  const code = h("code");
  const panel = h("pre", { class: "code", tabIndex: 0, role: "tabpanel", "aria-label": "Code" }, code);
  const copied = h("span", { class: "quiet", role: "status" });
  let texts = {};
  const tabs = LANGUAGES.map((name) => h("button", { type: "button", role: "tab", onclick: () => choose(name) }, name));
  const choose = (name) => {
    language = name;
    for (const tab of tabs) {
      const chosen = tab.textContent === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    }
    code.textContent = texts[name] ?? "";
    copied.textContent = "";
  };
  const copy = h(
    "button",
    {
      type: "button",
      class: "button",
      onclick: async () => {
        copied.textContent = (await toClipboard(code.textContent)) ? "Copied" : "Select the text and copy it";
      },
    },
    icon("copy"),
    "Copy",
  );
  const list = h(
    "div",
    {
      role: "tablist",
      class: "tabs",
      "aria-label": "Language",
      onkeydown: (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = tabs[(tabs.findIndex((tab) => tab.tabIndex === 0) + step + tabs.length) % tabs.length];
        next.focus();
        choose(next.textContent);
      },
    },
    tabs,
  );
  const refresh = async () => {
    const { grpc = location.host } = await endpoints();
    const { bearer, ...rest } = action();
    // A name may be shown; a token is a secret, and who copies this has their own.
    texts = snippets(
      { ...rest, bearer: identities.value === "tokens" ? "TOKEN" : bearer },
      { http: base, grpc: grpc.replace(/^https?:\/\//, "") },
    );
    choose(language);
  };
  refresh();
  return {
    element: h(
      "div",
      { class: "code-tabs" },
      h("div", { class: "code-head" }, list, h("span", { class: "grow" }), copied, copy),
      panel,
    ),
    refresh,
  };
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** A button that copies a short text and says so. */
export function copyButton(text, what) {
  const button = h(
    "button",
    {
      type: "button",
      class: "icon-button",
      "aria-label": `Copy ${what}`,
      title: `Copy ${what}`,
      onclick: async () => {
        const done = await toClipboard(text);
        fill(button, icon(done ? "check" : "cross"));
        setTimeout(() => fill(button, icon("copy")), 1500);
      },
    },
    icon("copy"),
  );
  return button;
}
