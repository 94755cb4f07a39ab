// The Decision room: which store a new service gets.

import { shortName } from "../core/format.js";

export const script = {
  mode: "macp.mode.decision.v1",
  intent: "Which store does the new service get?",
  lead: "Four agents weigh two options. The gateway puts what they say in one order, and binds exactly one outcome.",
  scope: "service storage",
  policy: "policy.std.majority",
  policies: [
    "policy.std.majority",
    "policy.std.supermajority",
    "policy.std.unanimous",
    "policy.demo.veto",
    "policy.default",
  ],
  late: { message_type: "Vote", payload: { proposal_id: "sqlite", vote: "APPROVE", reason: "on second thought" } },

  async play(room) {
    const { ada, ben, cleo } = room;
    await room.say(
      ada,
      "Proposal",
      { proposal_id: "postgres", option: "PostgreSQL", rationale: "boring, and everybody can run it" },
      "Options first. Everyone may propose.",
    );
    await room.say(ben, "Proposal", { proposal_id: "sqlite", option: "SQLite", rationale: "one file, nothing to run" });
    await room.say(
      cleo,
      "Evaluation",
      { proposal_id: "postgres", recommendation: "APPROVE", confidence: 0.9, reason: "we have run it for years" },
      "The others weigh them. What they say is kept, and advises only.",
    );
    await room.say(cleo, "Evaluation", {
      proposal_id: "sqlite",
      recommendation: "REVIEW",
      confidence: 0.5,
      reason: "fine for one region",
    });
    await room.say(ada, "Objection", {
      proposal_id: "sqlite",
      severity: "critical",
      reason: "two regions write at once",
    });
    await room.say(
      ada,
      "Vote",
      { proposal_id: "postgres", vote: "APPROVE", reason: "my own proposal" },
      "The vote begins, and with it the deliberation ends. Every vote stands.",
    );
    await room.say(ben, "Vote", { proposal_id: "postgres", vote: "REJECT", reason: "too much to run" });
    const vote = (vote) => ({ message_type: "Vote", payload: { proposal_id: "postgres", vote } });
    await room.ask({
      title: "Your vote on PostgreSQL",
      text: `One for, one against. ${shortName(cleo)} votes after you.`,
      choices: [
        { label: "Vote for it", tone: "good", ...vote("APPROVE") },
        { label: "Vote against it", tone: "bad", ...vote("REJECT") },
        { label: "Abstain", tone: "", ...vote("ABSTAIN") },
      ],
    });
    await room.say(cleo, "Vote", { proposal_id: "postgres", vote: "APPROVE", reason: "the objection convinced me" });
    room.narrate("All votes are in. The initiator binds the outcome, if the policy lets it.");
    await room.ask({
      title: "Bind the outcome",
      text: "A commitment ends the session, once and for all. The policy decides whether the gateway accepts it.",
      choices: [
        {
          label: "Commit to PostgreSQL",
          tone: "good",
          message_type: "Commitment",
          payload: room.commitment("postgres.selected", true, "the votes are for it"),
        },
        {
          label: "Commit to declining it",
          tone: "bad",
          message_type: "Commitment",
          payload: room.commitment("postgres.declined", false, "not convincing"),
        },
      ],
    });
  },
};
