// Proposal: offers and counter-offers, and who accepts which.

import { h } from "../core/dom.js";
import { shortName } from "../core/format.js";
import { avatar, foldCommon, nothingYet, tellCommon } from "./common.js";

export const mode = "macp.mode.proposal.v1";
export const slug = "proposal";
export const title = "Proposal";
export const about = "Negotiate terms until everybody accepts the same ones.";
export const phases = ["Start", "Offer", "Counter", "Accept", "Commit"];

export function fold(history) {
  const model = {
    ...foldCommon(history),
    offers: new Map(),
    accepts: new Map(),
    rejects: [],
    phase: history.length ? 1 : 0,
  };
  for (const {
    envelope: { message_type, sender, payload = {} },
  } of history) {
    const offer = model.offers.get(payload.proposal_id);
    if (message_type === "Proposal" || message_type === "CounterProposal") {
      model.offers.set(payload.proposal_id, { ...payload, by: sender, withdrawn: false });
      const before = model.offers.get(payload.supersedes_proposal_id);
      if (before) before.countered = true;
      model.phase = message_type === "Proposal" ? Math.max(model.phase, 1) : 2;
    } else if (message_type === "Accept") {
      model.accepts.set(sender, payload.proposal_id);
      model.phase = 3;
    } else if (message_type === "Reject") model.rejects.push({ ...payload, by: sender });
    else if (message_type === "Withdraw" && offer) {
      offer.withdrawn = true;
      for (const [one, id] of model.accepts) if (id === payload.proposal_id) model.accepts.delete(one);
    } else if (message_type === "Commitment") model.phase = 5;
  }
  return model;
}

export function tell(envelope, model) {
  const { message_type, payload = {} } = envelope;
  const name = model.offers.get(payload.proposal_id)?.title || payload.proposal_id;
  switch (message_type) {
    case "Proposal":
      return { kind: "idea", verb: "offers", object: payload.title, note: payload.summary };
    case "CounterProposal":
      return { kind: "idea", verb: "counters with", object: payload.title, note: payload.summary };
    case "Accept":
      return { kind: "good", verb: "accepts", object: name, note: payload.reason };
    case "Reject":
      return {
        kind: "bad",
        verb: payload.terminal ? "rejects for good" : "rejects",
        object: name,
        note: payload.reason,
      };
    case "Withdraw":
      return { kind: "", verb: "withdraws", object: name, note: payload.reason };
    default:
      return tellCommon(envelope, model);
  }
}

export function picture(model) {
  if (model.offers.size === 0) return nothingYet("The offers will be here, and who accepts which.");
  const mark = (one, id) =>
    model.rejects.some((reject) => reject.by === one && reject.proposal_id === id)
      ? ["✕", "rejects", "bad"]
      : model.accepts.get(one) === id
        ? ["✓", "accepts", "good"]
        : ["·", "has not accepted", "quiet"];
  return h(
    "div",
    { class: "scroll-x", tabIndex: 0, role: "region", "aria-label": "Offers" },
    h(
      "table",
      { class: "offers-table" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Offer"),
          model.participants.map((one) => h("th", { scope: "col" }, avatar(model, one), h("span", {}, shortName(one)))),
        ),
      ),
      h(
        "tbody",
        {},
        [...model.offers.entries()].map(([id, offer]) => {
          const agreed = model.participants.every((one) => model.accepts.get(one) === id);
          return h(
            "tr",
            { class: offer.withdrawn ? "withdrawn" : agreed ? "agreed" : offer.countered ? "countered" : "" },
            h(
              "th",
              { scope: "row" },
              h("strong", {}, offer.title || id),
              h(
                "span",
                { class: "quiet" },
                offer.withdrawn
                  ? "withdrawn"
                  : agreed
                    ? "accepted by all"
                    : `by ${shortName(offer.by)}${offer.countered ? ", countered" : ""}`,
              ),
            ),
            model.participants.map((one) => {
              const [sign, word, kind] = mark(one, id);
              return h(
                "td",
                { class: kind },
                h("span", { "aria-hidden": "true" }, sign),
                h("span", { class: "sr-only" }, `${shortName(one)} ${word}`),
              );
            }),
          );
        }),
      ),
    ),
  );
}
