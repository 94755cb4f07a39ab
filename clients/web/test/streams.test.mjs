// Subscriptions and watches over WebSocket.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MacpError } from "../macp.js";
import { gather, settle, take, World } from "./fake.mjs";

async function opened(options) {
  const world = new World();
  const client = world.client(options);
  await client.ready();
  return { world, client, server: world.server };
}

const sequences = (items) => items.map(({ sequence }) => sequence);
const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, n) => first + n);
const listening = ({ sockets }) =>
  sockets.filter(({ open }) => open).flatMap(({ subscriptions }) => [...subscriptions.keys()]);

// --- subscriptions -----------------------------------------------------------------------------------------------------------

test("a subscription replays, goes on live, and finishes with the session", async () => {
  const { client, server } = await opened();
  server.grow("s", 2);
  const subscription = client.subscribe("s", { snapshot: true });
  const seen = gather(subscription);
  assert.deepEqual(await subscription.subscribed, {
    session_id: "s",
    after_sequence: 0,
    high_water_sequence: 2,
    metadata: { session_id: "s", state: "SESSION_STATE_OPEN", mode_version: "2.0.0", configuration_version: "7" },
  });
  assert.equal(await subscription.synced, 2);
  server.grow("s", 2);
  server.grow("s", 1, "Commitment");
  await settle();
  assert.deepEqual(sequences(seen), upTo(5));
  assert.deepEqual(Object.keys(seen[0]), ["session_id", "sequence", "envelope"]);
  assert(seen.done);
  assert.deepEqual(subscription.ended, { session_id: "s", state: "SESSION_STATE_RESOLVED", last_sequence: 5 });
});

test("it resumes behind the last sequence, as often as it is cut", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 3);
  const seen = gather(client.subscribe("s", { after_sequence: 1 }));
  for (let n = 0; n < 5; n++) {
    await settle();
    await world.cut();
    server.grow("s", n);
    await world.advance(60_000);
  }
  assert.deepEqual(sequences(seen), upTo(13, 2));
  assert.deepEqual(
    world.posted("subscribe").map(({ after_sequence }) => after_sequence),
    [1, 3, 3, 4, 6, 9],
  );
});

test("a session that ended while the link was away finishes, also if nothing was missed", async () => {
  for (const missed of [0, 2]) {
    const { world, client, server } = await opened();
    server.grow("s", 1);
    const subscription = client.subscribe("s");
    const seen = gather(subscription);
    await settle();
    world.down = true;
    await world.cut();
    server.grow("s", missed);
    server.session("s").state = "SESSION_STATE_EXPIRED";
    world.down = false;
    await world.advance(60_000);
    assert.deepEqual(sequences(seen), upTo(1 + missed));
    assert(seen.done);
    assert.equal(subscription.ended.state, "SESSION_STATE_EXPIRED");
  }
});

test("a slow consumer holds at most its buffer, stops the flow, and loses nothing", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 100);
  const subscription = client.subscribe("s", { buffer: 8 });
  await settle();
  assert.deepEqual(listening(world), [], "the wire is closed while nobody reads");
  assert.equal(world.posted("subscribe").length, 1);
  assert.equal(subscription.sequence, 0);
  const first = await take(subscription, 3);
  await settle();
  assert.equal(world.posted("subscribe").length, 1, "half of the buffer is still to be read");
  const seen = [...first, ...(await take(subscription, 97))];
  assert.deepEqual(sequences(seen), upTo(100));
  // The buffer, and one that was handed to who waited.
  const asked = world.posted("subscribe").map(({ after_sequence }) => after_sequence);
  asked.slice(1).forEach((at, n) => assert(at - asked[n] <= 9, `${asked}`));
  server.grow("s", 1, "Commitment");
  assert.deepEqual(sequences(await take(subscription, 1)), [101]);
  assert.equal((await subscription.next()).done, true);
  assert.equal(subscription.sequence, 101);
});

test("large envelopes fill a buffer sooner", async () => {
  const { client, server, world } = await opened();
  for (let n = 1; n <= 40; n++) {
    server.accept({
      session_id: "s",
      message_id: `m${n}`,
      message_type: "Vote",
      payload: { text: "x".repeat(1 << 20) },
    });
  }
  const subscription = client.subscribe("s");
  await settle();
  assert.deepEqual(listening(world), []);
  assert.deepEqual(sequences(await take(subscription, 40)), upTo(40));
  assert(world.posted("subscribe").length > 3, "several rounds");
});

test("a session may be followed twice, from different places, and a fast reader does not wait for a slow one", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 50);
  const slow = client.subscribe("s", { buffer: 2 });
  const fast = gather(client.subscribe("s", { after_sequence: 20 }));
  await settle();
  assert.deepEqual(sequences(fast), upTo(50, 21));
  const late = client.subscribe("s", { after_sequence: 49, snapshot: true });
  const seen = gather(late);
  assert.equal((await late.subscribed).after_sequence, 49);
  assert.equal((await late.subscribed).metadata.session_id, "s");
  server.grow("s", 3);
  await settle();
  assert.deepEqual(sequences(seen), upTo(53, 50));
  assert.deepEqual(sequences(fast), upTo(53, 21));
  assert.deepEqual(sequences(await take(slow, 53)), upTo(53));
  assert.deepEqual(listening(world).length, 1);
});

