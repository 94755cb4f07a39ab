// The parts of the room that change while it plays: steps, people, the viewer's turn, and their cable.

import { fill, h, icon, refill } from "../core/dom.js";
import { shortName, uuid } from "../core/format.js";
import { avatar, person } from "../modes/common.js";
import { codeButton } from "./code.js";
import { refusalBox } from "./refusal.js";

export function drawSteps(list, phases, phase, over) {
  fill(
    list,
    phases.map((name, index) =>
      h(
        "li",
        {
          class: index < phase || over ? "done" : index === phase ? "now" : "",
          "aria-current": index === phase && !over ? "step" : undefined,
        },
        h("span", {}, name),
      ),
    ),
  );
}

export function drawCast(list, shown, model, mode) {
  const people = model.people.length ? model : { people: shown.participants, participants: shown.participants };
  const latest = shown.history.value.at(-1)?.envelope;
  fill(
    list,
    shown.participants.map((one) => {
      const said = model.last.get(one);
      const told = said && mode.tell(said, model);
      return h(
        "li",
        { class: latest?.sender === one ? "speaks" : "" },
        avatar(people, one),
        h(
          "div",
          {},
          h(
            "p",
            {},
            person(people, one),
            one === shown.me && h("span", { class: "chip you" }, "you"),
            one === model.initiator && h("span", { class: "quiet role" }, "initiator"),
          ),
          h("p", { class: "said" }, told ? [told.verb, told.object && ` ${told.object}`] : "listening"),
        ),
      );
    }),
  );
}

export function drawTurn(box, shown, offer) {
  if (!offer) {
    if (!shown.fault.value) fill(box);
    return;
  }
  const hadFocus = box.contains(document.activeElement);
  const { title, text, choices, refused, deadline, choose, hold } = offer;
  fill(
    box,
    h(
      "section",
      { class: "turn", "aria-label": "Your turn" },
      h("header", {}, h("p", { class: "eyebrow" }, "Your turn"), h("h3", {}, title), h("p", { class: "quiet" }, text)),
      refused && refusalBox(refused, { title: `“${refused.choice.label}” was denied. The session stays open.` }),
      h(
        "div",
        { class: "choices" },
        choices.map((choice) =>
          h(
            "div",
            { class: "choice" },
            h(
              "button",
              { type: "button", class: `button big ${choice.tone}`, onclick: () => choose(choice) },
              choice.label,
            ),
            codeButton(
              () => ({
                kind: "send",
                bearer: shown.me,
                envelope: {
                  macp_version: "1.0",
                  mode: shown.mode,
                  message_type: choice.message_type,
                  message_id: uuid(),
                  session_id: shown.session_id,
                  payload: choice.payload,
                },
              }),
              choice.label,
            ),
          ),
        ),
      ),
      deadline &&
        h(
          "p",
          { class: "deadline" },
          h("span", { class: "fuse", vars: { "--fuse": `${deadline.ms}ms` } }),
          h("span", { class: "quiet" }, `Or the page chooses “${deadline.choice.label}” for you.`),
          deadline.ms > 5000 && h("button", { type: "button", class: "link", onclick: hold }, "Wait for me"),
        ),
    ),
  );
  if (hadFocus) box.querySelector("button")?.focus();
}

export function drawCable(box, shown, out) {
  if (shown.over && !out) return fill(box);
  refill(
    box,
    h(
      "button",
      {
        type: "button",
        class: `button ${out ? "primary" : ""}`,
        "data-key": "cable",
        onclick: () => shown.toggleCable(),
      },
      icon("plug"),
      out ? "Connect again" : "Cut my connection",
    ),
    h(
      "span",
      { class: "quiet" },
      out ? "The agents go on. Nothing that you miss is lost." : "Following live over your own connection.",
    ),
  );
}
