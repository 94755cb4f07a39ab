// The Handoff room: the pager goes to the next one on call.

import { shortName } from "../core/format.js";
import { textToBase64 } from "../protocol/base64.js";

export const script = {
  mode: "macp.mode.handoff.v1",
  intent: "Who takes the pager for the night?",
  lead: "You are on call and pass it on. Whoever you ask may decline.",
  scope: "on call",
  policy: "policy.default",
  policies: ["policy.default"],
  late: {
    message_type: "HandoffContext",
    payload: { handoff_id: "h2", content_type: "text/plain", context: textToBase64("one more thing") },
  },

  async play(room) {
    const { me, ada, ben, cleo } = room;
    const offer = (target, id) => ({
      message_type: "HandoffOffer",
      payload: { handoff_id: id, target_participant: target, scope: "Pager", reason: "my shift ends" },
    });
    const context = (id, text) =>
      room.say(
        me,
        "HandoffContext",
        { handoff_id: id, content_type: "text/plain", context: textToBase64(text) },
        "Context goes with the offer, so that nothing is lost.",
      );
    room.narrate("Responsibility has one holder at a time: you.");
    const asked = await room.ask({
      title: "Whom do you ask?",
      text: "One offer at a time.",
      choices: [
        { label: `Ask ${shortName(ben)}`, tone: "", ...offer(ben, "h1") },
        { label: `Ask ${shortName(ada)}`, tone: "", ...offer(ada, "h1") },
      ],
    });
    const first = asked.payload.target_participant;
    await context("h1", "All quiet. The queue was long at noon.");
    await room.say(first, "HandoffDecline", { handoff_id: "h1", declined_by: first, reason: "on a train all night" });
    room.narrate(`${shortName(first)} declines. You are still responsible, and ask somebody else.`);
    await room.say(me, "HandoffOffer", offer(cleo, "h2").payload);
    await context("h2", "All quiet. The queue was long at noon.");
    await room.say(
      cleo,
      "HandoffAccept",
      { handoff_id: "h2", accepted_by: cleo, reason: "I am awake anyway" },
      "Accepted: responsibility has moved.",
    );
    await room.ask({
      title: "Bind the handoff",
      text: `${shortName(cleo)} has accepted. The commitment makes it binding.`,
      choices: [
        {
          label: "Commit: accepted",
          tone: "good",
          message_type: "Commitment",
          payload: room.commitment("handoff.accepted", true, `${shortName(cleo)} has the pager`),
        },
        {
          label: "Commit: declined",
          tone: "bad",
          message_type: "Commitment",
          payload: room.commitment("handoff.declined", false, "I keep it after all"),
        },
      ],
    });
  },
};
