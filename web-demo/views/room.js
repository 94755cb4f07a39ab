// The guided room: a session of each mode that begins by itself, with the viewer in it.

import { Cell } from "../core/cell.js";
import { fill, h, icon, refill } from "../core/dom.js";
import { shortName } from "../core/format.js";
import { call, identities, policiesOf, token } from "../core/gateway.js";
import { avatar, person } from "../modes/common.js";
import { MODES, modeOf } from "../modes/index.js";
import { codeButton, copyButton } from "../parts/code.js";
import { receiptPart } from "../parts/receipt.js";
import { errorBox, refusalBox } from "../parts/refusal.js";
import { Timeline } from "../parts/timeline.js";
import { whatIfPart } from "../parts/what_if.js";
import { ensure, POLICIES, SCRIPTS } from "../rooms/index.js";
import { Room } from "../rooms/room.js";
import { refusal } from "../core/format.js";

const PACES = [["0.5", "Slow"], ["1", "Normal"], ["2", "Fast"], ["20", "At once"]];
/** These outlive the view: leaving it for the inspector does not end the room. */
const pace = new Cell(1);
const playMine = new Cell(false);
let room = null;
let visits = 0;

export function show(root, [slug]) {
  const mode = MODES.find((known) => known.slug === slug) ?? MODES[0];
  const stage = h("div", { class: "room" });
  fill(root, h("nav", { class: "mode-tabs", "aria-label": "Modes" }, MODES.map((known) =>
    h("a", { href: `#/room/${known.slug}`, "aria-current": known === mode ? "page" : undefined }, known.title))), stage);

  let stop = () => {};
  const draw = () => { stop(); stop = drawRoom(stage, mode, begin); };
  const begin = (policy) => {
    leave("a new room was begun");
    visits += 1;
    room = new Room({ script: SCRIPTS.get(mode.mode), policy: policy ?? SCRIPTS.get(mode.mode).policy, me: token.value, pace, playMine,
      // The very first room goes on by itself after a while, so that nobody has to guess that it waits.
      patient: visits > 1 });
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
  return () => { stop(); for (const end of stops) end(); };
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
  return h("div", { class: "empty" }, h("h2", {}, "The room needs development identities"),
    h("p", {}, "It plays several agents at once, and this gateway gives out tokens. Start ", h("code", {}, "macp-gateway demo"),
      " for the room; the sessions that your token may see are in the ", h("a", { href: "#/sessions" }, "inspector"), "."));
}

function drawRoom(stage, mode, begin) {
  const shown = room;
  const { script } = shown;
  const policy = new Cell(null);
  policiesOf(mode.mode, shown.me).then((known) => {
    policy.value = known.find((one) => one.policy_id === shown.policy) ?? POLICIES.get(shown.policy) ?? null;
  }).catch(() => {});

  const timeline = new Timeline({ mode, bearerOf: (sender) => sender });
  const state = h("span", { class: "badge" });
  const steps = h("ol", { class: "steps" });
  const cast = h("ul", { class: "cast" });
  const picture = h("div", { class: "picture" });
  const narration = h("p", { class: "narration" });
  const turn = h("div", { class: "turn-box" });
  const after = h("div", { class: "after" });
  const cable = h("div", { class: "cable" });

  fill(stage,
    h("header", { class: "room-head" },
      h("div", {}, h("h1", {}, script.intent), h("p", { class: "lead" }, script.lead)),
      h("div", { class: "room-facts" }, state, policyPicker(shown, script, begin))),
    h("div", { class: "room-bar" }, steps, controls(shown, begin)),
    h("div", { class: "room-grid" },
      h("section", { class: "card stage", "aria-label": "The room" }, cast, narration, turn, picture),
      h("section", { class: "card history", "aria-labelledby": "history-title" },
        h("header", { class: "card-head" }, h("h2", { id: "history-title" }, "Accepted history"), h("span", { class: "grow" }),
          codeButton({ kind: "subscribe", bearer: shown.me, session_id: shown.session_id, after_sequence: 0 }, "Following this session"),
          copyButton(shown.session_id, "the session id")),
        timeline.element, cable)),
    after);

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
  follow(shown.narration, (text) => { narration.textContent = text; });
  follow(shown.turn, (offer) => drawTurn(turn, shown, offer));
  follow(shown.cable, ({ out }) => drawCable(cable, shown, out));
  follow(shown.fault, (fault) => fault && fill(turn, faultBox(fault, begin)));
  return () => { for (const stop of stops) stop(); };
}

function faultBox(fault, begin) {
  const again = h("button", { type: "button", class: "button primary", onclick: () => begin() }, icon("again"), "Begin again");
  if (fault.code === "SESSION_NOT_FOUND") {
    return errorBox("The gateway no longer knows this session: it was started anew, with nothing kept.", again);
  }
  return h("div", {}, refusalBox(fault, { title: "The room stopped" }), h("p", { class: "row" }, again));
}

/** The policy of the room; another one begins the room again under it. */
function policyPicker(shown, script, begin) {
  const describe = (id) => id.replace(/^policy\.(std|demo)\./, "").replace("policy.", "").replaceAll("_", " ");
  return h("label", { class: "policy-picker" }, h("span", {}, "Policy"),
    h("select", { "data-key": "policy", title: "Another policy begins the room again", onchange: ({ target }) => begin(target.value) },
      script.policies.map((id) => h("option", { value: id, selected: id === shown.policy }, describe(id)))));
}

function controls(shown, begin) {
  const pause = h("button", { type: "button", class: "icon-button", onclick: () => { shown.paused.value = !shown.paused.value; } });
  shown.paused.follow((paused) => {
    fill(pause, icon(paused ? "play" : "pause"));
    pause.setAttribute("aria-label", paused ? "Go on" : "Pause");
    pause.title = paused ? "Go on" : "Pause";
  });
  return h("div", { class: "controls", role: "group", "aria-label": "Playback" },
    pause,
    h("button", { type: "button", class: "icon-button", "aria-label": "Next message", title: "Next message", onclick: () => shown.step() }, icon("next")),
    h("button", { type: "button", class: "icon-button", "aria-label": "Begin again", title: "Begin again", onclick: () => begin(shown.policy) }, icon("again")),
    h("label", { class: "inline" }, h("span", { class: "sr-only" }, "Pace"),
      h("select", { onchange: ({ target }) => { pace.value = Number(target.value); } },
        PACES.map(([value, name]) => h("option", { value, selected: Number(value) === pace.value }, name)))),
    h("label", { class: "inline check" },
      h("input", { type: "checkbox", checked: playMine.value, onchange: ({ target }) => { playMine.value = target.checked; } }), "Play my part"));
}

function drawSteps(list, phases, phase, over) {
  fill(list, phases.map((name, index) => h("li", {
    class: index < phase || over ? "done" : index === phase ? "now" : "",
    "aria-current": index === phase && !over ? "step" : undefined }, h("span", {}, name))));
}

function drawCast(list, shown, model, mode) {
  const people = model.people.length ? model : { people: shown.participants, participants: shown.participants };
  const latest = shown.history.value.at(-1)?.envelope;
  fill(list, shown.participants.map((one) => {
    const said = model.last.get(one);
    const told = said && mode.tell(said, model);
    return h("li", { class: latest?.sender === one ? "speaks" : "" }, avatar(people, one),
      h("div", {}, h("p", {}, person(people, one), one === shown.me && h("span", { class: "chip you" }, "you"),
        one === model.initiator && h("span", { class: "quiet role" }, "initiator")),
      h("p", { class: "said" }, told ? [told.verb, told.object && ` ${told.object}`] : "listening")));
  }));
}

function drawTurn(box, shown, offer) {
  if (!offer) {
    if (!shown.fault.value) fill(box);
    return;
  }
  const hadFocus = box.contains(document.activeElement);
  const { title, text, choices, refused, deadline, choose, hold } = offer;
  fill(box, h("section", { class: "turn", "aria-label": "Your turn" },
    h("header", {}, h("p", { class: "eyebrow" }, "Your turn"), h("h3", {}, title), h("p", { class: "quiet" }, text)),
    refused && refusalBox(refused, { title: `“${refused.choice.label}” was denied. The session stays open.` }),
    h("div", { class: "choices" }, choices.map((choice) => h("div", { class: "choice" },
      h("button", { type: "button", class: `button big ${choice.tone}`, onclick: () => choose(choice) }, choice.label),
      codeButton(() => ({ kind: "send", bearer: shown.me, envelope: { macp_version: "1.0", mode: shown.mode, message_type: choice.message_type,
        message_id: crypto.randomUUID?.() ?? String(Date.now()), session_id: shown.session_id, payload: choice.payload } }), choice.label)))),
    deadline && h("p", { class: "deadline" }, h("span", { class: "fuse", vars: { "--fuse": `${deadline.ms}ms` } }),
      h("span", { class: "quiet" }, `Or the page chooses “${deadline.choice.label}” for you.`),
      deadline.ms > 5000 && h("button", { type: "button", class: "link", onclick: hold }, "Wait for me"))));
  if (hadFocus) box.querySelector("button")?.focus();
}

function drawCable(box, shown, out) {
  if (shown.over && !out) return fill(box);
  refill(box, h("button", { type: "button", class: `button ${out ? "primary" : ""}`, "data-key": "cable", onclick: () => shown.toggleCable() },
    icon("plug"), out ? "Connect again" : "Cut my connection"),
  h("span", { class: "quiet" }, out ? "The agents go on. Nothing that you miss is lost." : "Following live over your own connection."));
}

/** What there is to do when the session is over. */
function outcome(shown, mode, begin) {
  const end = shown.history.value.find(({ envelope }) => envelope.message_type === "Commitment")?.envelope;
  const again = shown.script.policies.filter((id) => id !== shown.policy);
  const late = h("div", { "aria-live": "polite" });
  const tooLate = h("button", { type: "button", class: "button", onclick: async () => {
    const ack = await shown.extra(shown.script.late);
    fill(late, ack.ok ? h("p", {}, "Accepted.") : refusalBox(refusal(ack.error)));
  } }, icon("send"), `Send a ${shown.script.late.message_type}, too late`);
  const buttons = h("p", { class: "row" },
    h("button", { type: "button", class: "button primary", onclick: () => begin(shown.policy) }, icon("again"), "Once more"), tooLate,
    h("a", { class: "button", href: `#/sessions/${shown.session_id}` }, "Open in the inspector"));
  if (!end) {
    return h("section", { class: "card outcome bad" }, h("p", { class: "eyebrow" }, "No outcome"),
      h("h2", {}, `The session was ${shown.state.value}.`), buttons, late);
  }
  const { payload } = end;
  return [h("section", { class: `card outcome ${payload.outcome_positive ? "good" : "bad"}`, "aria-label": "Outcome" },
    h("p", { class: "eyebrow" }, "One binding outcome"), h("h2", {}, payload.action),
    h("p", {}, `${shortName(end.sender)} bound it for “${payload.authority_scope}”: ${payload.reason}. Nothing is accepted after it.`),
    again.length > 0 && h("p", { class: "row" }, h("span", { class: "quiet" }, "The same under"), again.map((id) =>
      h("button", { type: "button", class: "link", onclick: () => begin(id) }, id))), buttons, late),
  h("div", { class: "after-grid" }, whatIfPart({ session_id: shown.session_id, mode: shown.mode, bearer: shown.me,
    suggested: shown.script.policies.find((id) => id.endsWith("unanimous") || (id.startsWith("policy.demo") && id !== shown.policy)) }),
  receiptPart(shown.session_id, shown.me))];
}
