// What the pictures of all modes share: who takes part and in which colour, and what the start and the end tell.

import { h } from "../core/dom.js";
import { shortName } from "../core/format.js";

const TONES = 7;

/** A history as every mode begins to read it. `history` is the deliveries in order. */
export function foldCommon(history) {
  const model = {
    intent: "",
    initiator: "",
    participants: [],
    policy: "",
    started: "",
    commitment: null,
    committedBy: "",
    last: new Map(),
  };
  for (const { envelope } of history) {
    const { message_type, sender, payload = {} } = envelope;
    if (message_type === "SessionStart") {
      Object.assign(model, {
        intent: payload.intent,
        initiator: sender,
        participants: payload.participants ?? [],
        policy: payload.policy_version || "policy.default",
        started: envelope.timestamp,
      });
    }
    if (message_type === "Commitment") Object.assign(model, { commitment: payload, committedBy: sender });
    model.last.set(sender, envelope);
  }
  model.people = [
    ...new Set([model.initiator, ...model.participants, ...history.map(({ envelope }) => envelope.sender)]),
  ].filter(Boolean);
  return model;
}

/** Which colour somebody has: their place among the people of the session. */
export const toneOf = (model, sender) => String(Math.max(0, model.people.indexOf(sender)) % TONES);

/** A round sign with somebody's initials; decoration, their name is always beside it or in a label. */
export function avatar(model, sender, { label = false, mark } = {}) {
  const name = shortName(sender);
  return h(
    "span",
    {
      class: "avatar",
      "data-tone": toneOf(model, sender),
      title: sender,
      ...(label ? { role: "img", "aria-label": label === true ? name : label } : { "aria-hidden": "true" }),
    },
    initials(name),
    mark && h("span", { class: `avatar-mark ${mark.kind}`, "aria-hidden": "true" }, mark.sign),
  );
}

const initials = (name) =>
  name
    .replace(/[^\p{L}\p{N}]+/gu, " ")
    .trim()
    .slice(0, 2) || "?";

/** Somebody's name with their colour. */
export function person(model, sender) {
  return h("span", { class: "person", "data-tone": toneOf(model, sender), title: sender }, shortName(sender));
}

/** An empty picture says what will be in it. */
export const nothingYet = (text) => h("p", { class: "nothing" }, text);

/** A bar in parts: `parts` are `{share, kind, label}` with shares from 0 to 1; `mark` is where it has to reach. */
export function bar(parts, { mark, label }) {
  return h(
    "div",
    { class: "bar", role: "img", "aria-label": label },
    h(
      "span",
      { class: "bar-fill" },
      parts
        .filter(({ share }) => share > 0)
        .map(({ share, kind }) => h("span", { class: `bar-part ${kind}`, vars: { "--share": String(share) } })),
    ),
    mark !== undefined && h("span", { class: "bar-mark", vars: { "--at": `${mark * 100}%` } }),
  );
}

/** How the messages that every mode has read as a sentence: a verb, what it is about, and what was added. */
export function tellCommon({ message_type, payload = {} }, model) {
  switch (message_type) {
    case "SessionStart":
      return {
        kind: "start",
        verb: "starts the session",
        object: payload.intent,
        note: `${payload.participants?.length ?? 0} take part under ${payload.policy_version || "policy.default"}`,
      };
    case "Commitment":
      return {
        kind: payload.outcome_positive ? "good end" : "bad end",
        verb: "binds the outcome",
        object: payload.action,
        note: payload.reason,
      };
    case "SessionCancel":
      return { kind: "bad end", verb: "cancels the session", note: payload.reason };
    case "SessionSuspend":
      return { kind: "", verb: "suspends the session", note: payload.reason };
    case "SessionResume":
      return { kind: "", verb: "resumes the session", note: payload.reason };
    default:
      return {
        kind: "",
        verb: `sends ${message_type}`,
        object: Object.values(payload).find((value) => typeof value === "string" && value),
      };
  }
}
