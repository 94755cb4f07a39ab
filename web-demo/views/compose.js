// Composing an envelope with the fields of its mode, and the same call as code while it is written.

import { fill, h, icon } from "../core/dom.js";
import { duration, refusal, shortId, shortName, stateName, uuid } from "../core/format.js";
import { clientOf, identities, send, sender, token } from "../core/gateway.js";
import { MODES } from "../modes/index.js";
import { codeTabs } from "../parts/code.js";
import { PayloadForm } from "../parts/payload_form.js";
import { refusalBox } from "../parts/refusal.js";
import { MODES as SCHEMAS } from "../protocol/schema.js";

export function show(root, _path, query) {
  const state = {
    bearer: identities.value === "development" ? query.get("as") || token.value : token.value,
    unread: "",
    mode: query.get("mode") || MODES[0].mode,
    session_id: query.get("session") || uuid(),
    message_id: uuid(),
    message_type: query.get("type") || (query.get("session") ? "" : "SessionStart"),
    metadata: null,
    seen: [],
    sentOnce: false,
    /** Whether the session is there already, so that it needs no start. */
    existing: query.has("session"),
  };
  const form = h("form", { class: "card compose", "aria-label": "Envelope" });
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  let payload;
  let registered = [];

  const envelope = () => ({
    macp_version: "1.0",
    mode: state.mode,
    message_type: state.message_type,
    message_id: state.message_id,
    session_id: state.session_id,
    ...(payload?.value() ?? {}),
  });
  const code = codeTabs(() => ({ kind: "send", bearer: state.bearer, envelope: envelope() }));
  /** After something was sent, a change makes another message of it. */
  const edited = () => {
    if (state.sentOnce) {
      state.message_id = uuid();
      state.sentOnce = false;
      form.querySelector("#compose-message").value = state.message_id;
    }
    code.refresh();
  };

  const draw = () => {
    const types = Object.keys(SCHEMAS[state.mode] ?? {});
    const known = registered.find((mode) => mode.mode === state.mode);
    const offered = types.length ? types : (known?.message_types ?? ["SessionStart", "Commitment"]);
    if (!offered.includes(state.message_type)) state.message_type = (state.existing && offered[1]) || offered[0];
    payload = new PayloadForm({
      mode: state.mode,
      message_type: state.message_type,
      state,
      sender: state.bearer,
      edited,
    });
    const modes = [...new Set([...MODES.map((mode) => mode.mode), ...registered.map((mode) => mode.mode), state.mode])];
    const field = (id, label, control, hint) =>
      h(
        "div",
        { class: "field" },
        h("label", { for: id }, label),
        Object.assign(control, { id }),
        hint && h("p", { class: "hint" }, hint),
      );
    fill(
      form,
      h(
        "div",
        { class: "field-grid" },
        field(
          "compose-sender",
          identities.value === "development" ? "Sender" : "Sender (of your token)",
          h("input", {
            value: identities.value === "development" ? state.bearer : sender.value,
            disabled: identities.value !== "development",
            spellcheck: false,
            autocomplete: "off",
            onchange: ({ target }) => {
              state.bearer = target.value.trim() || token.value;
              edited();
            },
          }),
          "With development identities any name",
        ),
        field(
          "compose-mode",
          "Mode",
          h(
            "select",
            {
              onchange: ({ target }) => {
                state.mode = target.value;
                draw();
                edited();
              },
            },
            modes.map((mode) => h("option", { value: mode, selected: mode === state.mode }, mode)),
          ),
        ),
        field(
          "compose-type",
          "Message type",
          h(
            "select",
            {
              onchange: ({ target }) => {
                state.message_type = target.value;
                draw();
                edited();
              },
            },
            offered.map((type) => h("option", { value: type, selected: type === state.message_type }, type)),
          ),
        ),
        field(
          "compose-session",
          "Session",
          h("input", {
            class: "mono",
            value: state.session_id,
            spellcheck: false,
            autocomplete: "off",
            onchange: ({ target }) => {
              state.session_id = target.value.trim();
              edited();
            },
          }),
          state.metadata
            ? `${stateName(state.metadata.state)}, started by ${shortName(state.metadata.initiator)}`
            : state.unread || "A new id begins a new session",
        ),
        field(
          "compose-message",
          "Message id",
          h("input", {
            class: "mono",
            value: state.message_id,
            spellcheck: false,
            autocomplete: "off",
            onchange: ({ target }) => {
              state.message_id = target.value.trim();
              code.refresh();
            },
          }),
          "Sent twice, it counts once",
        ),
      ),
      h("fieldset", {}, h("legend", {}, "Payload"), payload.element),
      h(
        "p",
        { class: "row" },
        h("button", { type: "submit", class: "button primary" }, icon("send"), "Send"),
        h(
          "button",
          {
            type: "button",
            class: "button",
            onclick: () => {
              Object.assign(state, {
                session_id: uuid(),
                existing: false,
                metadata: null,
                unread: "",
                seen: [],
                message_type: "SessionStart",
              });
              draw();
              edited();
            },
          },
          "New session",
        ),
      ),
      answer,
    );
    code.refresh();
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = payload.problem();
    if (problem) return fill(answer, refusalBox({ code: "JSON", message: problem }, { title: "This is not sent" }));
    const sent = envelope();
    const began = performance.now();
    try {
      const ack = await send(clientOf(state.bearer), state.bearer, sent);
      state.sentOnce = ack.ok;
      fill(answer, ack.ok ? accepted(ack, sent, performance.now() - began, next) : refusalBox(refusal(ack.error)));
    } catch (error) {
      fill(answer, refusalBox(refusal(error)));
    }
  });
  /** Goes on in the session that was just started, or written to. */
  const next = async () => {
    await read(state);
    state.existing = true;
    if (state.message_type === "SessionStart") state.message_type = "";
    state.message_id = uuid();
    state.sentOnce = false;
    draw();
    form.querySelector("#compose-type").focus();
  };

  fill(
    root,
    h(
      "header",
      { class: "page-head" },
      h(
        "div",
        {},
        h("h1", {}, "Compose"),
        h("p", { class: "lead" }, "One envelope, by hand. The gateway says whether it is accepted, and why not."),
      ),
    ),
    h(
      "div",
      { class: "compose-grid" },
      form,
      h(
        "section",
        { class: "card code-card", "aria-labelledby": "as-code" },
        h("h2", { id: "as-code" }, "The same call"),
        code.element,
      ),
    ),
  );
  draw();
  if (query.get("session")) {
    read(state).then(
      () => draw(),
      (error) => {
        state.unread = `${shortName(state.bearer)} may not read this session: ${refusal(error).code}`;
        draw();
      },
    );
  }
  clientOf()
    .call("ListExtModes", {})
    .then(
      ({ modes }) => {
        registered = modes;
        if (!root.contains(document.activeElement)) draw();
      },
      () => {},
    );
  return () => {};
}

