// Compiled with `tsc --strict` and never run: the declarations allow what they should, and refuse what they should.

import { accepted, MacpClient, MacpError, type Ack, type Delivery, type SessionMetadata } from "@macp-gateway/client";

const macp = new MacpClient({ url: "https://macp.example", token: async () => "t", auth: "ticket" });
macp.addEventListener("status", ({ detail }) => detail.state satisfies "connecting" | "open" | "waiting" | "closed");
// @ts-expect-error there is no such transport
new MacpClient({ transport: "carrier pigeon" });

export async function session(id: string): Promise<Ack> {
  const decision = macp.decision(id);
  await decision.start({ intent: "x", participants: ["agent://a"] });
  // @ts-expect-error a vote has no such value
  await decision.vote({ proposal_id: "p", vote: "MAYBE" });
  // @ts-expect-error not a message of this mode
  await macp.quorum().vote({ proposal_id: "p", vote: "APPROVE" });
  await macp.task().taskUpdate({ task_id: "t", progress: 0.5 }, { signal: AbortSignal.timeout(1000) });
  const { metadata } = await macp.call("GetSession", { session_id: id });
  metadata satisfies SessionMetadata;
  // @ts-expect-error the request has another member
  await macp.call("GetSession", { id });
  (await macp.call("SomethingNew", { any: 1 })) satisfies unknown;
  return accepted(await decision.commit({ action: "a", outcome_positive: true, authority_scope: "s", reason: "r" }));
}

export async function follow(id: string): Promise<number> {
  const subscription = macp.subscribe(id, { after_sequence: 3, snapshot: true });
  (await subscription.subscribed).metadata?.participants satisfies string[] | undefined;
  try {
    for await (const delivery of subscription) {
      delivery satisfies Delivery;
      // @ts-expect-error deliveries are numbered by numbers
      delivery.sequence satisfies string;
    }
  } catch (error) {
    if (error instanceof MacpError && error.code === "HISTORY_UNAVAILABLE") return -1;
    throw error;
  }
  for await (const { event } of macp.watch("SESSIONS")) event.session.state satisfies string;
  for await (const signal of macp.watch("SIGNALS", { onrestart: (reason) => reason satisfies string })) {
    if (signal.sender_authenticated) return signal.envelope.payload?.length ?? 0;
  }
  return subscription.sequence;
}
