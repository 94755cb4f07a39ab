// The Task room: a summary that somebody has to write.

import { shortName } from "../core/format.js";
import { textToBase64 } from "../protocol/base64.js";

const OUTPUT = "Week 47: two releases, no incidents.\nOpen: the retry budget of the gateway.";

export const script = {
  mode: "macp.mode.task.v1",
  intent: "Who writes the weekly summary?",
  lead: "You hand out one piece of work. One agent is busy, another takes it and reports.",
  scope: "team",
  policy: "policy.default",
  policies: ["policy.default", "policy.demo.output"],
  late: { message_type: "TaskReject", payload: { task_id: "t1", reason: "never mind" } },

  async play(room) {
    const { me, ben, cleo } = room;
    await room.say(
      me,
      "TaskRequest",
      { task_id: "t1", title: "Weekly summary", instructions: "Half a page, for everybody" },
      "The initiator describes the work once. Anyone else may take it.",
    );
    await room.say(ben, "TaskReject", { task_id: "t1", assignee: ben, reason: "in the middle of something" });
    await room.say(
      cleo,
      "TaskAccept",
      { task_id: "t1", assignee: cleo, reason: "I have the notes" },
      "The first to accept has it.",
    );
    await room.say(
      cleo,
      "TaskUpdate",
      { task_id: "t1", status: "reading", progress: 0.25, message: "reading the notes" },
      "Only the one who has the task reports on it.",
    );
    await room.say(cleo, "TaskUpdate", {
      task_id: "t1",
      status: "writing",
      progress: 0.6,
      message: "the first draft stands",
    });
    await room.say(cleo, "TaskUpdate", { task_id: "t1", status: "polishing", progress: 0.9, message: "one more look" });
    const output = room.policy === "policy.demo.output" ? {} : { output: textToBase64(OUTPUT) };
    await room.say(cleo, "TaskComplete", {
      task_id: "t1",
      assignee: cleo,
      summary: "half a page, as asked",
      ...output,
    });
    room.narrate("The report is there. The initiator takes it, or does not.");
    await room.ask({
      title: "Take the result?",
      text: `${shortName(cleo)} reports that the work is done.`,
      choices: [
        {
          label: "Commit: completed",
          tone: "good",
          message_type: "Commitment",
          payload: room.commitment("task.completed", true, "it reads well"),
        },
        {
          label: "Commit: failed",
          tone: "bad",
          message_type: "Commitment",
          payload: room.commitment("task.failed", false, "not what was asked"),
        },
      ],
    });
  },
};
