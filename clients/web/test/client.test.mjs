// Links, requests and their repetition: against a server in memory, on a clock that only moves when told.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accepted, MacpError } from "../macp.js";
import { settle, World } from "./fake.mjs";

const vote = (n, session_id = "s") => ({ session_id, message_type: "Vote", message_id: `v${n}` });

async function opened(world, options) {
  const client = world.client(options);
  await client.ready();
  return client;
}

async function code(promise) {
  const error = await promise.then(
    (value) => assert.fail(`answered: ${JSON.stringify(value)}`),
    (it) => it,
  );
  assert(error instanceof MacpError, String(error));
  return error.code;
}

// --- connecting ----------------------------------------------------------------------------------------------------------

test("the token travels as a subprotocol, in base64url without padding, and never in the URL", async () => {
  const world = new World();
  const client = await opened(world, { token: "agent://ann?ü", url: "https://gw/prefix/" });
  const { url, protocols } = world.socket;
  assert.equal(url.href, "wss://gw/prefix/macp/v1/ws");
  assert.deepEqual(protocols, ["macp.v1.json", "macp.bearer.YWdlbnQ6Ly9hbm4_w7w"]);
  assert.equal(client.status.sender, "agent://ann?ü");
  assert.equal(client.status.transport, "websocket");
});

test("the token may travel in the first frame", async () => {
  const world = new World();
  const client = await opened(world, { auth: "frame" });
  assert.deepEqual(world.socket.protocols, ["macp.v1.json"]);
  assert.deepEqual(world.posted("authenticate"), [{ token: "agent://ann" }]);
  assert.equal(client.status.sender, "agent://ann");
});

test("the token may be exchanged for a ticket, a new one for each connection", async () => {
  const world = new World();
  await opened(world, { auth: "ticket" });
  await world.cut();
  await world.advance(1_000);
  const [first, second] = world.sockets.map(({ url, protocols }) => [url.searchParams.get("ticket"), protocols.length]);
  assert.deepEqual(
    [first, second],
    [
      ["t1", 1],
      ["t2", 1],
    ],
  );
});

test("a page without the token gets its tickets elsewhere", async () => {
  const world = new World();
  world.server.tickets = new Set(["a", "b"]);
  const tickets = ["a", "b"];
  const client = await opened(world, { token: undefined, ticket: async () => tickets.shift() });
  await world.cut();
  await world.advance(1_000);
  assert.equal(client.status.state, "open");
  assert.deepEqual(
    world.sockets.map(({ url }) => url.search),
    ["?ticket=a", "?ticket=b"],
  );
});

test("a token function is asked for each connection", async () => {
  const world = new World();
  let asked = 0;
  await opened(world, { token: () => `agent://${++asked}` });
  await world.cut();
  await world.advance(1_000);
  assert.equal(world.socket.sender, "agent://2");
});

test("without a credential the open calls go over HTTP", async () => {
  const world = new World();
  const client = await opened(world, { token: undefined });
  assert.equal(client.status.transport, "sse");
  assert.equal(world.sockets.length, 0);
  await world.advance(3_600_000);
  assert.equal(world.sockets.length, 0, "nor is WebSocket tried later");
});

test("a fixed token that is refused closes the client, and everything that waits learns why", async () => {
  const world = new World();
  world.server.tokens = new Set(["other"]);
  const client = world.client();
  const ready = client.ready();
  const sent = client.send(vote(1));
  const next = client.subscribe("s").next();
  assert.deepEqual(await Promise.all([code(ready), code(sent), code(next)]), Array(3).fill("UNAUTHENTICATED"));
  assert.equal(client.status.state, "closed");
  assert.equal(client.status.error.code, "UNAUTHENTICATED");
  assert.equal(await code(client.send(vote(2))), "UNAUTHENTICATED");
  assert.equal(world.timers, 0);
});

test("a token function gets another chance", async () => {
  const world = new World();
  world.server.tokens = new Set(["good"]);
  let token = "bad";
  const client = world.client({ token: () => token });
  const sent = client.send(vote(1));
  await world.advance(60_000);
  assert.equal(client.status.error.code, "UNAUTHENTICATED");
  token = "good";
  await world.advance(60_000);
  assert.equal((await sent).ok, true);
});

test("setToken renews on the open socket and counts for the next one", async () => {
  const world = new World();
  const client = await opened(world);
  await client.setToken("agent://ann2");
  assert.deepEqual(world.posted("authenticate"), [{ token: "agent://ann2" }]);
  assert.equal(world.sockets.length, 1);
  await world.cut();
  await world.advance(1_000);
  assert.equal(world.socket.sender, "agent://ann2");
});

