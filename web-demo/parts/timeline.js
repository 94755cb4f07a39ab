// The accepted history as a list that grows: one line for each envelope, in the order and with the number it was given.

import { h, icon } from "../core/dom.js";
import { clock, duration, shortName } from "../core/format.js";
import { readable } from "../protocol/base64.js";
import { payloadOf } from "../protocol/schema.js";
import { avatar, person } from "../modes/common.js";
import { codeButton } from "./code.js";

/** `bearerOf` tells with which credential a sender's message can be repeated. */
export class Timeline {
  #drawn = 0;
  #marks = 0;

  constructor({ mode, bearerOf, label = "Accepted history" }) {
    Object.assign(this, { mode, bearerOf });
    this.list = h("ol", { class: "timeline" });
    this.element = h("div", { class: "timeline-box", tabIndex: 0, role: "region", "aria-label": label }, this.list);
  }

  /** Adds what is new; what is drawn stays as it is. */
  update(history, marks = []) {
    const stuck = this.element.scrollHeight - this.element.scrollTop - this.element.clientHeight < 60;
    const model = this.mode.fold(history);
    while (this.#drawn < history.length || this.#marks < marks.length) {
      const mark = marks[this.#marks];
      const next = history[this.#drawn];
      if (mark && (!next || mark.after < next.sequence)) {
        this.list.append(h("li", { class: "mark" }, icon("plug"), h("span", {}, mark.text)));
        this.#marks += 1;
      } else {
        this.list.append(this.#line(next, model));
        this.#drawn += 1;
      }
    }
    if (stuck) this.element.scrollTop = this.element.scrollHeight;
  }

  #line({ sequence, envelope, latency, late }, model) {
    const { kind, verb, object, note } = this.mode.tell(envelope, model);
    return h(
      "li",
      { class: `line ${kind}`, "data-sequence": String(sequence) },
      h("span", { class: "number", title: `Sequence ${sequence}` }, String(sequence)),
      avatar(model, envelope.sender),
      h(
        "div",
        { class: "line-text" },
        h("p", {}, person(model, envelope.sender), ` ${verb}`, object && " ", object && h("strong", {}, object)),
        note && h("p", { class: "note" }, note),
        h(
          "details",
          {},
          h("summary", {}, envelope.message_type, h("span", { class: "sr-only" }, `, sequence ${sequence}`)),
          envelopeTable(envelope),
        ),
      ),
      h(
        "div",
        { class: "line-side" },
        late
          ? h(
              "span",
              { class: "chip late", title: "Accepted while you were cut off, and delivered when you came back" },
              "caught up",
            )
          : latency !== undefined &&
              h("span", { class: "quiet latency", title: "From sending to seeing it here" }, duration(latency)),
        codeButton(
          { kind: "send", bearer: this.bearerOf(envelope.sender), envelope },
          `${envelope.message_type} of ${shortName(envelope.sender)}`,
        ),
      ),
    );
  }
}

/** An envelope field by field, with bytes shown as the text they are, where they are one. */
export function envelopeTable({ payload, payload_b64, ...fields }) {
  const { mode, message_type, message_id, sender, timestamp } = fields;
  const row = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const bytes = new Set(
    payloadOf(mode, message_type)
      ?.fields.filter((field) => field.type === "bytes")
      .map((field) => field.name),
  );
  const shown = (name, value) =>
    bytes.has(name) && value
      ? (readable(value) ?? `${value} (base64)`)
      : typeof value === "object" && value !== null
        ? JSON.stringify(value)
        : String(value);
  return h(
    "dl",
    { class: "fields" },
    row("sender", sender),
    row("time", `${clock(timestamp)} (${timestamp})`),
    row("message_id", message_id),
    payload_b64 !== undefined && row("payload_b64", readable(payload_b64) ?? payload_b64),
    Object.entries(payload ?? {})
      .filter(
        ([, value]) =>
          value !== "" &&
          value !== null &&
          !(Array.isArray(value) && value.length === 0) &&
          !(typeof value === "object" && Object.keys(value).length === 0),
      )
      .map(([name, value]) => row(name, shown(name, value))),
  );
}
