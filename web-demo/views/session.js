// One session in full: what it is, its picture, its ordered history, and what can be done with it.

import { Cell } from "../core/cell.js";
import { fill, h, icon, refill } from "../core/dom.js";
import { clock, duration, isOver, plural, refusal, shortName, stateName } from "../core/format.js";
import { call, clientOf, identities, sender, token } from "../core/gateway.js";
import { modeOf } from "../modes/index.js";
import { codeButton, copyButton } from "../parts/code.js";
import { receiptPart } from "../parts/receipt.js";
import { refusalBox } from "../parts/refusal.js";
import { Timeline } from "../parts/timeline.js";
import { whatIfPart } from "../parts/what_if.js";

/** `known` gives the session's metadata from the list, if it is there; `changed` counts the list's updates. */
export function showSession(root, session_id, { known, changed }) {
  const metadata = new Cell(null);
  const bearer = new Cell(null);
  const stops = [];
  let stopReading = () => {};

  const look = () => {
    const found = known();
    if (!found || found === metadata.value) return;
    const first = metadata.value === null;
    metadata.value = found;
    if (first) bearer.value = readerOf(found);
  };
  stops.push(changed.listen(look));
  look();
  if (!metadata.value) {
    fill(root, h("div", { class: "empty" }, h("p", { class: "quiet" }, "Looking for the session…")));
    call("GetSession", { session_id }).then(
      (answer) => {
        if (metadata.value) return;
        metadata.value = answer.metadata;
        bearer.value = token.value;
      },
      (error) => {
        if (!metadata.value)
          fill(
            root,
            h("div", { class: "empty" }, back(), refusalBox(refusal(error), { title: "This session cannot be shown" })),
          );
      },
    );
  }
  stops.push(
    bearer.follow((as) => {
      stopReading();
      if (as) stopReading = read(root, session_id, metadata, bearer, as);
    }),
  );
  return () => {
    stopReading();
    for (const stop of stops) stop();
  };
}

/** Who reads: the page's own identity where it takes part; with development identities otherwise the initiator. */
function readerOf({ initiator, participants }) {
  const takesPart = initiator === sender.value || participants.includes(sender.value);
  return takesPart || identities.value !== "development" ? token.value : initiator;
}

const back = () => h("a", { class: "back", href: "#/sessions" }, icon("back"), "All sessions");

