// The guided room: a session of each mode that begins by itself, with the viewer in it.

import { Cell } from "../core/cell.js";
import { fill, h, icon, refill } from "../core/dom.js";
import { refusal } from "../core/format.js";
import { call, identities, policiesOf, token } from "../core/gateway.js";
import { MODES } from "../modes/index.js";
import { codeButton, copyButton } from "../parts/code.js";
import { outcome } from "../parts/outcome.js";
import { errorBox, refusalBox } from "../parts/refusal.js";
import { drawCable, drawCast, drawSteps, drawTurn } from "../parts/room_stage.js";
import { Timeline } from "../parts/timeline.js";
import { ensure, POLICIES, SCRIPTS } from "../rooms/index.js";
import { Room } from "../rooms/room.js";

const PACES = [
  ["0.5", "Slow"],
  ["1", "Normal"],
  ["2", "Fast"],
  ["20", "At once"],
];
/** These outlive the view: leaving it for the inspector does not end the room. */
const pace = new Cell(1);
const playMine = new Cell(false);
let room = null;
let visits = 0;

export function show(root, [slug]) {
  const mode = MODES.find((known) => known.slug === slug) ?? MODES[0];
  const stage = h("div", { class: "room" });
  fill(
    root,
    h(
      "nav",
      { class: "mode-tabs", "aria-label": "Modes" },
      MODES.map((known) =>
        h("a", { href: `#/room/${known.slug}`, "aria-current": known === mode ? "page" : undefined }, known.title),
      ),
    ),
    stage,
  );

  let stop = () => {};
  const draw = () => {
    stop();
    stop = drawRoom(stage, mode, begin);
  };
  const begin = (policy) => {
    leave("a new room was begun");
    visits += 1;
    room = new Room({
      script: SCRIPTS.get(mode.mode),
      policy: policy ?? SCRIPTS.get(mode.mode).policy,
      me: token.value,
      pace,
      playMine,
      // The very first room goes on by itself after a while, so that nobody has to guess that it waits.
      patient: visits > 1,
    });
    draw();
    start(room);
  };
  const decide = () => {
    if (identities.value === "tokens") {
      leave("");
      stop();
      stop = () => {};
      return fill(stage, needsDevelopment());
    }
    if (room?.mode === mode.mode && room.me === token.value) draw();
    else begin();
  };
  const stops = [identities.listen(decide), token.listen(decide)];
  decide();
  return () => {
    stop();
    for (const end of stops) end();
  };
}

async function start(begun) {
  try {
    await ensure(begun.policy);
    await begun.open();
  } catch (error) {
    begun.fault.value = refusal(error);
  }
}

/** Ends the room before; its session is cancelled, so that it does not stay behind open. */
function leave(reason) {
  if (!room) return;
  const { state, session_id, me } = room;
  const open = state.value === "open" && !room.fault.value;
  room.close();
  room = null;
  if (open && reason) call("CancelSession", { session_id, reason }, me).catch(() => {});
}

function needsDevelopment() {
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, "The room needs development identities"),
    h(
      "p",
      {},
      "It plays several agents at once, and this gateway gives out tokens. Start ",
      h("code", {}, "macp-gateway demo"),
      " for the room; the sessions that your token may see are in the ",
      h("a", { href: "#/sessions" }, "inspector"),
      ".",
    ),
  );
}

