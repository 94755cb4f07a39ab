// What another policy would have done with the same history: chosen, or written here.

import { fill, h } from "../core/dom.js";
import { refusal, shortId, stateName } from "../core/format.js";
import { call, policiesOf } from "../core/gateway.js";
import { POLICIES } from "../rooms/index.js";
import { codeButton } from "./code.js";
import { refusalBox } from "./refusal.js";

/** `suggested` is the policy that is chosen first. */
export function whatIfPart({ session_id, mode, bearer, suggested }) {
  const select = h("select", { id: `what-if-${shortId(session_id)}`, onchange: () => load() });
  const rules = h("textarea", { rows: 7, spellcheck: false, "aria-label": "Rules as JSON", class: "mono" });
  const result = h("div", { "aria-live": "polite" });
  let policies = [];

  const candidate = () => {
    const chosen = policies.find((policy) => policy.policy_id === select.value);
    return {
      policy_id: chosen?.policy_id ?? "policy.what_if",
      mode,
      schema_version: chosen?.schema_version || 3,
      description: "",
      rules: JSON.parse(rules.value || "{}"),
    };
  };
  const load = () => {
    rules.value = JSON.stringify(policies.find((policy) => policy.policy_id === select.value)?.rules ?? {}, null, 2);
  };
  const run = async () => {
    try {
      const answer = await call("WhatIfReplay", { session_id, candidate: candidate() }, bearer);
      fill(result, outcome(answer));
    } catch (error) {
      fill(
        result,
        error instanceof SyntaxError
          ? refusalBox({ code: "JSON", message: error.message }, { title: "These rules are not JSON" })
          : refusalBox(refusal(error)),
      );
    }
  };

  policiesOf(mode, bearer)
    .then((known) => {
      policies = [
        ...known,
        ...[...POLICIES.values()].filter(
          (policy) => policy.mode === mode && !known.some((other) => other.policy_id === policy.policy_id),
        ),
      ];
      fill(
        select,
        policies.map((policy) => h("option", { value: policy.policy_id }, policy.policy_id)),
      );
      if (policies.some((policy) => policy.policy_id === suggested)) select.value = suggested;
      load();
      if (suggested) run();
    })
    .catch(() => load());

  return h(
    "section",
    { class: "card", "aria-label": "What if" },
    h(
      "header",
      { class: "card-head" },
      h("h3", {}, "What if?"),
      h("span", { class: "grow" }),
      codeButton(
        () => ({ kind: "call", bearer, method: "WhatIfReplay", request: { session_id, candidate: candidate() } }),
        "WhatIfReplay",
      ),
    ),
    h("p", { class: "quiet" }, "The same messages, judged again under another policy. Nothing changes."),
    h(
      "div",
      { class: "row" },
      h("label", { for: select.id }, "Policy"),
      select,
      h("button", { type: "button", class: "button primary", onclick: run }, "Replay"),
    ),
    h("details", {}, h("summary", {}, "Its rules, to change"), rules),
    result,
  );
}

function outcome({ recorded_policy_id, candidate_policy_id, recorded, candidate, denials, entries, first_divergence }) {
  const text = (details) => refusal({ details }).details;
  const same = first_divergence === undefined || first_divergence === null;
  const cell = ({ kind, state, error_code }) =>
    kind === "KIND_APPLIED"
      ? stateName(state)
      : kind === "KIND_REFUSED"
        ? error_code
        : kind === "KIND_NOT_OPEN"
          ? "session was over"
          : "no session";
  const differing = entries.filter((entry) => cell(entry.recorded) !== cell(entry.candidate));
  return h(
    "div",
    { class: "what-if" },
    h(
      "p",
      { class: `verdict ${same ? "good" : "bad"}` },
      h(
        "span",
        {},
        h("strong", {}, same ? "No difference. " : "It would have gone differently. "),
        `${recorded_policy_id}: ${stateName(recorded.state)}. ${candidate_policy_id}: ${stateName(candidate.state)}.`,
      ),
    ),
    denials.map((denial) =>
      refusalBox(
        { code: "POLICY_DENIED", message: "", details: text(denial.details) },
        { title: `Message ${Number(denial.history_index) + 1} would have been denied` },
      ),
    ),
    differing.length > 0 &&
      h(
        "div",
        { class: "scroll-x", tabIndex: 0, role: "region", "aria-label": "Differences" },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["", "Message", "As it was", "Under the candidate"].map((head) => h("th", { scope: "col" }, head)),
            ),
          ),
          h(
            "tbody",
            {},
            differing.map((entry) =>
              h(
                "tr",
                {},
                h("td", { class: "number" }, String(Number(entry.history_index) + 1)),
                h("td", {}, entry.message_type),
                h("td", {}, cell(entry.recorded)),
                h("td", {}, cell(entry.candidate)),
              ),
            ),
          ),
        ),
      ),
  );
}