test("leaving the loop, close and an aborted signal end the subscription on the wire", async () => {
  const { world, client, server } = await opened();
  for (const id of ["a", "b", "c"]) server.grow(id, 2);
  for await (const { sequence } of client.subscribe("a")) if (sequence === 2) break;
  const closed = client.subscribe("b");
  await take(closed, 1);
  closed.close();
  assert.deepEqual(await closed.next(), { value: undefined, done: true });
  const aborted = new AbortController();
  const signalled = client.subscribe("c", { signal: aborted.signal });
  await take(signalled, 2);
  const next = signalled.next();
  aborted.abort(new Error("enough"));
  await assert.rejects(next, /enough/);
  await settle();
  assert.deepEqual(listening(world), []);
  await assert.rejects(client.subscribe("a", { signal: AbortSignal.abort(new Error("before")) }).next(), /before/);
  await world.cut();
  await world.advance(60_000);
  assert.equal(world.posted("subscribe").length, 3, "and are not made again");
});

test("subscriptions that are closed in the same breath leave nothing behind", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 3);
  client.subscribe("s").close();
  const again = client.subscribe("s");
  await settle();
  assert.deepEqual(sequences(await take(again, 3)), upTo(3));
  again.close();
  await settle();
  assert.deepEqual(listening(world), []);
});

test("a refusal is thrown, with its code and details", async () => {
  const { client, server } = await opened();
  const subscription = client.subscribe("nope");
  const error = await subscription.next().catch((it) => it);
  assert(error instanceof MacpError);
  assert.deepEqual([error.code, error.session_id], ["SESSION_NOT_FOUND", "nope"]);
  assert.equal((await subscription.next()).done, true, "once");
  await assert.rejects(subscription.subscribed, { code: "SESSION_NOT_FOUND" });
  await assert.rejects(subscription.synced, { code: "SESSION_NOT_FOUND" });
  server.grow("s", 9);
  server.forgotten = 5;
  const gone = await client
    .subscribe("s", { after_sequence: 2 })
    .next()
    .catch((it) => it);
  assert.deepEqual([gone.code, gone.details], ["HISTORY_UNAVAILABLE", { lowest_available_sequence: 6 }]);
});

test("history that is gone concerns only who asked for it", async () => {
  const { client, server } = await opened();
  server.grow("s", 9);
  server.forgotten = 5;
  const near = gather(client.subscribe("s", { after_sequence: 7 }));
  const far = gather(client.subscribe("s", { after_sequence: 1 }));
  await settle();
  server.grow("s", 1);
  await settle();
  assert.equal(far.error.code, "HISTORY_UNAVAILABLE");
  assert.deepEqual(sequences(near), [8, 9, 10]);
});

test("a refusal that may pass is tried again, ever more slowly", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 2);
  server.refuse = ({ subscribe }) => subscribe && { error: { code: "INTERNAL_ERROR", message: "disk" } };
  const seen = gather(client.subscribe("s"));
  await world.advance(20_000);
  assert.equal(world.posted("subscribe").length, 1 + 5, "after 375, 750, 1500, 3000, 6000 ms");
  server.refuse = () => undefined;
  await world.advance(20_000);
  assert.deepEqual(sequences(seen), [1, 2]);
});

test("a subscription that breaks off in the middle goes on", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 2);
  const seen = gather(client.subscribe("s"));
  await settle();
  const [subscription] = world.socket.subscriptions.values();
  world.socket.subscriptions.clear();
  world.socket.tell({ id: subscription.id, error: { code: "INTERNAL_ERROR", message: "disk", session_id: "s" } });
  server.grow("s", 2);
  await world.advance(1_000);
  assert.deepEqual(sequences(seen), upTo(4));
});

test("a heartbeat that knows more than what arrived makes the subscription begin again", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 2);
  const seen = gather(client.subscribe("s"));
  await settle();
  const [subscription] = world.socket.subscriptions.values();
  // The server forgets to deliver.
  subscription.held = true;
  server.grow("s", 2);
  await world.advance(26_000);
  assert.equal(world.posted("subscribe").length, 1, "it may be on its way");
  await world.advance(25_000);
  assert.deepEqual(
    world.posted("subscribe").map(({ after_sequence }) => after_sequence),
    [0, 2],
  );
  assert.deepEqual(sequences(seen), upTo(4));
});

test("a heartbeat is no alarm while envelopes still arrive", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 1);
  const seen = gather(client.subscribe("s"));
  await settle();
  const [subscription] = world.socket.subscriptions.values();
  subscription.held = true;
  server.grow("s", 9);
  for (let sequence = 2; sequence <= 5; sequence++) {
    await world.advance(25_000);
    const envelope = server.session("s").envelopes[sequence - 1];
    world.socket.tell({ id: subscription.id, envelope: { session_id: "s", sequence, envelope } });
  }
  await settle();
  assert.equal(world.posted("subscribe").length, 1);
  assert.deepEqual(sequences(seen), upTo(5));
});

