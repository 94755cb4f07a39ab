// The payload messages of the modes: the same table draws forms, reads protobuf bytes, and writes them for gRPC.
// From proto/macp/v1/core.proto and proto/macp/modes; e2e/browser checks it against them.

/**
 * One field: its number, name and type. `options` are the values the mode knows, `required` those it refuses to miss,
 * `hint` what to type.
 */
const field = (number, name, type = "string", more = {}) => ({ number, name, type, ...more });
const need = { required: true };
const long = { long: true };

const message = (name, ...fields) => ({ name, fields });

export const COMMITMENT_REF = message("macp.v1.CommitmentRef", field(1, "session_id"), field(2, "commitment_hash"));

export const COMMITMENT = message(
  "macp.v1.CommitmentPayload",
  field(1, "commitment_id", "string", need),
  field(2, "action", "string", {
    ...need,
    hint: "ends in selected, accepted, completed, approved, or rejected, failed, declined",
  }),
  field(3, "authority_scope", "string", need),
  field(4, "reason", "string", need),
  field(5, "mode_version", "string", need),
  field(6, "policy_version"),
  field(7, "configuration_version", "string", need),
  field(8, "outcome_positive", "bool"),
  field(9, "supersedes", COMMITMENT_REF),
);

export const ROOT = message("macp.v1.Root", field(1, "uri"), field(2, "name"));

export const SESSION_START = message(
  "macp.v1.SessionStartPayload",
  field(1, "intent"),
  field(2, "participants", "strings", need),
  field(3, "mode_version", "string", need),
  field(4, "configuration_version", "string", need),
  field(5, "policy_version", "string", { hint: "policy.default" }),
  field(6, "ttl_ms", "int64", need),
  field(7, "roots", "messages", { of: ROOT, advanced: true }),
  field(8, "context_id", "string", { advanced: true }),
  field(9, "extensions", "bytes map", { advanced: true }),
  field(10, "max_suspend_ms", "int64", { advanced: true }),
);

const DECISION = {
  Proposal: message(
    "macp.modes.decision.v1.ProposalPayload",
    field(1, "proposal_id", "string", need),
    field(2, "option", "string", need),
    field(3, "rationale", "string", long),
    field(4, "supporting_data", "bytes", { advanced: true }),
  ),
  Evaluation: message(
    "macp.modes.decision.v1.EvaluationPayload",
    field(1, "proposal_id", "string", need),
    field(2, "recommendation", "string", { ...need, options: ["APPROVE", "REVIEW", "BLOCK", "REJECT"] }),
    field(3, "confidence", "double", { hint: "0 to 1" }),
    field(4, "reason", "string", long),
  ),
  Objection: message(
    "macp.modes.decision.v1.ObjectionPayload",
    field(1, "proposal_id", "string", need),
    field(2, "reason", "string", long),
    field(3, "severity", "string", { ...need, options: ["low", "medium", "high", "critical"] }),
  ),
  Vote: message(
    "macp.modes.decision.v1.VotePayload",
    field(1, "proposal_id", "string", need),
    field(2, "vote", "string", { ...need, options: ["APPROVE", "REJECT", "ABSTAIN"] }),
    field(3, "reason", "string", long),
  ),
};

const PROPOSAL = {
  Proposal: message(
    "macp.modes.proposal.v1.ProposalPayload",
    field(1, "proposal_id", "string", need),
    field(2, "title"),
    field(3, "summary", "string", long),
    field(4, "details", "bytes", { advanced: true }),
    field(5, "tags", "strings", { advanced: true }),
  ),
  CounterProposal: message(
    "macp.modes.proposal.v1.CounterProposalPayload",
    field(1, "proposal_id", "string", need),
    field(2, "supersedes_proposal_id", "string", need),
    field(3, "title"),
    field(4, "summary", "string", long),
    field(5, "details", "bytes", { advanced: true }),
  ),
  Accept: message(
    "macp.modes.proposal.v1.AcceptPayload",
    field(1, "proposal_id", "string", need),
    field(2, "reason", "string", long),
  ),
  Reject: message(
    "macp.modes.proposal.v1.RejectPayload",
    field(1, "proposal_id", "string", need),
    field(2, "terminal", "bool"),
    field(3, "reason", "string", long),
  ),
  Withdraw: message(
    "macp.modes.proposal.v1.WithdrawPayload",
    field(1, "proposal_id", "string", need),
    field(2, "reason", "string", long),
  ),
};

