// The browser client against the real gateway: crashes, drains, dead links, refused WebSockets, tickets, all modes.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { ANN, BOB, Decision } from "../helpers/agents.mjs";
import { accepted, client, read, until } from "../helpers/client.mjs";
import { secret } from "../helpers/evidence.mjs";
import { Gateway } from "../helpers/gateway.mjs";
import { Proxy } from "../helpers/proxy.mjs";

const CY = "agent://cy";
const upTo = (last) => Array.from({ length: last }, (_, n) => n + 1);
const sequences = (items) => items.map(({ sequence }) => sequence);
const OUTCOME = { action: "option.selected", outcome_positive: true, authority_scope: "team", reason: "a test" };

async function setting(context, options) {
  const gateway = await Gateway.start(options);
  const proxy = await Proxy.start(gateway.port);
  const clients = [];
  context.after(async () => {
    for (const one of clients) one.close();
    await proxy.stop();
    await gateway.stop();
  });
  const make = (token, options, site = proxy) => {
    const made = client(site, token, options);
    clients.push(made);
    return made;
  };
  return { gateway, proxy, make };
}

for (const transport of ["websocket", "sse"]) {
  test(`${transport}: killed and started again twice under way, no envelope is missed, repeated or sent twice`, async (context) => {
    const { gateway, make } = await setting(context);
    const [ann, bob] = [ANN, BOB].map((token) => make(token, { transport }));
    const session = ann.decision();
    accepted(await session.start({ intent: "a test", participants: [ANN, BOB] }));
    const following = bob.subscribe(session.session_id);
    const seen = read(following);
    const ids = upTo(300).map((n) => `p${n}`);
    const acks = (async () => {
      const all = [];
      // In bursts of ten, so that something is always on its way.
      for (let at = 0; at < ids.length; at += 10) {
        const burst = ids
          .slice(at, at + 10)
          .map((proposal_id) =>
            session.proposal({ proposal_id, option: `option ${proposal_id}` }, { message_id: proposal_id }),
          );
        all.push(...(await Promise.all(burst)));
      }
      return all;
    })();
    for (const count of [40, 150]) {
      await seen.reached(count);
      await gateway.kill();
      await gateway.again();
    }
    assert.deepEqual(
      (await acks).filter(({ ok }) => !ok),
      [],
    );
    accepted(await session.commit(OUTCOME));
    await seen.done;
    assert.deepEqual(sequences(seen.items), upTo(302));
    assert.deepEqual(
      seen.items.slice(1, -1).map(({ envelope }) => envelope.message_id),
      ids,
    );
    assert.deepEqual(following.ended, {
      session_id: session.session_id,
      state: "SESSION_STATE_RESOLVED",
      last_sequence: 302,
    });
  });

  test(`${transport}: a drain loses nothing`, async (context) => {
    const { gateway, make } = await setting(context);
    const [ann, bob] = [ANN, BOB].map((token) => make(token, { transport }));
    const session = ann.decision();
    accepted(await session.start({ intent: "a test", participants: [ANN, BOB] }));
    const seen = read(bob.subscribe(session.session_id));
    await seen.reached(1);
    const stopped = gateway.terminate();
    const sent = upTo(20).map((n) => session.proposal({ proposal_id: `p${n}`, option: "o" }, { message_id: `p${n}` }));
    assert.equal(await stopped, 0);
    await gateway.again();
    for (const ack of await Promise.all(sent)) accepted(ack);
    await session.commit(OUTCOME);
    await seen.done;
    assert.deepEqual(sequences(seen.items), upTo(22));
  });

  test(`${transport}: every mode ends in its commitment`, async (context) => {
    const { make } = await setting(context);
    const [ann, bob, cy] = [ANN, BOB, CY].map((token) => make(token, { transport }));
    const modes = {
      decision: async (a, b, c) => [
        await b.proposal({ proposal_id: "p", option: "noodles" }),
        await c.evaluation({ proposal_id: "p", recommendation: "APPROVE", confidence: 0.8 }),
        await c.objection({ proposal_id: "p", reason: "far", severity: "low" }),
        await b.vote({ proposal_id: "p", vote: "APPROVE" }),
      ],
      proposal: async (a, b, c) => [
        await b.proposal({ proposal_id: "p", title: "10 for 100", tags: ["first"] }),
        await c.counterProposal({ proposal_id: "q", supersedes_proposal_id: "p", title: "12 for 100" }),
        await b.withdraw({ proposal_id: "p" }),
        ...(await Promise.all([a, b, c].map((one) => one.accept({ proposal_id: "q" })))),
      ],
      task: async (a, b, c) => [
        await a.taskRequest({ task_id: "t", title: "translate" }),
        await b.taskReject({ task_id: "t", reason: "busy" }),
        await c.taskAccept({ task_id: "t" }),
        await c.taskUpdate({ task_id: "t", progress: 0.5 }),
        await c.taskComplete({ task_id: "t", output: btoa("done") }),
      ],
      handoff: async (a, b, c) => [
        await a.handoffOffer({ handoff_id: "h", target_participant: BOB, scope: "on call" }),
        await a.handoffContext({ handoff_id: "h", content_type: "text/plain", context: btoa("all quiet") }),
        await b.handoffDecline({ handoff_id: "h" }),
        await a.handoffOffer({ handoff_id: "i", target_participant: CY, scope: "on call" }),
        await c.handoffAccept({ handoff_id: "i" }),
      ],
      quorum: async (a, b, c) => [
        await a.approvalRequest({ request_id: "r", action: "deploy", required_approvals: 2 }),
        await a.approve({ request_id: "r" }),
        await b.abstain({ request_id: "r" }),
        await c.approve({ request_id: "r" }),
      ],
      multiRound: async (a, b, c) => Promise.all([a, b, c].map((one) => one.contribute({ value: "7" }))),
    };
    for (const [mode, play] of Object.entries(modes)) {
      const mine = ann[mode]();
      const [his, hers] = [bob, cy].map((one) => one[mode](mine.session_id));
      accepted(await mine.start({ intent: mode, participants: [ANN, BOB, CY] }));
      for (const ack of await play(mine, his, hers)) accepted(ack);
      // By an object that did not start the session, and by somebody who may not.
      assert.equal((await his.commit(OUTCOME)).error.code, "FORBIDDEN", mode);
      accepted(await ann[mode](mine.session_id).commit(OUTCOME));
      assert.equal((await hers.metadata()).state, "SESSION_STATE_RESOLVED", mode);
    }
  });

  test(`${transport}: watches, signals, calls and refusals`, async (context) => {
    const { make } = await setting(context);
    const [ann, bob] = [ANN, BOB].map((token) => make(token, { transport }));
    const lifecycle = bob.watch("SESSIONS");
    const signals = bob.watch("SIGNALS");
    const first = signals.next();
    const registry = await ann.watch("MODE_REGISTRY").next();
    assert.equal(typeof registry.value.change.observed_at_unix_ms, "number");
    // A watch says nothing of when it stands, so signal until one is heard.
    let heard;
    first.then(({ value }) => (heard = value));
    for (let n = 0; !heard && n < 1_000; n++) {
      accepted(
        await ann.send({ message_type: "Signal", payload: { signal_type: "build.finished", data: btoa("ok") } }),
      );
    }
    // Development identities prove nothing.
    assert.deepEqual([heard.envelope.sender, heard.sender_authenticated], [ANN, false]);
    const session = ann.quorum();
    accepted(await session.start({ intent: "x", participants: [ANN, BOB] }));
    const { value } = await lifecycle.next();
    assert.deepEqual(
      [value.event.event_type, value.event.session.session_id],
      ["EVENT_TYPE_CREATED", session.session_id],
    );
    accepted(await session.suspend("lunch"));
    assert.equal((await lifecycle.next()).value.event.event_type, "EVENT_TYPE_SUSPENDED");
    accepted(await session.resume());
    accepted(await session.cancel("never mind"));
    const subscription = bob.subscribe(session.session_id, { snapshot: true });
    const seen = read(subscription);
    assert.equal((await subscription.subscribed).metadata.state, "SESSION_STATE_CANCELLED");
    await seen.done;
    assert.equal(subscription.ended.state, "SESSION_STATE_CANCELLED");
    assert.equal(await subscription.synced, seen.items.length);
    const again = bob.subscribe(session.session_id, { after_sequence: seen.items.length });
    assert.equal((await again.next()).done, true);
    assert.deepEqual(again.ended, subscription.ended);
    await assert.rejects(make("agent://eve", { transport }).subscribe(session.session_id).next(), {
      code: "FORBIDDEN",
    });
    await assert.rejects(ann.subscribe(randomUUID()).next(), { code: "SESSION_NOT_FOUND" });
    await assert.rejects(ann.call("GetSession", { session_id: randomUUID() }), { code: "SESSION_NOT_FOUND" });
    await assert.rejects(session.receipt(), { code: "RECEIPT_UNAVAILABLE" });
    assert((await ann.call("ListModes")).modes.length >= 5);
    assert((await ann.ping()) > 0);
  });
}