// --- reconnecting ----------------------------------------------------------------------------------------------------------

test("backoff doubles with jitter, stops growing at 30 s, and never gives up", async () => {
  const world = new World();
  world.down = true;
  const randoms = [0, 0.5, 1];
  world.random = () => randoms[world.attempts.length % 3];
  world.client();
  await world.advance(3_600_000);
  const gaps = world.attempts.slice(1).map((at, n) => at - world.attempts[n]);
  const factor = (n) => 0.5 + randoms[(n + 1) % 3] / 2;
  gaps.forEach((gap, n) => assert.equal(gap, Math.round(Math.min(30_000, 500 * 2 ** n) * factor(n)), `gap ${n}`));
  assert(gaps.length > 100, `${gaps.length} attempts in an hour`);
});

test("a link that lived for a while resets the backoff; one that dies at once does not", async () => {
  const world = new World();
  const client = await opened(world);
  const waits = [];
  client.addEventListener("status", ({ detail }) => detail.state === "waiting" && waits.push(detail.retryInMs));
  for (let n = 0; n < 4; n++) {
    await world.cut();
    await world.advance(waits.at(-1));
  }
  await world.advance(5_000);
  await world.cut();
  assert.deepEqual(waits, [375, 750, 1500, 3000, 375]);
});

test("coming back online, to the foreground or from the back/forward cache ends the waiting", async () => {
  for (const [target, name] of [
    ["window", "online"],
    ["window", "pageshow"],
    ["document", "visibilitychange"],
    ["document", "resume"],
  ]) {
    const world = new World();
    world.down = true;
    const client = world.client();
    await world.advance(600_000);
    world.down = false;
    const { length } = world.attempts;
    world[target].dispatchEvent(new Event(name));
    await settle();
    assert.equal(world.attempts.length, length + 1, name);
    assert.equal(client.status.state, "open", name);
  }
});

test("a page that goes to the background does not reconnect for it", async () => {
  const world = new World();
  world.down = true;
  world.client();
  await world.advance(600_000);
  const { length } = world.attempts;
  world.document.visibilityState = "hidden";
  world.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.equal(world.attempts.length, length);
});

test("a silent link is noticed by heartbeat, and detached", async () => {
  const world = new World();
  const client = await opened(world);
  const dead = world.socket;
  await world.advance(24_000);
  assert.equal(world.posted("ping").length, 0);
  await world.advance(2_000);
  assert.equal(world.posted("ping").length, 1);
  world.silent = true;
  await world.advance(25_000 + 8_000);
  assert.equal(client.status.state, "open");
  await world.advance(2_000);
  assert.notEqual(client.status.state, "open");
  assert.equal(dead.closed, 1000);
  assert.equal(dead.onmessage, null);
  world.silent = false;
  await world.advance(60_000);
  assert.equal(client.status.state, "open");
});

test("a link that was suspended with the page is checked within 3 s of coming back", async () => {
  const world = new World();
  const client = await opened(world);
  world.silent = true;
  world.document.dispatchEvent(new Event("visibilitychange"));
  await world.advance(2_900);
  assert.equal(client.status.state, "open");
  world.silent = false;
  await world.advance(1_000);
  assert.equal(client.status.state, "open");
  assert.equal(world.sockets.length, 2);
});

test("a slow answer to a ping is not a dead link while other frames come", async () => {
  const world = new World();
  const client = await opened(world);
  world.server.grow("s", 1);
  client.subscribe("s");
  await settle();
  world.server.refuse = (frame) => (frame.ping ? "nothing" : undefined);
  for (let n = 0; n < 20; n++) {
    await world.advance(5_000);
    world.server.grow("s", 1);
  }
  assert.equal(world.sockets.length, 1);
});

test("a server that does not answer the upgrade is given up after 10 s", async () => {
  const world = new World();
  world.silent = true;
  const client = world.client({ transport: "websocket" });
  await world.advance(9_900);
  assert.equal(client.status.state, "connecting");
  // The same for the request that finds out why.
  await world.advance(10_200);
  assert.equal(client.status.state, "waiting");
  assert.equal(client.status.error.code, "CONNECTION_LOST");
});

