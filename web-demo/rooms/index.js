// The scripts by mode, and the policies that the rooms bring along.

import { script as decision } from "./decision.js";
import { script as handoff } from "./handoff.js";
import { script as multiRound } from "./multi_round.js";
import { script as proposal } from "./proposal.js";
import { script as quorum } from "./quorum.js";
import { script as task } from "./task.js";
import { call } from "../core/gateway.js";

export const SCRIPTS = new Map(
  [decision, quorum, task, handoff, proposal, multiRound].map((script) => [script.mode, script]),
);

/** What the rooms offer beside the gateway's own policies; registered when one is first chosen. */
export const POLICIES = new Map(
  [
    {
      policy_id: "policy.demo.veto",
      mode: "macp.mode.decision.v1",
      schema_version: 3,
      description: "Majority, but one critical objection stops everything",
      rules: { voting: { algorithm: "majority" }, objection_handling: { critical_severity_vetoes: true } },
    },
    {
      policy_id: "policy.demo.all_approve",
      mode: "macp.mode.quorum.v1",
      schema_version: 3,
      description: "All participants must approve, whatever the request says",
      rules: { threshold: { type: "percentage", value: 100 } },
    },
    {
      policy_id: "policy.demo.output",
      mode: "macp.mode.task.v1",
      schema_version: 3,
      description: "A completed task must come with its output",
      rules: { completion: { require_output: true } },
    },
    {
      policy_id: "policy.demo.counterparty",
      mode: "macp.mode.proposal.v1",
      schema_version: 3,
      description: "The author of an offer need not accept it",
      rules: { acceptance: { criterion: "counterparty" } },
    },
  ].map((policy) => [policy.policy_id, policy]),
);

/** Makes sure that a policy of the rooms is registered. One that is there already is what was wanted. */
export async function ensure(policy_id) {
  const descriptor = POLICIES.get(policy_id);
  if (!descriptor) return;
  const known = (await call("ListPolicies", { mode: "" })).descriptors.some((policy) => policy.policy_id === policy_id);
  if (known) return;
  const { ok, error } = await call("RegisterPolicy", { policy_descriptor: descriptor });
  if (!ok) throw Object.assign(new Error(error), { code: "INVALID_POLICY_DEFINITION" });
}
