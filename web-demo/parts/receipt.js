// The receipt of a resolved session, checked here in the browser.

import { fill, h, icon } from "../core/dom.js";
import { refusal } from "../core/format.js";
import { call } from "../core/gateway.js";
import { verify } from "../protocol/receipt.js";
import { codeButton, copyButton } from "./code.js";

const VERDICTS = {
  attested: ["good", "Attested: the text is whole, and signed by this gateway's key."],
  integrity_only: ["good", "Whole: hash and bytes agree. Nobody has signed it."],
  unverified: ["bad", "Not verified."],
  refused: ["bad", "Not a receipt of a known format."],
};

export function receiptPart(session_id, bearer) {
  const body = h("div", { class: "receipt-body" }, h("p", { class: "quiet" }, "Fetching the receipt…"));
  const part = h(
    "section",
    { class: "card", "aria-label": "Decision receipt" },
    h(
      "header",
      { class: "card-head" },
      h("h3", {}, "Receipt"),
      h("span", { class: "grow" }),
      codeButton({ kind: "call", bearer, method: "GetDecisionReceipt", request: { session_id } }, "GetDecisionReceipt"),
    ),
    body,
  );
  check(body, session_id, bearer);
  return part;
}

async function check(body, session_id, bearer) {
  try {
    const [{ receipt_json }, { jwks_json }] = await Promise.all([
      call("GetDecisionReceipt", { session_id }, bearer),
      call("GetReceiptKeys", {}, bearer),
    ]);
    const receipt = JSON.parse(receipt_json);
    const whole = await verify(receipt, JSON.parse(jwks_json).keys ?? []);
    const result = h("div", { role: "status" });
    show(result, receipt, whole);
    const tamper = h(
      "button",
      {
        type: "button",
        class: "button",
        onclick: async () => {
          const changed = {
            ...receipt,
            commitment: { ...receipt.commitment, action: `${receipt.commitment.action}.not` },
          };
          show(result, changed, await verify(changed, JSON.parse(jwks_json).keys ?? []));
          tamper.hidden = true;
        },
      },
      "Change one word and check again",
    );
    fill(
      body,
      result,
      h("p", { class: "row" }, tamper, copyButton(receipt.commitment_hash, "the commitment hash")),
      h(
        "details",
        {},
        h("summary", {}, "The document"),
        h("pre", { class: "small", tabIndex: 0 }, JSON.stringify(receipt, null, 2)),
      ),
    );
  } catch (error) {
    const { code, message } = refusal(error);
    fill(
      body,
      h("p", { class: "quiet" }, code === "RECEIPT_UNAVAILABLE" ? `No receipt: ${message}.` : `${code}: ${message}`),
    );
  }
}

function show(element, receipt, { checks, verdict }) {
  const [kind, words] = VERDICTS[verdict];
  const sign = { pass: "check", fail: "cross", none: "spark" };
  fill(
    element,
    h("p", { class: `verdict ${kind}` }, icon(kind === "good" ? "check" : "cross"), h("strong", {}, words)),
    h(
      "ul",
      { class: "checks" },
      checks.map(({ name, outcome, say }) =>
        h(
          "li",
          { class: outcome },
          icon(sign[outcome]),
          h(
            "span",
            {},
            name,
            h("span", { class: "sr-only" }, ` ${{ pass: "passes", fail: "fails", none: "is not checked" }[outcome]}`),
          ),
          h("span", { class: "quiet mono" }, say),
        ),
      ),
    ),
    h("p", { class: "quiet" }, `Issued by ${receipt.issuer}, ${receipt.issued_at}`),
  );
}
