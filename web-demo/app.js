// The page's frame: which view is shown, who the page acts as, and how the connection is.

import { Cell } from "./core/cell.js";
import { fill, h } from "./core/dom.js";
import { shortName } from "./core/format.js";
import { actAs, clientOf, identities, link, probe, sender, token } from "./core/gateway.js";
import { errorBox } from "./parts/refusal.js";
import * as calls from "./views/calls.js";
import * as compose from "./views/compose.js";
import * as room from "./views/room.js";
import * as sessions from "./views/sessions.js";
import * as wires from "./views/wires.js";

const VIEWS = { room, sessions, wires, compose, calls };
const TITLES = { room: "Room", sessions: "Sessions", wires: "Side by side", compose: "Compose", calls: "Calls" };
/** A lost connection is told in words only if it does not come back at once. */
const QUIET_MS = 1200;

const root = document.getElementById("view");
let leave = () => {};
let shown = null;

// --- views -----------------------------------------------------------------------------------------------------------

function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  return { name: VIEWS[name] ? name : "room", rest, query: new URLSearchParams(query) };
}

function showView() {
  const { name, rest, query } = route();
  leave();
  leave = () => {};
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[name]} · MACP gateway`;
  if (name !== "room" && identities.value === "tokens" && !token.value) {
    fill(
      root,
      h(
        "div",
        { class: "empty" },
        h("h1", {}, "This gateway wants a token"),
        h("p", {}, "It knows its callers by bearer tokens. Yours stays in this tab."),
        tokenForm(),
      ),
    );
    return;
  }
  leave = VIEWS[name].show(root, rest, query) ?? (() => {});
  // Whoever follows a link continues at the new content; on the first page nothing is taken from the address bar.
  if (shown !== null && shown !== name) root.focus({ preventScroll: true });
  if (shown !== name) scrollTo(0, 0);
  shown = name;
}

// --- who -------------------------------------------------------------------------------------------------------------

const dialog = document.getElementById("identity");

function drawWho() {
  const { state, transport, retryInMs } = link.value;
  const open = state === "open";
  const words = open
    ? ({ websocket: "Live", sse: "Live by event stream" }[transport] ?? "Live")
    : state === "closed"
      ? "Not connected"
      : state === "waiting" && retryInMs > 2000
        ? "Trying again soon"
        : "Connecting";
  fill(
    document.getElementById("who"),
    h(
      "span",
      {
        class: `link-state ${open ? "open" : state}`,
        role: "status",
        title: open ? `Connected over ${transport === "sse" ? "server-sent events" : "WebSocket"}` : words,
      },
      h("span", { class: "dot", "aria-hidden": "true" }),
      h("span", { class: "link-words" }, words),
    ),
    h(
      "button",
      { type: "button", class: "button who", "aria-haspopup": "dialog", onclick: openIdentity },
      h("span", { class: "quiet" }, "as"),
      h("strong", {}, shortName(sender.value) || "nobody"),
    ),
  );
}

function openIdentity() {
  fill(
    dialog,
    h(
      "header",
      {},
      h("h2", {}, "Who you are"),
      h("span", { class: "grow" }),
      h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Close"),
    ),
    identities.value === "tokens"
      ? [
          h(
            "p",
            {},
            "The token that this tab calls with. It goes to this gateway only, and is forgotten with the tab.",
          ),
          tokenForm(),
        ]
      : [
          h(
            "p",
            {},
            "This gateway takes every name for its sender, so anybody on this machine may act as anybody. Other tabs keep their own.",
          ),
          nameForm(),
        ],
  );
  dialog.showModal();
}

function nameForm() {
  const input = h("input", {
    id: "identity-name",
    value: sender.value,
    spellcheck: false,
    autocomplete: "off",
    list: "identity-names",
  });
  return h(
    "form",
    {
      class: "row",
      onsubmit: (event) => {
        event.preventDefault();
        const name = input.value.trim();
        if (name) become(name);
      },
    },
    h("label", { for: "identity-name" }, "Name"),
    input,
    h(
      "datalist",
      { id: "identity-names" },
      ["robin", "ada", "ben", "cleo"].map((name) => h("option", { value: `agent://${name}` })),
    ),
    h("button", { type: "submit", class: "button primary" }, "Act as this one"),
  );
}

function tokenForm() {
  const input = h("input", { id: "identity-token", type: "password", autocomplete: "off", required: true });
  return h(
    "form",
    {
      class: "row",
      onsubmit: (event) => {
        event.preventDefault();
        if (input.value) become(input.value);
      },
    },
    h("label", { for: "identity-token" }, "Token"),
    input,
    h("button", { type: "submit", class: "button primary" }, "Use it"),
  );
}

function become(next) {
  if (dialog.open) dialog.close();
  const same = next === token.value;
  actAs(next);
  if (same && link.value.state !== "closed") return;
  clientOf();
  if (route().name !== "room") showView();
}

// --- the connection --------------------------------------------------------------------------------------------------

const away = new Cell(false);
let timer;

function watchLink({ state, error }) {
  drawWho();
  clearTimeout(timer);
  if (state === "open") away.value = false;
  else if (state === "closed") away.value = error?.code === "UNAUTHENTICATED" ? "refused" : false;
  else
    timer = setTimeout(() => {
      away.value = "lost";
    }, QUIET_MS);
}

function drawBanner(why) {
  const banner = document.getElementById("banner");
  const again = h("button", { type: "button", class: "button", onclick: () => clientOf().reconnect() }, "Try now");
  fill(
    banner,
    why === "lost" &&
      errorBox("The gateway does not answer. This page tries again until it does, and goes on where it was.", again),
    why === "refused" &&
      errorBox(
        "The gateway did not accept this credential.",
        h("button", { type: "button", class: "button", onclick: openIdentity }, "Change it"),
      ),
  );
}

// --- start -----------------------------------------------------------------------------------------------------------

sender.listen(drawWho);
away.listen(drawBanner);
addEventListener("hashchange", showView);
for (const dialog of document.querySelectorAll("dialog")) {
  // A click beside the dialog closes it.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

await probe();
link.follow(watchLink);
if (token.value) clientOf();
identities.listen(showView);
showView();
