// The inspector: all sessions that the gateway shows, live, and one of them in full.

import { Cell } from "../core/cell.js";
import { fill, h, refill } from "../core/dom.js";
import { ago, refusal, shortId, shortName, stateName } from "../core/format.js";
import { base, clientOf, sender, token } from "../core/gateway.js";
import { modeOf } from "../modes/index.js";
import { codeButton, codeTabs } from "../parts/code.js";
import { refusalBox } from "../parts/refusal.js";
import { uuid } from "../core/format.js";
import { showSession } from "./session.js";

const STATES = ["all", "open", "suspended", "resolved", "cancelled", "expired"];
const SHOWN = 200;
/** The filter stays while the tab does. */
const filter = new Cell({ state: "all", text: "" });

export function show(root, [id]) {
  const sessions = new Map();
  const list = h("ul", { class: "session-list" });
  const count = h("span", { class: "quiet", role: "status" });
  const detail = h("div", { class: "session-detail" });
  const notice = h("div");
  const changed = new Cell(0);
  let stopDetail = () => {};

  const states = h(
    "select",
    {
      "aria-label": "State",
      onchange: ({ target }) => {
        filter.value = { ...filter.value, state: target.value };
      },
    },
    STATES.map((name) =>
      h("option", { value: name, selected: name === filter.value.state }, name === "all" ? "all states" : name),
    ),
  );
  const search = h("input", {
    type: "search",
    placeholder: "id, mode or agent",
    "aria-label": "Search",
    value: filter.value.text,
    oninput: ({ target }) => {
      filter.value = { ...filter.value, text: target.value };
    },
  });

  fill(
    root,
    h(
      "div",
      { class: `inspector ${id ? "chosen" : ""}` },
      h(
        "section",
        { class: "card session-index", "aria-labelledby": "sessions-title" },
        h(
          "header",
          { class: "card-head" },
          h("h1", { id: "sessions-title" }, "Sessions"),
          count,
          h("span", { class: "grow" }),
          codeButton(
            () => ({ kind: "call", bearer: token.value, method: "ListSessions", request: { page_size: 100 } }),
            "ListSessions",
          ),
        ),
        h("div", { class: "filters" }, search, states),
        notice,
        list,
      ),
      detail,
    ),
  );

  const draw = () => {
    const wanted = [...sessions.values()].filter(matches).sort((a, b) => b.started_at_unix_ms - a.started_at_unix_ms);
    count.textContent = sessions.size ? `${wanted.length} of ${sessions.size}, live` : "live";
    refill(
      list,
      wanted.slice(0, SHOWN).map((session) => item(session, session.session_id === id)),
    );
    if (wanted.length > SHOWN)
      list.append(h("li", { class: "quiet pad" }, `${wanted.length - SHOWN} more: search to find them.`));
    if (wanted.length === 0)
      list.append(
        h("li", { class: "pad" }, sessions.size ? h("p", { class: "quiet" }, "No session matches.") : nothing()),
      );
  };
  const stops = [filter.follow(draw), changed.listen(draw)];
  const clock = setInterval(draw, 15_000);

  const watch = follow(sessions, changed, notice);
  if (id) stopDetail = showSession(detail, id, { known: () => sessions.get(id), changed });
  else
    fill(
      detail,
      h(
        "div",
        { class: "empty" },
        h("h2", {}, "Choose a session"),
        h("p", {}, "Its history, its picture and its actions are shown here, live."),
      ),
    );
  return () => {
    watch.close();
    stopDetail();
    clearInterval(clock);
    for (const stop of stops) stop();
  };
}

function matches({ session_id, mode, state, initiator, participants }) {
  const { state: wanted, text } = filter.value;
  if (wanted !== "all" && stateName(state) !== wanted) return false;
  return [session_id, mode, modeOf(mode).title, initiator, ...participants].some((value) =>
    value.toLowerCase().includes(text.toLowerCase()),
  );
}

function item(session, chosen) {
  const { session_id, mode, state, initiator, participants, started_at_unix_ms } = session;
  return h(
    "li",
    {},
    h(
      "a",
      {
        href: `#/sessions/${encodeURIComponent(session_id)}`,
        "data-key": session_id,
        "aria-current": chosen ? "true" : undefined,
      },
      h("span", { class: `dot ${stateName(state)}`, "aria-hidden": "true" }),
      h(
        "span",
        { class: "session-title" },
        h("strong", {}, modeOf(mode).title),
        h("span", { class: "mono quiet" }, shortId(session_id)),
      ),
      h(
        "span",
        { class: "session-who quiet" },
        `${shortName(initiator)} and ${
          participants
            .filter((one) => one !== initiator)
            .map(shortName)
            .join(", ") || "nobody else"
        }`,
      ),
      h("span", { class: "session-when quiet" }, `${stateName(state)} · ${ago(started_at_unix_ms)}`),
    ),
  );
}

/** The watch; it begins with one event for each session, and begins anew after every lost connection. */
function follow(sessions, changed, notice) {
  const watch = clientOf().watch("SESSIONS", {
    onrestart: () => {
      sessions.clear();
      changed.value += 1;
    },
  });
  (async () => {
    try {
      for await (const {
        event: { session },
      } of watch) {
        sessions.set(session.session_id, session);
        changed.value += 1;
      }
    } catch (error) {
      fill(notice, refusalBox(refusal(error), { title: "The list is not live" }));
    }
  })();
  return watch;
}

function nothing() {
  const example = () => ({
    kind: "send",
    bearer: token.value,
    envelope: {
      macp_version: "1.0",
      mode: "macp.mode.decision.v1",
      message_type: "SessionStart",
      message_id: uuid(),
      session_id: uuid(),
      payload: {
        intent: "where to eat",
        participants: [sender.value, "agent://bob"],
        mode_version: "1.0.0",
        configuration_version: "1",
        ttl_ms: 600_000,
      },
    },
  });
  return h(
    "div",
    { class: "nothing-yet" },
    h(
      "p",
      {},
      "No session yet. Open the ",
      h("a", { href: "#/room/decision" }, "room"),
      ", ",
      h("a", { href: "#/compose" }, "compose"),
      ` one, or start one from a terminal at ${base}:`,
    ),
    codeTabs(example).element,
  );
}
