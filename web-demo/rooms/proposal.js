// The Proposal room: four teams agree on a meeting.

export const script = {
  mode: "macp.mode.proposal.v1",
  intent: "When do the four teams meet?",
  lead: "Offers and counter-offers, until all four accept the same one.",
  scope: "calendar",
  policy: "policy.default",
  policies: ["policy.default", "policy.demo.counterparty"],
  late: { message_type: "Accept", payload: { proposal_id: "p2" } },

  async play(room) {
    const { me, ada, ben, cleo } = room;
    await room.say(
      ada,
      "Proposal",
      { proposal_id: "p1", title: "Monday, 9:00", summary: "an hour, every week" },
      "Somebody begins with an offer.",
    );
    await room.say(
      ben,
      "Reject",
      { proposal_id: "p1", reason: "I start at ten" },
      "A rejection is an answer; it ends nothing unless it is terminal.",
    );
    await room.say(ben, "CounterProposal", {
      proposal_id: "p2",
      supersedes_proposal_id: "p1",
      title: "Tuesday, 10:30",
      summary: "half an hour",
    });
    await room.say(cleo, "Accept", { proposal_id: "p2", reason: "half an hour is right" });
    const accept = (proposal_id) => ({ message_type: "Accept", payload: { proposal_id } });
    const choice = await room.ask({
      title: "Your answer",
      text: "Both offers are still on the table.",
      choices: [
        { label: "Accept Tuesday, 10:30", tone: "good", ...accept("p2") },
        {
          label: "Counter: Wednesday, 11:00",
          tone: "",
          message_type: "CounterProposal",
          payload: {
            proposal_id: "p3",
            supersedes_proposal_id: "p2",
            title: "Wednesday, 11:00",
            summary: "half an hour",
          },
        },
      ],
    });
    const agreed = choice.message_type === "Accept" ? "p2" : "p3";
    if (agreed === "p3") {
      await room.say(
        cleo,
        "Accept",
        { proposal_id: "p3", reason: "Wednesday works as well" },
        "A new accept replaces the old one.",
      );
      await room.say(me, "Accept", { proposal_id: "p3" });
    }
    await room.say(ada, "Accept", { proposal_id: agreed, reason: "fine with me" });
    await room.say(ben, "Accept", { proposal_id: agreed }, "Authors have to accept, too, even their own offer.");
    await room.ask({
      title: "Bind the agreement",
      text: "All four accept the same offer.",
      choices: [
        {
          label: "Commit: accepted",
          tone: "good",
          message_type: "Commitment",
          payload: room.commitment("meeting.accepted", true, "all four accept it"),
        },
        {
          label: "Commit: rejected",
          tone: "bad",
          message_type: "Commitment",
          payload: room.commitment("meeting.rejected", false, "let us not meet"),
        },
      ],
    });
  },
};