function read(root, session_id, metadata, bearer, as) {
  const { mode: modeId, initiator, participants } = metadata.value;
  const mode = modeOf(modeId);
  const timeline = new Timeline({ mode, bearerOf: (one) => (identities.value === "development" ? one : "TOKEN") });
  const picture = h("div", { class: "picture" });
  const state = h("span", { class: "badge" });
  const facts = h("dl", { class: "facts" });
  const actions = h("div", { class: "row" });
  const answer = h("div", { "aria-live": "polite" });
  const after = h("div", { class: "after-grid" });
  const title = h("h2", {}, mode.title);

  const choices = [...new Set([token.value, initiator, ...participants])];
  const seenAs =
    identities.value === "development" &&
    h(
      "label",
      { class: "inline" },
      h("span", { class: "quiet" }, "seen as"),
      h(
        "select",
        {
          onchange: ({ target }) => {
            bearer.value = target.value;
          },
        },
        choices.map((one) => h("option", { value: one, selected: one === as }, shortName(one))),
      ),
    );

  fill(
    root,
    h(
      "section",
      { class: "card", "aria-label": "Session" },
      back(),
      h(
        "header",
        { class: "card-head" },
        title,
        state,
        h("span", { class: "grow" }),
        seenAs,
        codeButton({ kind: "subscribe", bearer: as, session_id, after_sequence: 0 }, "Following this session"),
      ),
      h("p", { class: "row id-row" }, h("code", {}, session_id), copyButton(session_id, "the session id")),
      facts,
      actions,
      answer,
    ),
    h("section", { class: "card", "aria-label": "Picture" }, picture),
    h(
      "section",
      { class: "card", "aria-labelledby": "session-history" },
      h(
        "header",
        { class: "card-head" },
        h("h3", { id: "session-history" }, "Accepted history"),
        h("span", { class: "grow" }),
        h("a", { class: "button", href: `#/wires/${encodeURIComponent(session_id)}` }, "Side by side"),
      ),
      timeline.element,
    ),
    after,
  );

  const act = async (method, reason) => {
    try {
      const { ack } = await call(method, { session_id, reason }, as);
      metadata.value = { ...metadata.value, state: ack.session_state };
      fill(answer);
    } catch (error) {
      fill(answer, refusalBox(refusal(error)));
    }
  };
  const button = (label, method, reason) =>
    h("button", { type: "button", class: "button", "data-key": method, onclick: () => act(method, reason) }, label);
  const history = new Cell([]);
  const stops = [
    metadata.follow((now) => {
      const name = stateName(now.state);
      state.className = `badge ${name}`;
      state.textContent = name;
      drawFacts(facts, now);
      refill(
        actions,
        !isOver(now.state) && [
          h(
            "a",
            {
              class: "button primary",
              href: `#/compose?${new URLSearchParams({ session: session_id, mode: modeId, ...(as !== token.value && { as }) })}`,
            },
            icon("send"),
            "Send an envelope",
          ),
          name === "suspended"
            ? button("Resume", "ResumeSession", "resumed in the inspector")
            : button("Suspend", "SuspendSession", "suspended in the inspector"),
          button("Cancel", "CancelSession", "cancelled in the inspector"),
        ],
      );
    }),
    history.listen((deliveries) => {
      const model = mode.fold(deliveries);
      title.textContent = model.intent || mode.title;
      timeline.update(deliveries);
      refill(picture, mode.picture(model, {}));
    }),
  ];
  refill(picture, mode.picture(mode.fold([]), {}));
  fill(
    after,
    whatIfPart({ session_id, mode: modeId, bearer: as }),
    stateName(metadata.value.state) === "resolved" && receiptPart(session_id, as),
  );

  const subscription = clientOf(as).subscribe(session_id);
  (async () => {
    try {
      let pending = [];
      for await (const delivery of subscription) {
        // A long history is drawn in slices, not once for each envelope.
        pending.push(delivery);
        if (pending.length === 1)
          queueMicrotask(() =>
            requestAnimationFrame(() => {
              history.value = [...history.value, ...pending];
              pending = [];
            }),
          );
      }
      const { ended } = subscription;
      if (ended) metadata.value = { ...metadata.value, state: ended.state };
      if (ended && stateName(ended.state) === "resolved" && after.childElementCount === 1)
        after.append(receiptPart(session_id, as));
    } catch (error) {
      fill(answer, refusalBox(refusal(error), { title: `${shortName(as)} may not follow this session` }));
    }
  })();
  return () => {
    subscription.close();
    for (const stop of stops) stop();
  };
}

function drawFacts(
  list,
  {
    mode,
    initiator,
    participants,
    policy_version,
    mode_version,
    configuration_version,
    started_at_unix_ms,
    expires_at_unix_ms,
    participant_activity,
    context_id,
    state,
  },
) {
  const row = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const messages = participant_activity.reduce((sum, { message_count }) => sum + message_count, 0);
  fill(
    list,
    row("mode", mode),
    row("policy", policy_version),
    row("initiator", shortName(initiator)),
    row("participants", participants.map(shortName).join(", ") || "open"),
    row("versions", `mode ${mode_version}, configuration ${configuration_version}`),
    row("started", clock(started_at_unix_ms)),
    !isOver(state) &&
      expires_at_unix_ms > 0 &&
      row("time left", duration(Math.max(0, expires_at_unix_ms - Date.now()))),
    messages > 0 && row("at last sight", plural(messages, "message")),
    context_id && row("context", context_id),
  );
}
