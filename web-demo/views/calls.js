// What this page has asked of the gateway, the newest first, each to be repeated from elsewhere.

import { fill, h } from "../core/dom.js";
import { clock, duration, shortId, shortName } from "../core/format.js";
import { identities, log, sender } from "../core/gateway.js";
import { codeButton } from "../parts/code.js";

export function show(root) {
  const list = h("ol", { class: "calls" });
  fill(
    root,
    h(
      "header",
      { class: "page-head" },
      h(
        "div",
        {},
        h("h1", {}, "Calls"),
        h(
          "p",
          { class: "lead" },
          "Everything that this page has sent, with the answer. ",
          "Each can be copied as curl, a WebSocket frame, Python or grpcurl.",
        ),
      ),
    ),
    h("section", { class: "card", "aria-label": "Calls" }, list),
  );
  let queued = false;
  const draw = () => {
    queued = false;
    fill(
      list,
      log.value.length === 0 && h("li", { class: "pad quiet" }, "Nothing yet: the room is a good beginning."),
      log.value.map(line),
    );
  };
  draw();
  return log.listen(() => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(draw);
  });
}

function line(entry) {
  const { kind, bearer, envelope, method, request, answer, error, at, ms } = entry;
  const name = kind === "send" ? `Send ${envelope.message_type}` : method;
  const about =
    kind === "send" ? envelope.session_id : (request.session_id ?? request.policy_descriptor?.policy_id ?? "");
  const refused = error ?? (kind === "send" && !answer.ok ? answer.error : undefined);
  return h(
    "li",
    {},
    h("span", { class: "number" }, clock(at)),
    h("span", {}, h("strong", {}, name), " ", about && h("code", { class: "quiet" }, shortId(about))),
    h("span", { class: "quiet" }, shortName(identities.value === "tokens" ? sender.value : bearer)),
    h(
      "span",
      { class: `chip ${refused ? "bad" : "good"}` },
      refused ? (refused.code ?? "error") : answer?.duplicate ? "duplicate" : "ok",
    ),
    h("span", { class: "quiet latency" }, duration(ms)),
    codeButton(kind === "send" ? { kind, bearer, envelope } : { kind, bearer, method, request }, name),
  );
}
