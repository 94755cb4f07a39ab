// A refusal as a person reads it: the code, the message, and the reasons that a policy gives.

import { h, icon } from "../core/dom.js";

/** `error` is what `refusal()` of format.js gives. */
export function refusalBox({ code, message, details }, { title } = {}) {
  const denials = details?.denials ?? [];
  const reasons = denials.length
    ? denials.map((denial) => [denial.code, denial.message])
    : (details?.reasons ?? []).map((reason) => ["", reason]);
  return h(
    "div",
    { class: "refusal", role: "alert" },
    h(
      "p",
      {},
      icon("lock"),
      h("strong", {}, title ?? "The gateway refused it"),
      h("code", { class: "chip bad" }, code),
    ),
    reasons.length > 0
      ? h(
          "ul",
          {},
          reasons.map(([name, text]) => h("li", {}, name && h("code", {}, name), name && " ", text)),
        )
      : h("p", {}, message),
    details && !reasons.length && h("pre", { class: "small", tabIndex: 0 }, JSON.stringify(details, null, 2)),
  );
}

/** An error that is no refusal: the connection, mostly. */
export function errorBox(text, ...actions) {
  return h(
    "div",
    { class: "refusal", role: "alert" },
    h("p", {}, h("strong", {}, text)),
    h("p", { class: "row" }, actions),
  );
}
