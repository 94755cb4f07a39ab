// Sessions to look at: agents that act over plain HTTP, independent of the client under test.

import { randomUUID } from "node:crypto";

export const ANN = "agent://ann";
export const BOB = "agent://bob";

/** A Decision session of ann and bob at this gateway. Envelopes that are refused are exceptions. */
export class Decision {
  constructor(gateway, session_id = randomUUID()) {
    this.gateway = gateway;
    this.session_id = session_id;
    this.proposals = 0;
  }

  static async start(gateway, ttl_ms = 600_000) {
    const session = new Decision(gateway);
    await session.say(ANN, "SessionStart", {
      intent: "a test",
      participants: [ANN, BOB],
      mode_version: "1.0.0",
      configuration_version: "1",
      ttl_ms,
    });
    return session;
  }

  async say(sender, message_type, payload) {
    const { session_id } = this;
    const envelope = {
      macp_version: "1.0",
      mode: "macp.mode.decision.v1",
      session_id,
      message_id: randomUUID(),
      message_type,
      payload,
    };
    const { ack } = await this.gateway.call("Send", sender, { envelope });
    if (!ack.ok) throw new Error(`${message_type}: ${ack.error.code}: ${ack.error.message}`);
    return ack;
  }

  /** One more proposal of ann's; `p1`, `p2`, … */
  propose() {
    const proposal_id = `p${++this.proposals}`;
    return this.say(ANN, "Proposal", { proposal_id, option: `option ${proposal_id}` });
  }

  commit() {
    return this.say(ANN, "Commitment", {
      commitment_id: "c1",
      action: "option.selected",
      authority_scope: "team",
      reason: "a test",
      outcome_positive: true,
      mode_version: "1.0.0",
      configuration_version: "1",
    });
  }
}
