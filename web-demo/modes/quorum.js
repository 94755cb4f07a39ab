// Quorum: one request, a number of approvals, a ballot for everybody.

import { h } from "../core/dom.js";
import { shortName } from "../core/format.js";
import { avatar, foldCommon, nothingYet, tellCommon } from "./common.js";

export const mode = "macp.mode.quorum.v1";
export const slug = "quorum";
export const title = "Quorum";
export const about = "Collect approvals until there are enough, or can be no more.";
export const phases = ["Start", "Ask", "Ballots", "Commit"];

const SIGN = {
  Approve: { sign: "✓", kind: "good", word: "approves" },
  Reject: { sign: "✕", kind: "bad", word: "rejects" },
  Abstain: { sign: "–", kind: "", word: "abstains" },
};

export function fold(history) {
  const model = { ...foldCommon(history), request: null, ballots: new Map(), phase: history.length ? 1 : 0 };
  for (const {
    envelope: { message_type, sender, payload = {} },
  } of history) {
    if (message_type === "ApprovalRequest") {
      model.request = payload;
      model.phase = 2;
    } else if (SIGN[message_type]) model.ballots.set(sender, message_type);
    else if (message_type === "Commitment") model.phase = 4;
  }
  model.approvals = [...model.ballots.values()].filter((ballot) => ballot === "Approve").length;
  return model;
}

export function tell(envelope, model) {
  const { message_type, payload = {} } = envelope;
  if (message_type === "ApprovalRequest") {
    return {
      kind: "idea",
      verb: "asks to approve",
      object: payload.action,
      note: `${payload.required_approvals} approvals are needed. ${payload.summary ?? ""}`,
    };
  }
  const sign = SIGN[message_type];
  return sign ? { kind: sign.kind, verb: sign.word, note: payload.reason } : tellCommon(envelope, model);
}

export function picture(model) {
  if (!model.request) return nothingYet("The request will be here, and a place for each ballot.");
  const { required_approvals: needed = 0 } = model.request;
  const enough = model.approvals >= needed;
  return h(
    "div",
    { class: "tally" },
    h(
      "p",
      { class: "big-count" },
      h("strong", {}, String(model.approvals)),
      h("span", {}, ` of ${needed} approvals`),
      h("span", { class: `chip ${enough ? "good" : ""}` }, enough ? "enough" : `${needed - model.approvals} missing`),
    ),
    h(
      "div",
      { class: "pips", role: "img", "aria-label": `${model.approvals} of ${needed} approvals` },
      Array.from({ length: needed }, (_, index) => h("span", { class: index < model.approvals ? "full" : "" })),
    ),
    h(
      "ul",
      { class: "ballots" },
      model.participants.map((one) => {
        const sign = SIGN[model.ballots.get(one)];
        return h(
          "li",
          { class: sign ? "given" : "" },
          avatar(model, one, { mark: sign }),
          h("span", {}, shortName(one)),
          h("span", { class: `quiet ${sign?.kind ?? ""}` }, sign?.word ?? "has not voted"),
        );
      }),
    ),
  );
}
