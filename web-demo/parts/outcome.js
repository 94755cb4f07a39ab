// What there is to do when a room's session is over: the outcome, what-if, the receipt, one message too late.

import { fill, h, icon } from "../core/dom.js";
import { refusal, shortName } from "../core/format.js";
import { receiptPart } from "./receipt.js";
import { refusalBox } from "./refusal.js";
import { whatIfPart } from "./what_if.js";

/** `begin` begins the room again under the policy that it is given. */
export function outcome(shown, mode, begin) {
  const end = shown.history.value.find(({ envelope }) => envelope.message_type === "Commitment")?.envelope;
  const again = shown.script.policies.filter((id) => id !== shown.policy);
  const late = h("div", { "aria-live": "polite" });
  const tooLate = h(
    "button",
    {
      type: "button",
      class: "button",
      onclick: async () => {
        const ack = await shown.extra(shown.script.late);
        fill(late, ack.ok ? h("p", {}, "Accepted.") : refusalBox(refusal(ack.error)));
      },
    },
    icon("send"),
    `Send a ${shown.script.late.message_type}, too late`,
  );
  const buttons = h(
    "p",
    { class: "row" },
    h(
      "button",
      { type: "button", class: "button primary", onclick: () => begin(shown.policy) },
      icon("again"),
      "Once more",
    ),
    tooLate,
    h("a", { class: "button", href: `#/sessions/${shown.session_id}` }, "Open in the inspector"),
  );
  if (!end) {
    return h(
      "section",
      { class: "card outcome bad" },
      h("p", { class: "eyebrow" }, "No outcome"),
      h("h2", {}, `The session was ${shown.state.value}.`),
      buttons,
      late,
    );
  }
  const { payload } = end;
  return [
    h(
      "section",
      { class: `card outcome ${payload.outcome_positive ? "good" : "bad"}`, "aria-label": "Outcome" },
      h("p", { class: "eyebrow" }, "One binding outcome"),
      h("h2", {}, payload.action),
      h(
        "p",
        {},
        `${shortName(end.sender)} bound it for “${payload.authority_scope}”: ${payload.reason}. `,
        "Nothing is accepted after it.",
      ),
      again.length > 0 &&
        h(
          "p",
          { class: "row" },
          h("span", { class: "quiet" }, "The same under"),
          again.map((id) => h("button", { type: "button", class: "link", onclick: () => begin(id) }, id)),
        ),
      buttons,
      late,
    ),
    h(
      "div",
      { class: "after-grid" },
      whatIfPart({
        session_id: shown.session_id,
        mode: shown.mode,
        bearer: shown.me,
        suggested: shown.script.policies.find(
          (id) => id.endsWith("unanimous") || (id.startsWith("policy.demo") && id !== shown.policy),
        ),
      }),
      receiptPart(shown.session_id, shown.me),
    ),
  ];
}