test("reconnect drops the link and makes a new one after the time that is asked for", async () => {
  const world = new World();
  const client = await opened(world);
  const first = world.socket;
  client.reconnect(5_000);
  assert.equal(first.closed, 1000);
  assert.deepEqual([client.status.state, client.status.retryInMs], ["waiting", 5_000]);
  await world.advance(4_999);
  assert.equal(world.sockets.length, 1);
  await world.advance(2);
  assert.equal(client.status.state, "open");
});

test("a drain is obeyed: nothing new is sent, and the client comes back when it was told to", async () => {
  const world = new World();
  const client = await opened(world);
  const { socket } = world;
  socket.tell({ draining: { reconnect_after_ms: 4_000 } });
  const sent = client.send(vote(1));
  const registered = client.call("RegisterPolicy", { n: 1 });
  await settle();
  assert.equal(world.posted("send").length, 0);
  socket.lose(1001);
  await world.advance(3_999);
  assert.equal(world.sockets.length, 1);
  await world.advance(2);
  assert.equal((await sent).ok, true);
  assert.equal((await registered).request.n, 1, "what was not sent has no unknown outcome");
});

// --- requests ----------------------------------------------------------------------------------------------------------------

test("send fills in what every envelope needs and gives the Ack, accepted or not", async () => {
  const world = new World();
  const client = await opened(world);
  const ack = await client.send({ session_id: "s", mode: "m", message_type: "Vote", payload: { a: 1 } });
  assert.equal(ack.ok, true);
  const [{ envelope }] = world.posted("send");
  assert.match(envelope.message_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(
    { ...envelope, message_id: 0 },
    {
      macp_version: "1.0",
      mode: "m",
      session_id: "s",
      message_id: 0,
      message_type: "Vote",
      payload: { a: 1 },
    },
  );
  const details = Buffer.from('{"denials":[{"code":"veto","message":"nein, ü"}]}').toString("base64");
  const error = { code: "POLICY_DENIED", message: "no", session_id: "s", message_id: "m", details };
  world.server.refuse = () => ({ ack: { ok: false, error } });
  const refused = await client.send(vote(1));
  assert.equal(refused.error.code, "POLICY_DENIED");
  assert.throws(
    () => accepted(refused),
    (it) => it instanceof MacpError && it.details.denials[0].message === "nein, ü",
  );
  assert.equal(accepted(ack), ack);
});

test("what is asked for before there is a link is sent when there is one, in order", async () => {
  const world = new World();
  world.down = true;
  const client = world.client();
  const acks = Promise.all([1, 2, 3].map((n) => client.send(vote(n))));
  await world.advance(10_000);
  world.down = false;
  await world.advance(30_000);
  assert.deepEqual(
    (await acks).map(({ message_id }) => message_id),
    ["v1", "v2", "v3"],
  );
  assert.deepEqual(
    world.server.session("s").envelopes.map(({ message_id }) => message_id),
    ["v1", "v2", "v3"],
  );
});

test("sends without an Ack are repeated with the same message_id and happen once", async () => {
  const world = new World();
  const client = await opened(world);
  // The first is accepted and its Ack is lost; the second does not even arrive.
  world.server.refuse = ({ send }) => {
    if (send?.envelope.message_id === "v1") world.server.accept(send.envelope);
    return send && "nothing";
  };
  const acks = [client.send(vote(1)), client.send(vote(2))];
  await settle();
  world.server.refuse = () => undefined;
  await world.cut();
  await world.advance(1_000);
  assert.deepEqual(
    (await Promise.all(acks)).map(({ duplicate }) => duplicate),
    [true, false],
  );
  assert.deepEqual(
    world.server.session("s").envelopes.map(({ message_id }) => message_id),
    ["v1", "v2"],
  );
});

test("what the caller changes after send is not sent", async () => {
  const world = new World();
  world.down = true;
  const client = world.client();
  const payload = { proposal_id: "p" };
  const sent = client.send({ ...vote(1), payload });
  payload.proposal_id = "changed";
  world.down = false;
  await world.advance(1_000);
  await sent;
  assert.equal(world.server.session("s").envelopes[0].payload.proposal_id, "p");
});

test("UNAVAILABLE says that nothing happened: the send waits for a better link, and those behind it keep their place", async () => {
  const world = new World();
  const client = await opened(world);
  const error = { code: "UNAVAILABLE", message: "draining" };
  world.server.refuse = ({ send }) => send && { ack: { ok: false, error } };
  const acks = Promise.all([1, 2, 3].map((n) => client.send(vote(n))));
  await settle();
  world.server.refuse = () => undefined;
  await world.advance(5_000);
  assert.deepEqual(
    (await acks).map(({ ok }) => ok),
    [true, true, true],
  );
  assert.deepEqual(
    world.server.session("s").envelopes.map(({ message_id }) => message_id),
    ["v1", "v2", "v3"],
  );
});

test("calls that read are repeated; of others that were on their way the outcome is unknown", async () => {
  const world = new World();
  const client = await opened(world);
  world.server.session("s");
  world.server.refuse = ({ call }) => call && "nothing";
  const read = client.call("GetSession", { session_id: "s" });
  const cancelled = client.call("CancelSession", { session_id: "s" });
  const written = code(client.call("RegisterPolicy", {}));
  await settle();
  world.server.refuse = () => undefined;
  await world.cut();
  assert.equal(await written, "CONNECTION_LOST");
  // Not on its way yet.
  const later = client.call("RegisterPolicy", { later: true });
  await world.advance(1_000);
  assert.equal((await read).metadata.session_id, "s");
  assert.equal((await cancelled).ack.ok, true);
  assert.equal((await later).request.later, true);
});

test("a refused call rejects with its code", async () => {
  const world = new World();
  const client = await opened(world);
  const error = await client.call("GetSession", { session_id: "nope" }).catch((it) => it);
  assert.deepEqual([error.code, error.session_id, error.retryable], ["SESSION_NOT_FOUND", "nope", false]);
});

test("what waits is bounded, by number and by size", async () => {
  const world = new World();
  world.down = true;
  const few = world.client({ maxPending: 2 });
  const small = world.client({ maxPendingChars: 1_000 });
  for (const n of [1, 2]) few.send(vote(n)).catch(() => {});
  assert.equal(await code(few.send(vote(3))), "QUEUE_FULL");
  assert.equal(await code(small.send({ ...vote(1), payload: { text: "x".repeat(1_000) } })), "QUEUE_FULL");
  small.send(vote(2)).catch(() => {});
  few.close();
  small.close();
});

test("places in the queue are given back", async () => {
  const world = new World();
  const client = await opened(world, { maxPending: 1, maxPendingChars: 300 });
  for (let n = 0; n < 10; n++) await client.send(vote(n));
  const aborted = new AbortController();
  world.server.refuse = ({ send }) => send && "nothing";
  const given = client.send(vote(10), { signal: aborted.signal });
  aborted.abort(new Error("enough"));
  await assert.rejects(given, /enough/);
  world.server.refuse = () => undefined;
  await client.send(vote(11));
});

test("a message that is too large for the server is refused here, not by a lost connection", async () => {
  const world = new World();
  const client = await opened(world);
  assert.equal(await code(client.send({ ...vote(1), payload: { text: "ü".repeat(50_001) } })), "PAYLOAD_TOO_LARGE");
  assert.equal((await client.send({ ...vote(2), payload: { text: "x".repeat(90_000) } })).ok, true);
});

test("an aborted request rejects with the signal's reason", async () => {
  const world = new World();
  const client = await opened(world);
  await assert.rejects(client.send(vote(1), { signal: AbortSignal.abort(new Error("before")) }), /before/);
  assert.equal(world.posted("send").length, 0);
});

test("close ends everything and leaves nothing behind", async () => {
  const world = new World();
  const client = await opened(world);
  const { socket } = world;
  world.server.refuse = ({ send, ping }) => (send || ping) && "nothing";
  const waiting = [client.send(vote(1)), client.ping()];
  world.server.grow("s", 1);
  const subscription = client.subscribe("s", { after_sequence: 1 });
  const watch = client.watch("SIGNALS");
  const nexts = [subscription.next(), watch.next()];
  await settle();
  client.close();
  client.close();
  assert.deepEqual(await Promise.all(waiting.map(code)), ["CLIENT_CLOSED", "CLIENT_CLOSED"]);
  assert.deepEqual(
    (await Promise.all(nexts)).map(({ done }) => done),
    [true, true],
  );
  assert.equal(socket.closed, 1000);
  assert.equal(await code(client.ready()), "CLIENT_CLOSED");
  assert.equal(await code(client.call("ListModes")), "CLIENT_CLOSED");
  assert.equal(await code(client.subscribe("s").next()), "CLIENT_CLOSED");
  const { length } = world.attempts;
  world.window.dispatchEvent(new Event("online"));
  await world.advance(3_600_000);
  assert.equal(world.attempts.length, length);
  assert.equal(world.timers, 0);
});

test("the status is told as it changes", async () => {
  const world = new World();
  const states = [];
  const client = world.client();
  client.addEventListener("status", ({ detail }) =>
    states.push([detail.state, detail.transport, detail.attempt, detail.error?.code]),
  );
  await client.ready();
  await world.cut();
  await world.advance(1_000);
  client.close();
  client.close();
  assert.deepEqual(states, [
    ["connecting", null, 0, undefined],
    ["open", "websocket", 0, undefined],
    ["waiting", null, 1, "CONNECTION_LOST"],
    ["connecting", null, 1, "CONNECTION_LOST"],
    ["open", "websocket", 1, undefined],
    ["closed", null, 1, undefined],
  ]);
});

test("ping measures the round trip", async () => {
  const world = new World();
  const client = await opened(world);
  world.server.refuse = ({ ping }, socket) => {
    if (!ping) return undefined;
    world.time += 42;
    return { pong: {} };
  };
  assert.equal(await client.ping(), 42);
});

// --- modes -------------------------------------------------------------------------------------------------------------------

test("each message type of each mode has a method of its name", async () => {
  const world = new World();
  const client = await opened(world);
  const modes = {
    decision: ["proposal", "evaluation", "objection", "vote"],
    proposal: ["proposal", "counterProposal", "accept", "reject", "withdraw"],
    task: ["taskRequest", "taskAccept", "taskReject", "taskUpdate", "taskComplete", "taskFail"],
    handoff: ["handoffOffer", "handoffContext", "handoffAccept", "handoffDecline"],
    quorum: ["approvalRequest", "approve", "reject", "abstain"],
    multiRound: ["contribute"],
  };
  for (const [mode, names] of Object.entries(modes)) {
    const session = client[mode](`session-${mode}`);
    for (const name of names) await session[name]({ n: 1 }, { message_id: `${mode} ${name}` });
    const said = world.server.session(`session-${mode}`).envelopes;
    assert.deepEqual(
      said.map(({ message_type }) => message_type),
      names.map((name) => name[0].toUpperCase() + name.slice(1)),
    );
    const id = mode === "multiRound" ? "ext.multi_round.v1" : `macp.mode.${mode}.v1`;
    assert(said.every((one) => one.mode === id && one.payload.n === 1 && one.message_id.startsWith(mode)));
  }
});

test("a commitment repeats the versions of the start, or of the session if another client started it", async () => {
  const world = new World();
  const client = await opened(world);
  const outcome = { action: "a", outcome_positive: true, authority_scope: "s", reason: "r" };
  const own = client.decision();
  await own.start({ intent: "x", participants: [], configuration_version: "9" });
  await own.commit(outcome);
  const [start, commitment] = world.server.session(own.session_id).envelopes.map(({ payload }) => payload);
  assert.deepEqual(start, {
    mode_version: "1.0.0",
    configuration_version: "9",
    ttl_ms: 600_000,
    intent: "x",
    participants: [],
  });
  assert.match(commitment.commitment_id, /^[0-9a-f-]{36}$/);
  assert.deepEqual(
    { ...commitment, commitment_id: 0 },
    { commitment_id: 0, mode_version: "1.0.0", configuration_version: "9", ...outcome },
  );
  world.server.session("other");
  await client.quorum("other").commit({ ...outcome, commitment_id: "c" });
  const [{ payload }] = world.server.session("other").envelopes;
  assert.deepEqual(payload, { commitment_id: "c", mode_version: "2.0.0", configuration_version: "7", ...outcome });
});

test("a session can be read and controlled, and carry payloads without a schema", async () => {
  const world = new World();
  const client = await opened(world);
  const session = client.session("example.poll.v1", "poll");
  await session.send("Answer", { payload_b64: "NDI=" });
  assert.deepEqual(world.posted("send")[0].envelope.payload_b64, "NDI=");
  assert.equal("payload" in world.posted("send")[0].envelope, false);
  for (const name of ["cancel", "suspend", "resume"]) assert.equal((await session[name]("why")).ok, true);
  assert.deepEqual(
    world.posted("call").map(({ method, request }) => [method, request.reason]),
    [
      ["CancelSession", "why"],
      ["SuspendSession", "why"],
      ["ResumeSession", "why"],
    ],
  );
  assert.equal((await session.metadata()).session_id, "poll");
  assert.equal((await session.receipt()).schema, "macp-receipt/1");
});