test("a slow reader of a long session gets all of it, in order", async (context) => {
  const { gateway, make } = await setting(context);
  const session = await Decision.start(gateway);
  const ann = make(ANN);
  const mine = ann.decision(session.session_id);
  await Promise.all(upTo(900).map((n) => mine.proposal({ proposal_id: `p${n}`, option: "o" })));
  await mine.commit(OUTCOME);
  const seen = [];
  for await (const { sequence } of make(BOB).subscribe(session.session_id, { buffer: 16 })) {
    seen.push(sequence);
    if (sequence % 50 === 0) await new Promise(setImmediate);
  }
  assert.deepEqual(seen, upTo(902));
});

test("where WebSocket is refused everything goes on over HTTP, and back when it is not", async (context) => {
  const { gateway, proxy, make } = await setting(context);
  proxy.websocket = false;
  const bob = make(BOB);
  assert.equal((await bob.ready()).transport, "sse");
  const session = await Decision.start(gateway);
  const seen = read(bob.subscribe(session.session_id));
  accepted(await bob.decision(session.session_id).proposal({ proposal_id: "bob's", option: "o" }));
  await seen.reached(2);
  proxy.cut();
  await session.propose();
  await seen.reached(3);
  proxy.websocket = true;
  bob.page.window.dispatchEvent(new Event("online"));
  await until(bob, ({ transport }) => transport === "websocket");
  await session.propose();
  await seen.reached(4);
  // And once more the other way, in the middle of everything.
  proxy.websocket = false;
  proxy.cut();
  await session.propose();
  await until(bob, ({ transport }) => transport === "sse");
  await session.commit();
  await seen.done;
  assert.deepEqual(sequences(seen.items), upTo(6));
});