const TASK = {
  TaskRequest: message(
    "macp.modes.task.v1.TaskRequestPayload",
    field(1, "task_id", "string", need),
    field(2, "title"),
    field(3, "instructions", "string", long),
    field(4, "requested_assignee"),
    field(5, "input", "bytes", { advanced: true }),
    field(6, "deadline_unix_ms", "int64", { advanced: true }),
  ),
  TaskAccept: message(
    "macp.modes.task.v1.TaskAcceptPayload",
    field(1, "task_id", "string", need),
    field(2, "assignee"),
    field(3, "reason", "string", long),
  ),
  TaskReject: message(
    "macp.modes.task.v1.TaskRejectPayload",
    field(1, "task_id", "string", need),
    field(2, "assignee"),
    field(3, "reason", "string", long),
  ),
  TaskUpdate: message(
    "macp.modes.task.v1.TaskUpdatePayload",
    field(1, "task_id", "string", need),
    field(2, "status"),
    field(3, "progress", "double", { hint: "0 to 1" }),
    field(4, "message", "string", long),
    field(5, "partial_output", "bytes", { advanced: true }),
  ),
  TaskComplete: message(
    "macp.modes.task.v1.TaskCompletePayload",
    field(1, "task_id", "string", need),
    field(2, "assignee"),
    field(3, "output", "bytes"),
    field(4, "summary", "string", long),
  ),
  TaskFail: message(
    "macp.modes.task.v1.TaskFailPayload",
    field(1, "task_id", "string", need),
    field(2, "assignee"),
    field(3, "error_code"),
    field(4, "reason", "string", long),
    field(5, "retryable", "bool"),
  ),
};

const HANDOFF = {
  HandoffOffer: message(
    "macp.modes.handoff.v1.HandoffOfferPayload",
    field(1, "handoff_id", "string", need),
    field(2, "target_participant", "string", need),
    field(3, "scope"),
    field(4, "reason", "string", long),
  ),
  HandoffContext: message(
    "macp.modes.handoff.v1.HandoffContextPayload",
    field(1, "handoff_id", "string", need),
    field(2, "content_type", "string", { hint: "text/plain" }),
    field(3, "context", "bytes"),
  ),
  HandoffAccept: message(
    "macp.modes.handoff.v1.HandoffAcceptPayload",
    field(1, "handoff_id", "string", need),
    field(2, "accepted_by"),
    field(3, "reason", "string", long),
    field(4, "implicit", "bool", { advanced: true }),
  ),
  HandoffDecline: message(
    "macp.modes.handoff.v1.HandoffDeclinePayload",
    field(1, "handoff_id", "string", need),
    field(2, "declined_by"),
    field(3, "reason", "string", long),
  ),
};

const ballot = (name) =>
  message(
    `macp.modes.quorum.v1.${name}Payload`,
    field(1, "request_id", "string", need),
    field(2, "reason", "string", long),
  );
const QUORUM = {
  ApprovalRequest: message(
    "macp.modes.quorum.v1.ApprovalRequestPayload",
    field(1, "request_id", "string", need),
    field(2, "action"),
    field(3, "summary", "string", long),
    field(4, "details", "bytes", { advanced: true }),
    field(5, "required_approvals", "uint32", need),
  ),
  Approve: ballot("Approve"),
  Reject: ballot("Reject"),
  Abstain: ballot("Abstain"),
};

const MULTI_ROUND = {
  Contribute: message("macp.modes.multi_round.v1.ContributePayload", field(1, "value", "string", need)),
};

/** Payload messages by mode and message type, `SessionStart` first and `Commitment` last. */
export const MODES = Object.fromEntries(
  Object.entries({
    "macp.mode.decision.v1": DECISION,
    "macp.mode.quorum.v1": QUORUM,
    "macp.mode.task.v1": TASK,
    "macp.mode.handoff.v1": HANDOFF,
    "macp.mode.proposal.v1": PROPOSAL,
    "ext.multi_round.v1": MULTI_ROUND,
  }).map(([mode, types]) => [mode, { SessionStart: SESSION_START, ...types, Commitment: COMMITMENT }]),
);

/** What the server itself writes into a history. */
const WRITTEN = {
  SessionCancel: message("macp.v1.SessionCancelPayload", field(1, "reason"), field(2, "cancelled_by")),
  SessionSuspend: message("macp.v1.SessionSuspendPayload", field(1, "reason"), field(2, "suspended_by")),
  SessionResume: message(
    "macp.v1.SessionResumePayload",
    field(1, "reason"),
    field(2, "resumed_by"),
    field(3, "banked_ms", "int64"),
  ),
};

/** The payload message of a type, or undefined where a registered mode has none. */
export function payloadOf(mode, type) {
  return MODES[mode]?.[type] ?? WRITTEN[type] ?? { SessionStart: SESSION_START, Commitment: COMMITMENT }[type];
}

export const ENVELOPE = message(
  "macp.v1.Envelope",
  field(1, "macp_version"),
  field(2, "mode"),
  field(3, "message_type"),
  field(4, "message_id"),
  field(5, "session_id"),
  field(6, "sender"),
  field(7, "timestamp_unix_ms", "int64"),
  field(8, "payload", "bytes"),
);
const ERROR = message(
  "macp.v1.MACPError",
  field(1, "code"),
  field(2, "message"),
  field(3, "session_id"),
  field(4, "message_id"),
  field(5, "details", "bytes"),
);
export const STREAM_REQUEST = message(
  "macp.v1.StreamSessionRequest",
  field(1, "envelope", ENVELOPE),
  field(2, "subscribe_session_id"),
  field(3, "after_sequence", "uint64"),
);
export const STREAM_RESPONSE = message(
  "macp.v1.StreamSessionResponse",
  field(1, "envelope", ENVELOPE),
  field(2, "error", ERROR),
);
