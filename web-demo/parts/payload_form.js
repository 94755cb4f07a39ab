// The fields of one payload message as form controls, and the payload that they hold.

import { h } from "../core/dom.js";
import { uuid } from "../core/format.js";
import { readable, textToBase64 } from "../protocol/base64.js";
import { payloadOf } from "../protocol/schema.js";

let lists = 0;

export class PayloadForm {
  #controls = [];
  #raw = null;

  /** `state` has the session's `metadata` and what it has `seen`, for defaults and suggestions. */
  constructor({ mode, message_type, state, sender, edited }) {
    const message = payloadOf(mode, message_type);
    this.element = h("div", { class: "payload", oninput: edited, onchange: edited });
    if (!message) {
      this.#raw = h("textarea", { rows: 4, id: "payload-raw", spellcheck: false });
      this.element.append(
        h(
          "div",
          { class: "field" },
          h("label", { for: "payload-raw" }, "Payload as text"),
          this.#raw,
          h("p", { class: "hint" }, "A registered mode has no schema here: the bytes travel as payload_b64"),
        ),
      );
      return;
    }
    const advanced = [];
    for (const field of message.fields) {
      const [row, read] = control(
        field,
        starting(field.name, message_type, state, sender),
        suggestions(field.name, state),
      );
      this.#controls.push({ field, read });
      if (field.advanced || field.name === "supersedes") advanced.push(row);
      else this.element.append(row);
    }
    if (advanced.length) this.element.append(h("details", {}, h("summary", {}, "More fields"), advanced));
  }

  /** `{payload}` or `{payload_b64}`. */
  value() {
    if (this.#raw) return { payload_b64: textToBase64(this.#raw.value) };
    const payload = {};
    for (const { field, read } of this.#controls) {
      try {
        const value = read();
        if (value !== undefined) payload[field.name] = value;
      } catch {
        // Said by problem() when it is sent.
      }
    }
    return { payload };
  }

  /** What cannot be read, if anything. Everything else is for the gateway to judge. */
  problem() {
    for (const { field, read } of this.#controls) {
      try {
        read();
      } catch (error) {
        return `${field.name}: ${error.message}`;
      }
    }
    return "";
  }
}

/** A row with its control, and a function that reads it: undefined where it is empty. */
function control(field, start, known) {
  const { name, type, options, required, hint } = field;
  const id = `payload-${name}`;
  const row = (input, note = hint) =>
    h(
      "div",
      { class: "field" },
      h("label", { for: id }, name, required && h("span", { class: "needed", title: "required" }, " *")),
      Object.assign(input, { id }),
      note && h("p", { class: "hint" }, note),
    );
  const given = (input) => (input.value === "" ? undefined : input.value);
  if (options) {
    const input = h(
      "select",
      {},
      options.map((option) => h("option", { value: option }, option)),
    );
    return [row(input), () => input.value];
  }
  if (type === "bool") {
    const input = h("input", { type: "checkbox", checked: start === true, id });
    return [h("div", { class: "field" }, h("label", { class: "check" }, input, name)), () => input.checked];
  }
  if (type === "strings") {
    const input = h("textarea", { rows: 3, spellcheck: false, value: (start ?? []).join("\n") });
    return [
      row(input, "one a line"),
      () =>
        input.value
          .split("\n")
          .map((line) => line.trim())
          .filter(Boolean),
    ];
  }
  if (type === "bytes") {
    const input = h("textarea", { rows: 2, value: start ? (readable(start) ?? "") : "" });
    return [
      row(input, "text; it travels as base64"),
      () => (input.value === "" ? undefined : textToBase64(input.value)),
    ];
  }
  if (["double", "int64", "uint64", "uint32"].includes(type)) {
    const input = h("input", { type: "number", step: type === "double" ? "any" : "1", value: start ?? "" });
    return [row(input), () => (input.value === "" ? undefined : Number(input.value))];
  }
  if (type !== "string") {
    const input = h("textarea", {
      rows: 2,
      spellcheck: false,
      class: "mono",
      placeholder: type === "messages" ? "[]" : "{}",
    });
    return [row(input, "as JSON"), () => (input.value.trim() === "" ? undefined : JSON.parse(input.value))];
  }
  if (field.long) {
    const input = h("textarea", { rows: 2, value: start ?? "" });
    return [row(input), () => given(input)];
  }
  const listId = known.length ? `known-${(lists += 1)}` : undefined;
  const input = h("input", { value: start ?? "", list: listId, autocomplete: "off", spellcheck: false });
  const element = row(input);
  if (listId)
    element.append(
      h(
        "datalist",
        { id: listId },
        known.map((value) => h("option", { value })),
      ),
    );
  return [element, () => given(input)];
}

/** What a field begins with, so that the envelope is accepted as it stands where that can be known. */
function starting(name, message_type, { metadata, seen }, sender) {
  const last = (key) => seen.findLast(({ payload }) => payload?.[key])?.payload[key];
  const count = seen.filter((envelope) => envelope.message_type === message_type).length + 1;
  if (message_type === "SessionStart") {
    return {
      intent: "Where to eat?",
      participants: [...new Set([sender, "agent://ada", "agent://ben"])],
      mode_version: "1.0.0",
      configuration_version: "1",
      ttl_ms: 600_000,
    }[name];
  }
  if (message_type === "Commitment") {
    return {
      commitment_id: uuid(),
      action: "option.selected",
      authority_scope: "team",
      reason: "agreed",
      mode_version: metadata?.mode_version || "1.0.0",
      configuration_version: metadata?.configuration_version || "1",
      policy_version: metadata?.policy_version,
      outcome_positive: true,
    }[name];
  }
  switch (name) {
    case "proposal_id":
      return ["Proposal", "CounterProposal"].includes(message_type)
        ? `p${seen.filter((envelope) => envelope.message_type.endsWith("Proposal")).length + 1}`
        : (last(name) ?? "p1");
    case "supersedes_proposal_id":
      return last("proposal_id") ?? "p1";
    case "handoff_id":
      return message_type === "HandoffOffer" ? `h${count}` : (last(name) ?? "h1");
    case "task_id":
      return last(name) ?? "t1";
    case "request_id":
      return last(name) ?? "r1";
    case "target_participant":
      return metadata?.participants.find((one) => one !== sender) ?? "agent://ada";
    case "option":
    case "title":
      return count === 1 ? "noodles" : "rice";
    case "confidence":
      return 0.8;
    case "progress":
      return 0.5;
    case "required_approvals":
      return Math.max(1, Math.ceil((metadata?.participants.length ?? 2) / 2));
    case "content_type":
      return "text/plain";
    case "value":
      return "7";
    default:
      return undefined;
  }
}

/** Values that the session has had for a field, and its people for the fields that name one. */
function suggestions(name, { metadata, seen }) {
  if (["target_participant", "requested_assignee", "assignee", "accepted_by", "declined_by"].includes(name))
    return metadata?.participants ?? [];
  const key = name === "supersedes_proposal_id" ? "proposal_id" : name;
  return key.endsWith("_id") ? [...new Set(seen.map(({ payload }) => payload?.[key]).filter(Boolean))] : [];
}
