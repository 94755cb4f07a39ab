// A Decision session with a client whose types are generated from the OpenAPI document. Usage: node decision.js URL

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];

const [baseUrl] = process.argv.slice(2);
assert(baseUrl);
const as = (sender: string) => createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${sender}` } });

const [ann, bob] = ["agent://ann", "agent://bob"];
const session_id = randomUUID();
const versions = { mode_version: "1.0.0", configuration_version: "1" };

async function send(sender: string, message_type: string, payload: Schemas["EnvelopePayload"]): Promise<Schemas["Ack"]> {
  const envelope: Schemas["EnvelopeInput"] = {
    macp_version: "1.0",
    mode: "macp.mode.decision.v1",
    message_type,
    message_id: randomUUID(),
    session_id,
    payload,
  };
  const { data, error } = await as(sender).POST("/macp/v1/Send", { body: { envelope } });
  assert(data?.ack, JSON.stringify(error));
  return data.ack;
}

async function accept(sender: string, message_type: string, payload: Schemas["EnvelopePayload"]): Promise<void> {
  const ack = await send(sender, message_type, payload);
  assert(ack.ok, ack.error?.message);
}

const start: Schemas["SessionStartPayload"] = { intent: "release?", participants: [ann, bob], ttl_ms: 60_000, ...versions };
await accept(ann, "SessionStart", start);
await accept(ann, "Proposal", { proposal_id: "p1", option: "Monday" } satisfies Schemas["DecisionProposalPayload"]);
await accept(bob, "Vote", { proposal_id: "p1", vote: "APPROVE" } satisfies Schemas["DecisionVotePayload"]);

// A refused envelope is an answer, a refused request an error.
const refused = await send("agent://eve", "Vote", { proposal_id: "p1", vote: "REJECT" });
assert.equal(refused.error?.code, "FORBIDDEN");
const unknown = await as(ann).POST("/macp/v1/GetSession", { body: { session_id: randomUUID() } });
assert.equal(unknown.response.status, 404);
assert(unknown.error && "error" in unknown.error, "problem details were not asked for");
assert.equal(unknown.error.error.code, "SESSION_NOT_FOUND");

const commitment: Schemas["CommitmentPayload"] = {
  commitment_id: "c1",
  action: "release.approved",
  authority_scope: "team",
  reason: "agreed",
  outcome_positive: true,
  ...versions,
};
await accept(ann, "Commitment", commitment);

const session = await as(bob).GET("/macp/v1/sessions/{session_id}", { params: { path: { session_id } } });
assert.equal(session.data?.metadata?.state, "SESSION_STATE_RESOLVED");

const page = await as(bob).GET("/macp/v1/sessions/{session_id}/envelopes", {
  params: { path: { session_id }, query: { after: 1 } },
});
assert(page.data);
assert.deepEqual(
  page.data.envelopes.map(({ sequence, envelope }) => [sequence, envelope.message_type]),
  [[2, "Proposal"], [3, "Vote"], [4, "Commitment"]],
);
// The two forms of an envelope are told apart by the member that they have.
const [proposal] = page.data.envelopes;
assert(proposal && "payload" in proposal.envelope);
console.log(`${session.data.metadata.state} after ${page.data.high_water_sequence} envelopes`);
