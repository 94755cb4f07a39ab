// Multi-round: contributions that move until all are the same.

import { h, svg } from "../core/dom.js";
import { shortName } from "../core/format.js";
import { avatar, foldCommon, nothingYet, tellCommon, toneOf } from "./common.js";

export const mode = "ext.multi_round.v1";
export const slug = "multi-round";
export const title = "Multi-round";
export const about = "Contribute values, round after round, until all agree.";
export const phases = ["Start", "Contribute", "Converge", "Commit"];

export function fold(history) {
  const model = { ...foldCommon(history), contributions: [], current: new Map(), phase: history.length ? 1 : 0 };
  for (const {
    envelope: { message_type, sender, payload = {} },
  } of history) {
    if (message_type === "Contribute") {
      if (model.current.has(sender)) model.phase = 2;
      model.current.set(sender, payload.value);
      model.contributions.push({ by: sender, value: payload.value });
    } else if (message_type === "Commitment") model.phase = 4;
  }
  const values = [...model.current.values()];
  model.agreed = values.length > 0 && model.participants.every((one) => model.current.get(one) === values[0]);
  return model;
}

export function tell(envelope, model) {
  const { message_type, payload = {} } = envelope;
  return message_type === "Contribute"
    ? { kind: "idea", verb: "says", object: payload.value }
    : tellCommon(envelope, model);
}

export function picture(model) {
  if (model.contributions.length === 0)
    return nothingYet("Everybody's value will be here, and how they come together.");
  const numbers = model.contributions.map(({ value }) => Number.parseFloat(value));
  return h(
    "div",
    { class: "tally" },
    numbers.every(Number.isFinite) && chart(model, numbers),
    h(
      "ul",
      { class: "ballots" },
      model.participants.map((one) =>
        h(
          "li",
          { class: model.current.has(one) ? "given" : "" },
          avatar(model, one),
          h("span", {}, shortName(one)),
          h("strong", {}, model.current.get(one) ?? "–"),
        ),
      ),
    ),
    h(
      "p",
      { class: "quiet" },
      model.agreed ? "All say the same." : `${new Set(model.current.values()).size} different values.`,
    ),
  );
}

const WIDTH = 480,
  HEIGHT = 150,
  PAD = 14;

/** One line for each participant, from contribution to contribution. */
function chart(model, numbers) {
  const low = Math.min(...numbers),
    high = Math.max(...numbers);
  const count = Math.max(numbers.length - 1, 6);
  const x = (index) => PAD + (index / count) * (WIDTH - 2 * PAD);
  const y = (number) => HEIGHT - PAD - ((number - low) / (high - low || 1)) * (HEIGHT - 2 * PAD);
  const lines = model.participants.map((one) => {
    const own = model.contributions.flatMap(({ by }, index) => (by === one ? [[x(index), y(numbers[index])]] : []));
    if (own.length === 0) return null;
    const steps = own.map(([px, py], index) => (index ? `H${px}V${py}` : `M${px} ${py}`)).join("");
    return svg(
      "g",
      { "data-tone": toneOf(model, one) },
      svg("path", { d: `${steps}H${x(numbers.length - 1)}` }),
      own.map(([cx, cy]) => svg("circle", { cx, cy, r: 4.5 })),
    );
  });
  const said = model.participants
    .map((one) => `${shortName(one)}: ${model.current.get(one) ?? "nothing yet"}`)
    .join(", ");
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": `Values over time. Now ${said}.` },
    lines,
  );
}