test("a dead link is noticed when the page comes back to the foreground", async (context) => {
  const { gateway, proxy, make } = await setting(context);
  const session = await Decision.start(gateway);
  const bob = make(BOB);
  const seen = read(bob.subscribe(session.session_id));
  await seen.reached(1);
  proxy.silence();
  await session.propose();
  bob.page.document.dispatchEvent(new Event("visibilitychange"));
  await until(bob, ({ state }) => state !== "open");
  proxy.silence(false);
  await seen.reached(2);
  await session.commit();
  await seen.done;
  assert.deepEqual(sequences(seen.items), upTo(3));
});

test("tickets: exchanged for the token, or fetched by somebody else, for WebSocket and for streams", async (context) => {
  const { gateway, proxy, make } = await setting(context);
  const session = await Decision.start(gateway);
  const ticket = async () => {
    const answer = await fetch(`${gateway.url}/macp/ticket`, {
      method: "POST",
      headers: { Authorization: `Bearer ${BOB}` },
    });
    return (await answer.json()).ticket;
  };
  const exchanged = make(BOB, { auth: "ticket", transport: "websocket" });
  const given = make(undefined, { ticket, transport: "websocket" });
  const streamed = make(undefined, { ticket, transport: "sse" });
  const readers = [exchanged, given, streamed].map((one) => read(one.subscribe(session.session_id)));
  await Promise.all(readers.map(({ reached }) => reached(1)));
  assert.deepEqual(
    [exchanged, given].map(({ status }) => status.sender),
    [BOB, BOB],
  );
  accepted(await given.decision(session.session_id).proposal({ proposal_id: "p", option: "o" }));
  proxy.cut();
  await session.propose();
  await session.commit();
  await Promise.all(readers.map(({ done }) => done));
  for (const { items } of readers) assert.deepEqual(sequences(items), upTo(4));
  const lines = proxy.seen.join("\n");
  assert(!lines.includes(encodeURIComponent(BOB)) && !lines.includes(btoa(BOB).slice(0, 12)), "no token in a URL");
  assert(!gateway.output.includes(/ticket=([\w-]+)/.exec(lines)[1]), "no ticket in the log");
});

