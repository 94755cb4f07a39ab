// The modes that the page can draw, and what it does with sessions of others.

import { h } from "../core/dom.js";
import { shortName } from "../core/format.js";
import { avatar, foldCommon, nothingYet, tellCommon } from "./common.js";
import * as decision from "./decision.js";
import * as handoff from "./handoff.js";
import * as multiRound from "./multi_round.js";
import * as proposal from "./proposal.js";
import * as quorum from "./quorum.js";
import * as task from "./task.js";

export const MODES = [decision, quorum, task, handoff, proposal, multiRound];

const byId = new Map(MODES.map((mode) => [mode.mode, mode]));

/** The mode by its id; a session of a registered mode is drawn by who has said how much. */
export const modeOf = (id) => byId.get(id) ?? { ...registered, mode: id, title: id };

const registered = {
  slug: "",
  about: "A registered mode: the gateway keeps its order, history and time.",
  phases: ["Start", "Messages", "Commit"],
  fold(history) {
    const model = { ...foldCommon(history), counts: new Map(), phase: history.length ? 1 : 0 };
    for (const { envelope } of history) model.counts.set(envelope.sender, (model.counts.get(envelope.sender) ?? 0) + 1);
    if (model.commitment) model.phase = 3;
    return model;
  },
  tell: tellCommon,
  picture(model) {
    if (model.counts.size === 0) return nothingYet("Who has said how much will be here.");
    return h(
      "div",
      { class: "tally" },
      h(
        "ul",
        { class: "ballots" },
        [...model.counts].map(([one, count]) =>
          h(
            "li",
            { class: "given" },
            avatar(model, one),
            h("span", {}, shortName(one)),
            h("strong", {}, String(count)),
          ),
        ),
      ),
    );
  },
};
