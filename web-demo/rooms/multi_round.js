// The Multi-round room: estimates that come together.

import { shortName } from "../core/format.js";

export const script = {
  mode: "ext.multi_round.v1",
  intent: "How many days will the migration take?",
  lead: "Everybody says a number, sees the others', and moves. It ends when all say the same.",
  scope: "planning",
  policy: "policy.default",
  policies: ["policy.default"],
  late: { message_type: "Contribute", payload: { value: "1" } },

  async play(room) {
    const { me, ada, ben, cleo } = room;
    const say = (who, value, narration) => room.say(who, "Contribute", { value: String(value) }, narration, 0.8);
    await say(ada, 5, "Round one: what everybody thinks alone.");
    await say(ben, 12);
    await say(cleo, 7);
    const number = (value, tone = "") => ({
      label: `${value} days`,
      tone,
      message_type: "Contribute",
      payload: { value: String(value) },
    });
    const own = Number(
      (
        await room.ask({
          title: "Your estimate",
          text: `${shortName(ada)} says 5, ${shortName(ben)} 12, ${shortName(cleo)} 7.`,
          choices: [number(6), number(8), number(10)],
          fallback: 1,
        })
      ).payload.value,
    );
    await say(ben, 9, "Round two: a contribution replaces the earlier one.");
    await say(ada, Math.min(own, 7));
    await say(ben, own, "They come together.");
    await say(cleo, own);
    if (Math.min(own, 7) !== own) await say(ada, own);
    await room.ask({
      title: "Bind the number",
      text: `All say ${own}.`,
      choices: [
        {
          label: `Commit: ${own} days`,
          tone: "good",
          message_type: "Commitment",
          payload: room.commitment("estimate.selected", true, `all say ${own}`),
        },
      ],
    });
  },
};
