// The Quorum room: a deployment that needs three approvals of four.

export const script = {
  mode: "macp.mode.quorum.v1",
  intent: "Deploy release 2.4 to production?",
  lead: "You ask; three of four must approve. Your own ballot counts, too.",
  scope: "production",
  policy: "policy.default",
  policies: ["policy.default", "policy.demo.all_approve"],
  late: { message_type: "Abstain", payload: { request_id: "r1" } },

  async play(room) {
    const { me, ada, ben, cleo } = room;
    await room.say(
      me,
      "ApprovalRequest",
      { request_id: "r1", action: "deploy release 2.4", required_approvals: 3, summary: "Tests are green." },
      "The initiator asks once, and says how many approvals it takes.",
    );
    await room.say(
      ada,
      "Approve",
      { request_id: "r1", reason: "the changes are small" },
      "Each participant has one ballot, and it stands.",
    );
    await room.say(ben, "Reject", { request_id: "r1", reason: "it is Friday" });
    const ballot = (message_type) => ({ message_type, payload: { request_id: "r1" } });
    const own = await room.ask({
      title: "Your ballot",
      text: "One approves, one rejects. Without you there are not enough.",
      choices: [
        { label: "Approve", tone: "good", ...ballot("Approve") },
        { label: "Reject", tone: "bad", ...ballot("Reject") },
        { label: "Abstain", tone: "", ...ballot("Abstain") },
      ],
    });
    await room.say(cleo, "Approve", { request_id: "r1", reason: "I am on call anyway" });
    const approvals = own.message_type === "Approve" ? 3 : 2;
    room.narrate(
      approvals >= 3
        ? "Three approvals: it can be committed."
        : "Three approvals can no longer come: what is left is to say so.",
    );
    await room.ask({
      title: "Bind the outcome",
      text: approvals >= 3 ? "There are enough approvals." : `${approvals} of 3: try to approve it anyway, and see.`,
      fallback: approvals >= 3 ? 0 : 1,
      choices: [
        {
          label: "Commit: approved",
          tone: "good",
          message_type: "Commitment",
          payload: room.commitment("deploy.approved", true, "enough approvals"),
        },
        {
          label: "Commit: rejected",
          tone: "bad",
          message_type: "Commitment",
          payload: room.commitment("deploy.rejected", false, "not enough approvals"),
        },
      ],
    });
  },
};
