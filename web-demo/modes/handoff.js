// Handoff: who has the responsibility, and to whom it is offered.

import { h } from "../core/dom.js";
import { shortName } from "../core/format.js";
import { readable } from "../protocol/base64.js";
import { avatar, foldCommon, nothingYet, tellCommon } from "./common.js";

export const mode = "macp.mode.handoff.v1";
export const slug = "handoff";
export const title = "Handoff";
export const about = "Pass responsibility on, with the context it needs.";
export const phases = ["Start", "Offer", "Answer", "Commit"];

export function fold(history) {
  const model = { ...foldCommon(history), offers: new Map(), holder: "", phase: history.length ? 1 : 0 };
  model.holder = model.initiator;
  for (const {
    envelope: { message_type, sender, payload = {} },
  } of history) {
    const offer = model.offers.get(payload.handoff_id);
    if (message_type === "HandoffOffer") {
      model.offers.set(payload.handoff_id, { ...payload, by: sender, answer: "", contexts: [] });
      model.phase = 2;
    } else if (message_type === "HandoffContext") offer?.contexts.push(payload);
    else if (message_type === "HandoffAccept") {
      if (offer) Object.assign(offer, { answer: "accepted", answered: sender });
      Object.assign(model, { holder: offer?.target_participant ?? sender, phase: 3 });
    } else if (message_type === "HandoffDecline") {
      if (offer) Object.assign(offer, { answer: "declined", why: payload.reason });
      model.phase = 2;
    } else if (message_type === "Commitment") model.phase = 4;
  }
  return model;
}

export function tell(envelope, model) {
  const { message_type, payload = {} } = envelope;
  switch (message_type) {
    case "HandoffOffer":
      return {
        kind: "idea",
        verb: `offers ${shortName(payload.target_participant)}`,
        object: payload.scope,
        note: payload.reason,
      };
    case "HandoffContext":
      return { kind: "", verb: "adds context", note: readable(payload.context ?? "") ?? payload.content_type };
    case "HandoffAccept":
      return { kind: "good", verb: payload.implicit ? "accepts by silence" : "accepts", note: payload.reason };
    case "HandoffDecline":
      return { kind: "bad", verb: "declines", note: payload.reason };
    default:
      return tellCommon(envelope, model);
  }
}

export function picture(model) {
  if (model.participants.length === 0) return nothingYet("Who has the responsibility will be here.");
  const offers = [...model.offers.values()];
  return h(
    "div",
    { class: "tally" },
    h(
      "ul",
      { class: "baton" },
      model.participants.map((one) => {
        const offer = offers.findLast(({ target_participant }) => target_participant === one);
        const here = one === model.holder;
        return h(
          "li",
          { class: here ? "holds" : offer && !offer.answer ? "asked" : "" },
          avatar(model, one),
          h("span", { class: "baton-name" }, shortName(one)),
          h("span", { class: "quiet" }, here ? "is responsible" : offer ? offer.answer || "is asked" : "free"),
        );
      }),
    ),
    offers.length > 0 &&
      h(
        "ol",
        { class: "offers" },
        offers.map((offer) =>
          h(
            "li",
            { class: "option" },
            h(
              "header",
              {},
              avatar(model, offer.by),
              h("h3", {}, `${offer.scope || "Responsibility"} → ${shortName(offer.target_participant)}`),
              h(
                "span",
                { class: `chip ${{ accepted: "good", declined: "bad" }[offer.answer] ?? ""}` },
                offer.answer || "waiting for an answer",
              ),
            ),
            offer.contexts.map(({ context, content_type }) =>
              h("p", { class: "quiet" }, `${content_type || "context"}: ${readable(context ?? "") ?? "binary"}`),
            ),
            offer.why && h("p", { class: "quiet" }, `“${offer.why}”`),
          ),
        ),
      ),
  );
}