test("an end that crosses an unsubscribe does not confuse what is subscribed next", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 1);
  const first = client.subscribe("s");
  await take(first, 1);
  server.refuse = ({ unsubscribe }) => unsubscribe && "nothing";
  first.close();
  await settle();
  server.refuse = () => undefined;
  world.socket.subscriptions.clear();
  server.session("s").state = "SESSION_STATE_EXPIRED";
  world.socket.tell({ ended: { session_id: "s", state: "SESSION_STATE_EXPIRED", last_sequence: 1 } });
  const second = gather(client.subscribe("s"));
  await settle();
  assert.equal(world.posted("subscribe").length, 1, "not before the unsubscribe is answered");
  const { id } = world.socket.received.find((frame) => frame.unsubscribe);
  world.socket.tell({ id, unsubscribed: { session_id: "s" } });
  await settle();
  assert.deepEqual(sequences(second), [1]);
  assert(second.done);
  assert.equal(world.posted("subscribe").length, 2);
});

// --- watches -----------------------------------------------------------------------------------------------------------------

test("a watch gives the topic's messages, and begins again after a lost link", async () => {
  const { world, client, server } = await opened();
  const reasons = [];
  const seen = gather(client.watch("SESSIONS", { onrestart: (reason) => reasons.push(reason) }));
  await settle();
  server.event("SESSIONS", { session: { event: 1 } });
  await settle();
  assert.deepEqual(seen, [{ first: true }, { event: 1 }]);
  await world.cut();
  await world.advance(1_000);
  server.event("SESSIONS", { session: { event: 2 } });
  await settle();
  assert.deepEqual(seen.slice(2), [{ first: true }, { event: 2 }]);
  assert.deepEqual(reasons, ["CONNECTION_LOST"]);
});

test("a watch that the server ends as too slow begins again", async () => {
  const { world, client, server } = await opened();
  const reasons = [];
  const seen = gather(client.watch("SIGNALS", { onrestart: (reason) => reasons.push(reason) }));
  await settle();
  world.socket.watches.clear();
  const details = Buffer.from('{"topic":"SIGNALS"}').toString("base64");
  world.socket.tell({ error: { code: "STREAM_LAGGED", message: "slow", session_id: "", details } });
  await settle();
  server.event("SIGNALS", { signal: { n: 1 } });
  await settle();
  assert.deepEqual(seen, [{ n: 1 }]);
  assert.deepEqual(reasons, ["STREAM_LAGGED"]);
});

test("a consumer that is too slow is told, and watches again when it asks for more", async () => {
  const { world, client, server } = await opened();
  const reasons = [];
  const watch = client.watch("SIGNALS", { buffer: 3, onrestart: (reason) => reasons.push(reason) });
  await settle();
  for (let n = 1; n <= 5; n++) server.event("SIGNALS", { signal: { n } });
  await settle();
  assert.equal(world.socket.watches.size, 0, "nothing is sent that nobody takes");
  const next = watch.next();
  await settle();
  server.event("SIGNALS", { signal: { n: 6 } });
  assert.deepEqual((await next).value, { n: 6 });
  assert.deepEqual(reasons, ["STREAM_LAGGED"]);
});

test("a topic may be watched twice; what a watch begins with comes for the second one, too", async () => {
  const { world, client, server } = await opened();
  const reasons = [];
  const first = gather(client.watch("POLICIES", { onrestart: (reason) => reasons.push(reason) }));
  await settle();
  const second = client.watch("POLICIES");
  assert.deepEqual((await second.next()).value, { first: true });
  assert.deepEqual(reasons, ["RESTARTED"]);
  second.close();
  server.event("POLICIES", { policies: { n: 1 } });
  await settle();
  assert.deepEqual(first, [{ first: true }, { first: true }, { n: 1 }]);
  assert.equal(world.socket.watches.size, 1);
});

test("of two that watch the same, the one that was too slow begins anew with what a watch begins with", async () => {
  const { client, server } = await opened();
  const quick = gather(client.watch("ROOTS"));
  const slow = client.watch("ROOTS", { buffer: 2 });
  await settle();
  for (let n = 1; n <= 4; n++) server.event("ROOTS", { roots: { n } });
  await settle();
  assert.deepEqual((await slow.next()).value, { first: true });
  server.event("ROOTS", { roots: { n: 5 } });
  assert.deepEqual((await slow.next()).value, { n: 5 });
  assert.deepEqual(quick.filter(({ n }) => n).map(({ n }) => n), [1, 2, 3, 4, 5]);
});

test("a refused watch throws, and leaving the loop ends it on the wire", async () => {
  const { world, client, server } = await opened();
  for await (const _ of client.watch("ROOTS")) break;
  await settle();
  assert.equal(world.socket.watches.size, 0);
  server.refuse = ({ watch }) => watch && { error: { code: "FORBIDDEN", message: "no" } };
  await assert.rejects(client.watch("SIGNALS").next(), { code: "FORBIDDEN" });
});