function drawRoom(stage, mode, begin) {
  const shown = room;
  const { script } = shown;
  const policy = new Cell(null);
  policiesOf(mode.mode, shown.me)
    .then((known) => {
      policy.value = known.find((one) => one.policy_id === shown.policy) ?? POLICIES.get(shown.policy) ?? null;
    })
    .catch(() => {});

  const timeline = new Timeline({ mode, bearerOf: (sender) => sender });
  const state = h("span", { class: "badge" });
  const steps = h("ol", { class: "steps" });
  const cast = h("ul", { class: "cast" });
  const picture = h("div", { class: "picture" });
  const narration = h("p", { class: "narration" });
  const turn = h("div", { class: "turn-box" });
  const after = h("div", { class: "after" });
  const cable = h("div", { class: "cable" });

  fill(
    stage,
    h(
      "header",
      { class: "room-head" },
      h("div", {}, h("h1", {}, script.intent), h("p", { class: "lead" }, script.lead)),
      h("div", { class: "room-facts" }, state, policyPicker(shown, script, begin)),
    ),
    h("div", { class: "room-bar" }, steps, controls(shown, begin)),
    h(
      "div",
      { class: "room-grid" },
      h("section", { class: "card stage", "aria-label": "The room" }, cast, narration, turn, picture),
      h(
        "section",
        { class: "card history", "aria-labelledby": "history-title" },
        h(
          "header",
          { class: "card-head" },
          h("h2", { id: "history-title" }, "Accepted history"),
          h("span", { class: "grow" }),
          codeButton(
            { kind: "subscribe", bearer: shown.me, session_id: shown.session_id, after_sequence: 0 },
            "Following this session",
          ),
          copyButton(shown.session_id, "the session id"),
        ),
        timeline.element,
        cable,
      ),
    ),
    after,
  );

  const stops = [];
  const follow = (cell, listener) => stops.push(cell.follow(listener));
  const paint = () => {
    const model = mode.fold(shown.history.value);
    timeline.update(shown.history.value, shown.marks.value);
    drawSteps(steps, mode.phases, model.phase, shown.over);
    drawCast(cast, shown, model, mode);
    refill(picture, mode.picture(model, { policy: policy.value }));
  };
  for (const cell of [shown.history, shown.marks, policy]) follow(cell, paint);
  follow(shown.state, (name) => {
    state.className = `badge ${name}`;
    state.textContent = name;
    fill(after, shown.over && outcome(shown, mode, begin));
    stage.classList.toggle("over", shown.over);
    drawCable(cable, shown, shown.cable.value.out);
    paint();
  });
  follow(shown.narration, (text) => {
    narration.textContent = text;
  });
  follow(shown.turn, (offer) => drawTurn(turn, shown, offer));
  follow(shown.cable, ({ out }) => drawCable(cable, shown, out));
  follow(shown.fault, (fault) => fault && fill(turn, faultBox(fault, begin)));
  return () => {
    for (const stop of stops) stop();
  };
}

function faultBox(fault, begin) {
  const again = h(
    "button",
    { type: "button", class: "button primary", onclick: () => begin() },
    icon("again"),
    "Begin again",
  );
  if (fault.code === "SESSION_NOT_FOUND") {
    return errorBox("The gateway no longer knows this session: it was started anew, with nothing kept.", again);
  }
  return h("div", {}, refusalBox(fault, { title: "The room stopped" }), h("p", { class: "row" }, again));
}

/** The policy of the room; another one begins the room again under it. */
function policyPicker(shown, script, begin) {
  const describe = (id) =>
    id
      .replace(/^policy\.(std|demo)\./, "")
      .replace("policy.", "")
      .replaceAll("_", " ");
  return h(
    "label",
    { class: "policy-picker" },
    h("span", {}, "Policy"),
    h(
      "select",
      {
        "data-key": "policy",
        title: "Another policy begins the room again",
        onchange: ({ target }) => begin(target.value),
      },
      script.policies.map((id) => h("option", { value: id, selected: id === shown.policy }, describe(id))),
    ),
  );
}

function controls(shown, begin) {
  const pause = h("button", {
    type: "button",
    class: "icon-button",
    onclick: () => {
      shown.paused.value = !shown.paused.value;
    },
  });
  shown.paused.follow((paused) => {
    fill(pause, icon(paused ? "play" : "pause"));
    pause.setAttribute("aria-label", paused ? "Go on" : "Pause");
    pause.title = paused ? "Go on" : "Pause";
  });
  return h(
    "div",
    { class: "controls", role: "group", "aria-label": "Playback" },
    pause,
    h(
      "button",
      {
        type: "button",
        class: "icon-button",
        "aria-label": "Next message",
        title: "Next message",
        onclick: () => shown.step(),
      },
      icon("next"),
    ),
    h(
      "button",
      {
        type: "button",
        class: "icon-button",
        "aria-label": "Begin again",
        title: "Begin again",
        onclick: () => begin(shown.policy),
      },
      icon("again"),
    ),
    h(
      "label",
      { class: "inline" },
      h("span", { class: "sr-only" }, "Pace"),
      h(
        "select",
        {
          onchange: ({ target }) => {
            pace.value = Number(target.value);
          },
        },
        PACES.map(([value, name]) => h("option", { value, selected: Number(value) === pace.value }, name)),
      ),
    ),
    h(
      "label",
      { class: "inline check" },
      h("input", {
        type: "checkbox",
        checked: playMine.value,
        onchange: ({ target }) => {
          playMine.value = target.checked;
        },
      }),
      "Play my part",
    ),
  );
}