test("tokens: a refused one is an end, a renewed one is none", async (context) => {
  const tokens = [
    { token: "bobs-first-5d0c71", sender: BOB },
    { token: "bobs-second-9a4e26", sender: BOB },
    { token: "anns-c83f1b", sender: ANN },
  ];
  const { make } = await setting(context, { env: { MACP_AUTH_TOKENS_JSON: JSON.stringify(tokens) } });
  const unknown = "nobodys-77b2e0";
  secret(unknown);
  for (const transport of ["websocket", "sse", "auto"]) {
    const refused = make(unknown, { transport });
    await assert.rejects(refused.send({ message_type: "Signal" }), { code: "UNAUTHENTICATED" }, transport);
    assert.equal(refused.status.state, "closed");
  }
  const bob = make(tokens[0].token, { auth: "frame", transport: "websocket" });
  assert.equal((await bob.ready()).sender, BOB);
  await bob.setToken(tokens[1].token);
  await assert.rejects(bob.setToken(tokens[2].token));
});

test("everything works behind the path of the public URL", async (context) => {
  const { proxy, make } = await setting(context, { env: { MACP_HTTP_PUBLIC_URL: "https://example.org/teams/macp" } });
  const url = `${proxy.url}/teams/macp`;
  const answer = await fetch(`${url}/client/macp.js`);
  assert.equal(answer.status, 200);
  assert.match(await answer.text(), /class MacpClient/);
  for (const options of [{ transport: "websocket" }, { transport: "sse" }, { transport: "websocket", auth: "ticket" }]) {
    const ann = make(ANN, options, { url: `${url}/` });
    const session = ann.decision();
    accepted(await session.start({ intent: "x", participants: [ANN] }));
    const { value } = await session.subscribe().next();
    assert.equal(value.sequence, 1);
  }
});

test("a policy's denial carries its reasons", async (context) => {
  const { make } = await setting(context);
  const ann = make(ANN);
  const policy_descriptor = {
    policy_id: "policy.test.unanimous",
    mode: "macp.mode.decision.v1",
    description: "",
    schema_version: 3,
    rules: { voting: { algorithm: "unanimous" } },
  };
  const registered = await ann.call("RegisterPolicy", { policy_descriptor });
  assert.equal(registered.ok, true, registered.error);
  const session = ann.decision();
  accepted(await session.start({ intent: "x", participants: [ANN, BOB], policy_version: "policy.test.unanimous" }));
  accepted(await session.proposal({ proposal_id: "p", option: "o" }));
  const ack = await session.commit(OUTCOME);
  assert.throws(
    () => accepted(ack),
    ({ code, details }) => code === "POLICY_DENIED" && details.denials[0].code === "no_votes",
  );
});
