// Decision: options, what is said about them, and the votes.

import { h, icon } from "../core/dom.js";
import { lower, plural, shortName } from "../core/format.js";
import { avatar, bar, foldCommon, nothingYet, tellCommon } from "./common.js";

export const mode = "macp.mode.decision.v1";
export const slug = "decision";
export const title = "Decision";
export const about = "Choose among options: propose, weigh, vote, bind.";
export const phases = ["Start", "Propose", "Weigh", "Vote", "Commit"];

export function fold(history) {
  const model = { ...foldCommon(history), proposals: new Map(), votes: 0, phase: history.length ? 1 : 0 };
  for (const {
    envelope: { message_type, sender, payload = {} },
  } of history) {
    const proposal = model.proposals.get(payload.proposal_id);
    if (message_type === "Proposal") {
      model.proposals.set(payload.proposal_id, { ...payload, by: sender, votes: [], evaluations: [], objections: [] });
    } else if (message_type === "Evaluation") {
      proposal?.evaluations.push({ ...payload, by: sender });
      model.phase = 2;
    } else if (message_type === "Objection") {
      proposal?.objections.push({ ...payload, by: sender });
      model.phase = 2;
    } else if (message_type === "Vote") {
      proposal?.votes.push({ ...payload, by: sender });
      model.votes += 1;
      model.phase = 3;
    } else if (message_type === "Commitment") model.phase = 5;
  }
  return model;
}

export function tell(envelope, model) {
  const { message_type, payload = {} } = envelope;
  const option = model.proposals.get(payload.proposal_id)?.option ?? payload.proposal_id;
  switch (message_type) {
    case "Proposal":
      return { kind: "idea", verb: "proposes", object: payload.option, note: payload.rationale };
    case "Evaluation":
      return {
        kind: "",
        verb: `says ${lower(payload.recommendation)} to`,
        object: option,
        note: [payload.reason, `${Math.round((payload.confidence ?? 0) * 100)} % sure`].filter(Boolean).join(" · "),
      };
    case "Objection":
      return { kind: "bad", verb: `objects (${payload.severity}) to`, object: option, note: payload.reason };
    case "Vote":
      return {
        kind: { APPROVE: "good", REJECT: "bad" }[payload.vote] ?? "",
        note: payload.reason,
        object: option,
        verb:
          { APPROVE: "votes for", REJECT: "votes against", ABSTAIN: "abstains on" }[payload.vote] ??
          `votes ${payload.vote} on`,
      };
    default:
      return tellCommon(envelope, model);
  }
}

/** `policy` is the bound policy's descriptor, where it is known. Its threshold is drawn; the gateway judges. */
export function picture(model, { policy } = {}) {
  if (model.proposals.size === 0) return nothingYet("The options will be here, with everybody's votes.");
  return h(
    "div",
    { class: "tally" },
    [...model.proposals.values()].map((proposal) => option(model, proposal)),
    total(model, policy),
  );
}

function option(model, { option: name, rationale, by, votes, evaluations, objections }) {
  const camp = (vote) => votes.filter((cast) => cast.vote === vote);
  const waiting = model.votes > 0 ? model.participants.filter((one) => !votes.some((cast) => cast.by === one)) : [];
  const group = (vote, word) =>
    camp(vote).length > 0 &&
    h(
      "span",
      { class: `camp ${lower(vote)}` },
      h("span", { class: "camp-word" }, word),
      camp(vote).map((cast) => avatar(model, cast.by, { label: `${shortName(cast.by)}: ${word}` })),
    );
  return h(
    "section",
    { class: "option" },
    h(
      "header",
      {},
      avatar(model, by),
      h("h3", {}, name),
      h("p", { class: "quiet" }, rationale ? `“${rationale}”` : `by ${shortName(by)}`),
    ),
    evaluations.length + objections.length > 0 &&
      h(
        "ul",
        { class: "chips" },
        evaluations.map((one) =>
          h(
            "li",
            { class: `chip ${{ APPROVE: "good", REJECT: "bad", BLOCK: "bad" }[one.recommendation] ?? ""}` },
            `${shortName(one.by)}: ${lower(one.recommendation)}, ${Math.round((one.confidence ?? 0) * 100)} %`,
          ),
        ),
        objections.map((one) =>
          h("li", { class: "chip bad" }, icon("flag"), `${shortName(one.by)}: ${one.severity} objection`),
        ),
      ),
    votes.length > 0 &&
      h(
        "div",
        { class: "camps" },
        group("APPROVE", "for"),
        group("REJECT", "against"),
        group("ABSTAIN", "abstains"),
        waiting.length > 0 &&
          h("span", { class: "camp" }, h("span", { class: "camp-word" }, `${plural(waiting.length, "vote")} to come`)),
      ),
  );
}

function total(model, policy) {
  const votes = [...model.proposals.values()].flatMap((proposal) => proposal.votes);
  const count = (vote) => votes.filter((cast) => cast.vote === vote).length;
  const [yes, no, none] = [count("APPROVE"), count("REJECT"), count("ABSTAIN")];
  if (votes.length === 0) return null;
  const decisive = yes + no || 1;
  const voting = policy?.rules?.voting ?? {};
  const mark = { majority: voting.threshold ?? 0.5, supermajority: voting.threshold, unanimous: 1 }[voting.algorithm];
  const words = `${yes} for, ${no} against${none ? `, ${none} abstained` : ""}`;
  return h(
    "footer",
    { class: "total" },
    bar(
      [
        { share: yes / decisive, kind: "good" },
        { share: no / decisive, kind: "bad" },
      ],
      { mark, label: words },
    ),
    h(
      "p",
      {},
      h("strong", {}, `${Math.round((yes / decisive) * 100)} %`),
      ` in favour: ${words}.`,
      mark !== undefined && ` The policy asks for ${mark === 1 ? "everybody" : `${Math.round(mark * 100)} %`}.`,
    ),
  );
}