/** What the session has said so far, for the ids that its messages refer to. */
async function read(state) {
  const client = clientOf(state.bearer);
  const subscription = client.subscribe(state.session_id, { snapshot: true });
  try {
    const { high_water_sequence, metadata } = await subscription.subscribed;
    state.metadata = metadata ?? null;
    state.seen = [];
    if (high_water_sequence > 0) {
      for await (const { sequence, envelope } of subscription) {
        state.seen.push(envelope);
        if (sequence >= high_water_sequence) break;
      }
    }
  } finally {
    subscription.close();
  }
}

function accepted(ack, sent, ms, next) {
  return h(
    "div",
    { class: "accepted" },
    h(
      "p",
      {},
      icon("check"),
      h("strong", {}, ack.duplicate ? "Accepted before: a duplicate, nothing happened now" : "Accepted"),
      h("span", { class: "chip" }, `session is ${stateName(ack.session_state)}`),
      h("span", { class: "quiet" }, duration(ms)),
    ),
    h(
      "p",
      { class: "row" },
      h("button", { type: "button", class: "button", onclick: next }, "Next message in this session"),
      h(
        "a",
        { class: "button", href: `#/sessions/${encodeURIComponent(sent.session_id)}` },
        `Open ${shortId(sent.session_id)}`,
      ),
    ),
  );
}
