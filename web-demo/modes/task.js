// Task: one piece of work, who has taken it, and how far it is.

import { h } from "../core/dom.js";
import { shortName } from "../core/format.js";
import { readable } from "../protocol/base64.js";
import { avatar, bar, foldCommon, nothingYet, tellCommon } from "./common.js";

export const mode = "macp.mode.task.v1";
export const slug = "task";
export const title = "Task";
export const about = "Have one piece of work done: ask, accept, report.";
export const phases = ["Start", "Ask", "Take", "Work", "Commit"];

export function fold(history) {
  const model = {
    ...foldCommon(history),
    request: null,
    assignee: "",
    refused: new Map(),
    progress: 0,
    updates: [],
    report: null,
    phase: history.length ? 1 : 0,
  };
  for (const {
    envelope: { message_type, sender, payload = {} },
  } of history) {
    if (message_type === "TaskRequest") Object.assign(model, { request: payload, phase: 2 });
    else if (message_type === "TaskAccept") Object.assign(model, { assignee: sender, phase: 3 });
    else if (message_type === "TaskReject") {
      model.refused.set(sender, payload.reason);
      if (model.assignee === sender) model.assignee = "";
    } else if (message_type === "TaskUpdate") {
      model.progress = payload.progress ?? model.progress;
      model.updates.push(payload);
    } else if (message_type === "TaskComplete")
      Object.assign(model, { report: { ok: true, ...payload }, progress: 1, phase: 4 });
    else if (message_type === "TaskFail") Object.assign(model, { report: { ok: false, ...payload }, phase: 4 });
    else if (message_type === "Commitment") model.phase = 5;
  }
  return model;
}

export function tell(envelope, model) {
  const { message_type, payload = {} } = envelope;
  switch (message_type) {
    case "TaskRequest":
      return { kind: "idea", verb: "asks for", object: payload.title, note: payload.instructions };
    case "TaskAccept":
      return { kind: "good", verb: "takes the task", note: payload.reason };
    case "TaskReject":
      return { kind: "bad", verb: "declines the task", note: payload.reason };
    case "TaskUpdate":
      return {
        kind: "",
        verb: `is at ${Math.round((payload.progress ?? 0) * 100)} %`,
        note: payload.message || payload.status,
      };
    case "TaskComplete":
      return { kind: "good", verb: "reports: done", note: payload.summary };
    case "TaskFail":
      return { kind: "bad", verb: "reports: failed", object: payload.error_code, note: payload.reason };
    default:
      return tellCommon(envelope, model);
  }
}

export function picture(model) {
  if (!model.request) return nothingYet("The task will be here, and how it gets on.");
  const percent = Math.round(model.progress * 100);
  const state = (one) =>
    one === model.assignee
      ? model.report
        ? model.report.ok
          ? "done"
          : "failed"
        : "has the task"
      : model.refused.has(one)
        ? "declined"
        : one === model.initiator
          ? "asks"
          : "could take it";
  const output = model.report?.output && readable(model.report.output);
  return h(
    "div",
    { class: "tally" },
    h(
      "section",
      { class: "option" },
      h(
        "header",
        {},
        avatar(model, model.initiator),
        h("h3", {}, model.request.title || "A task"),
        h("p", { class: "quiet" }, model.request.instructions),
      ),
      h(
        "div",
        { class: "progress-row" },
        bar(
          [
            { share: model.progress, kind: model.report && !model.report.ok ? "bad" : "good" },
            { share: 1 - model.progress, kind: "rest" },
          ],
          { label: `${percent} % done` },
        ),
        h("strong", {}, `${percent} %`),
      ),
      model.updates.length > 0 &&
        h("p", { class: "quiet" }, model.updates.at(-1).message || model.updates.at(-1).status),
    ),
    h(
      "ul",
      { class: "ballots" },
      [...new Set([model.initiator, ...model.participants])].map((one) =>
        h(
          "li",
          { class: one === model.assignee ? "given" : "" },
          avatar(model, one, {
            mark:
              one === model.assignee
                ? { sign: model.report ? "✓" : "•", kind: "good" }
                : model.refused.has(one)
                  ? { sign: "✕", kind: "bad" }
                  : undefined,
          }),
          h("span", {}, shortName(one)),
          h("span", { class: "quiet" }, state(one)),
        ),
      ),
    ),
    output && h("figure", { class: "output" }, h("figcaption", {}, "Output"), h("pre", { tabIndex: 0 }, output)),
  );
}
