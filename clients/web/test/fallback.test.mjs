// Where WebSocket is blocked: the same promises over requests and event streams, and the way back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { gather, settle, take, World } from "./fake.mjs";

async function opened(options = {}) {
  const world = new World();
  world.blocked = true;
  const client = world.client(options);
  await client.ready();
  assert.equal(client.status.transport, "sse");
  return { world, client, server: world.server };
}

const sequences = (items) => items.map(({ sequence }) => sequence);
const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, n) => first + n);
const ids = (server, id = "s") => server.session(id).envelopes.map(({ message_id }) => message_id);
const vote = (n, session_id = "s") => ({ session_id, message_type: "Vote", message_id: `v${n}` });
const paths = (world) => world.requests.map(({ path }) => path);

test("the API is the same: Acks, refusals, calls, subscriptions, watches", async () => {
  const { world, client, server } = await opened();
  assert.equal((await client.send(vote(1))).ok, true);
  const subscription = client.subscribe("s", { snapshot: true });
  const seen = gather(subscription);
  const { metadata, ...subscribed } = await subscription.subscribed;
  assert.deepEqual(subscribed, { session_id: "s", after_sequence: 0, high_water_sequence: 1 });
  assert.equal(metadata.session_id, "s");
  assert.equal(await subscription.synced, 1);
  const watched = gather(client.watch("MODE_REGISTRY"));
  await settle();
  server.event("MODE_REGISTRY", { mode_registry: { change: 1 } });
  await client.send(vote(2));
  server.grow("s", 1, "Commitment");
  await settle();
  assert.deepEqual(sequences(seen), [1, 2, 3]);
  assert(seen.done);
  assert.deepEqual(subscription.ended, { session_id: "s", state: "SESSION_STATE_RESOLVED", last_sequence: 3 });
  assert.deepEqual(watched, [{ first: true }, { change: 1 }]);
  assert.equal((await client.call("GetSession", { session_id: "s" })).metadata.session_id, "s");
  await assert.rejects(client.call("GetSession", { session_id: "nope" }), {
    code: "SESSION_NOT_FOUND",
    session_id: "nope",
  });
  await assert.rejects(client.subscribe("nope").next(), { code: "SESSION_NOT_FOUND" });
  await assert.rejects(client.watch("NONSENSE").next(), { code: "INVALID_REQUEST" });
  assert.equal(typeof (await client.ping()), "number");
  await client.setToken("agent://else");
  await client.call("GetSession", { session_id: "s" });
  assert.equal(world.requests.at(-1).headers.Authorization, "Bearer agent://else");
  assert(
    world.requests.every(({ query }) => ![...query.values()].join().includes("agent:")),
    "no token in a URL",
  );
});

test("a slow consumer ends its stream and loses nothing", async () => {
  const { client, server } = await opened();
  server.grow("s", 60);
  const subscription = client.subscribe("s", { buffer: 8 });
  await settle();
  assert.equal(server.streams.size, 0);
  assert.deepEqual(sequences(await take(subscription, 60)), upTo(60));
});

test("sends of one session stay in order, one at a time; other sessions do not wait for them", async () => {
  const { client, server } = await opened();
  let open;
  server.latch = new Promise((resolve) => (open = resolve));
  const sent = [1, 2, 3].map((n) => client.send(vote(n)));
  await settle();
  server.latch = null;
  const other = client.send(vote(9, "other"));
  await settle();
  assert.deepEqual([ids(server), ids(server, "other")], [[], ["v9"]]);
  open();
  await Promise.all([...sent, other]);
  assert.deepEqual(ids(server), ["v1", "v2", "v3"]);
});

test("a lost answer is asked for again with the same message_id", async () => {
  const { world, client, server } = await opened();
  let lost = 0;
  world.lossy = ({ path }) => path.endsWith("/Send") && ++lost === 1;
  const acks = Promise.all([client.send(vote(1)), client.send(vote(2))]);
  await world.advance(5_000);
  assert.deepEqual(
    (await acks).map(({ duplicate }) => duplicate),
    [true, false],
  );
  assert.deepEqual(ids(server), ["v1", "v2"]);
});

test("a proxy's 502 is not an answer: the send waits", async () => {
  const { world, client, server } = await opened();
  let times = 0;
  server.refuse = ({ path }) => path?.endsWith("/Send") && ++times <= 2 && { status: 502 };
  const sent = client.send(vote(1));
  await world.advance(10_000);
  assert.equal((await sent).ok, true);
  assert.deepEqual(ids(server), ["v1"]);
});

test("Retry-After is obeyed", async () => {
  const world = new World();
  world.blocked = true;
  world.server.refuse = ({ method }) => method && { status: 503, headers: { "Retry-After": "20" } };
  const client = world.client();
  await settle();
  assert.deepEqual([client.status.state, client.status.retryInMs], ["waiting", 20_000]);
  assert.equal(client.status.error.code, "UNAVAILABLE");
});

test("statuses without a code get the code that fits", async () => {
  const { client, server } = await opened();
  for (const [status, code] of [
    [403, "FORBIDDEN"],
    [413, "PAYLOAD_TOO_LARGE"],
    [429, "RATE_LIMITED"],
    [404, "INVALID_REQUEST"],
    [500, "INTERNAL_ERROR"],
  ]) {
    server.refuse = ({ path }) => path?.endsWith("/ListPolicies") && { status };
    await assert.rejects(client.call("ListPolicies"), { code });
  }
});

test("a stream that is cut, or silent for too long, is opened again behind the last sequence", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 2);
  const seen = gather(client.subscribe("s"));
  await settle();
  await world.cut();
  server.grow("s", 2);
  await world.advance(1_000);
  assert.deepEqual(sequences(seen), upTo(4));
  const [stream] = server.streams;
  stream.feed = undefined;
  server.grow("s", 1);
  // Comments keep it alive.
  for (let n = 0; n < 10; n++) {
    stream.raw(": keepalive\n\n");
    await world.advance(15_000);
  }
  assert.deepEqual(sequences(seen), upTo(4));
  await world.advance(46_000);
  assert.deepEqual(sequences(seen), upTo(5));
  assert.equal(server.streams.size, 1);
});

test("events may be cut into any pieces, also within a character", async () => {
  const { client, server } = await opened();
  server.session("s");
  const seen = gather(client.subscribe("s"));
  await settle();
  const [stream] = server.streams;
  const text =
    'id: 1.pass\r\ndata: {"envelope":{"message_type":"Vötë"}}\r\n\r\n: comment\n\nid: 2.pass\ndata:{"envelope":\ndata: {"message_type":"B"}}\n\n';
  const bytes = new TextEncoder().encode(text);
  for (const byte of bytes) stream.bytes(byte);
  await settle();
  assert.deepEqual(
    seen.map(({ sequence, envelope }) => [sequence, envelope.message_type]),
    [
      [1, "Vötë"],
      [2, "B"],
    ],
  );
});

test("at most four streams run; the others have their turns, and nobody misses an envelope", async () => {
  const { world, client, server } = await opened();
  const names = ["a", "b", "c", "d", "e", "f", "g"];
  for (const name of names) server.grow(name, 2);
  const signals = gather(client.watch("SIGNALS"));
  await settle();
  const all = Object.fromEntries(names.map((name) => [name, gather(client.subscribe(name))]));
  let most = 0;
  for (let n = 1; n <= 30; n++) {
    for (const name of names) server.grow(name, 1);
    server.event("SIGNALS", { signal: { n } });
    await world.advance(500);
    most = Math.max(most, server.streams.size);
  }
  await world.advance(10_000);
  for (const name of names) assert.deepEqual(sequences(all[name]), upTo(32), name);
  assert.deepEqual(
    signals.map(({ n }) => n),
    upTo(30),
    "signals are not kept, so their stream is not interrupted",
  );
  assert.equal(most, 4);
});

test("with a ticket alone sessions can be followed, each stream with a ticket of its own", async () => {
  const world = new World();
  world.blocked = true;
  let issued = 0;
  const ticket = () => {
    world.server.tickets.add(`t${++issued}`);
    return `t${issued}`;
  };
  const client = world.client({ token: undefined, ticket });
  world.server.grow("s", 2);
  const seen = gather(client.subscribe("s", { snapshot: true }));
  await settle();
  await world.cut();
  world.server.grow("s", 1);
  await world.advance(1_000);
  assert.deepEqual(sequences(seen), [1, 2, 3]);
  await assert.rejects(client.send(vote(1)), { code: "UNAUTHENTICATED" });
  // One that is refused costs an attempt and nothing else.
  client.reconnect();
  issued = 100;
  world.server.tickets.add = () => {};
  await world.advance(3_000);
  delete world.server.tickets.add;
  world.server.grow("s", 1);
  await world.advance(60_000);
  assert.deepEqual(sequences(seen), [1, 2, 3, 4]);
});

test("WebSocket is tried again later, ever more seldom, and taken when it works, without a gap", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 1);
  const seen = gather(client.subscribe("s"));
  const reasons = [];
  gather(client.watch("ROOTS", { onrestart: (reason) => reasons.push(reason) }));
  await world.quiet(1_000_000);
  const gaps = world.attempts.slice(1).map((at, n) => Math.round((at - world.attempts[n]) / 1_000));
  assert.deepEqual(gaps.slice(0, 8), [4, 8, 15, 30, 60, 120, 240, 450]);
  world.blocked = false;
  server.grow("s", 1);
  await world.quiet(600_000);
  assert.equal(client.status.transport, "websocket");
  assert.equal(server.streams.size, 0);
  server.grow("s", 1);
  await settle();
  assert.deepEqual(sequences(seen), [1, 2, 3]);
  assert.deepEqual(reasons, ["RESTARTED"]);
});

test("coming back online tries WebSocket at once", async () => {
  const { world, client } = await opened();
  world.blocked = false;
  world.window.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(client.status.transport, "websocket");
});

test("the change to WebSocket waits for answers on their way, and keeps the order of sends", async () => {
  const { world, client, server } = await opened();
  let open;
  server.latch = new Promise((resolve) => (open = resolve));
  const acks = [client.send(vote(1)), client.send(vote(2))];
  await settle();
  world.blocked = false;
  world.window.dispatchEvent(new Event("online"));
  await settle();
  acks.push(client.send(vote(3)), client.send(vote(4, "other")));
  await settle();
  assert.equal(client.status.transport, "sse");
  assert.equal(paths(world).filter((path) => path.endsWith("/Send")).length, 1, "nothing new begins on the old link");
  assert.deepEqual(world.posted("send"), []);
  server.latch = null;
  open();
  await Promise.all(acks);
  assert.equal(client.status.transport, "websocket");
  assert.deepEqual(ids(server), ["v1", "v2", "v3"]);
  assert(
    !world.posted("send").some(({ envelope }) => envelope.message_id === "v1"),
    "what was answered is not repeated",
  );
});

test("a fallback that dies during the change is replaced by the new socket, and the other way round", async () => {
  for (const dies of ["http", "socket"]) {
    const { world, client, server } = await opened();
    let open;
    server.latch = new Promise((resolve) => (open = resolve));
    const first = client.send(vote(1));
    await settle();
    world.blocked = false;
    world.window.dispatchEvent(new Event("online"));
    await settle();
    const second = client.send(vote(2));
    if (dies === "http") world.lossy = ({ path }) => path.endsWith("/Send");
    else await world.cut();
    server.latch = null;
    open();
    await world.advance(1_000);
    assert.deepEqual([(await first).ok, (await second).ok], [true, true], dies);
    assert.equal(client.status.transport, dies === "http" ? "websocket" : "sse", dies);
    assert.deepEqual(ids(server), ["v1", "v2"], dies);
  }
});

test("only `auto` falls back, and only where requests work", async () => {
  const world = new World();
  world.blocked = true;
  const strict = world.client({ transport: "websocket" });
  await world.advance(60_000);
  assert.equal(strict.status.state, "waiting");
  const off = new World();
  off.down = true;
  const client = off.client();
  await off.advance(60_000);
  assert.equal(client.status.state, "waiting");
  off.down = false;
  await off.advance(60_000);
  assert.equal(client.status.transport, "websocket");
  const sse = new World();
  await sse.client({ transport: "sse" }).ready();
  await sse.advance(3_600_000);
  assert.equal(sse.attempts.length, 0);
});

test("a lost network is noticed by heartbeat, too", async () => {
  const { world, client, server } = await opened({ transport: "sse" });
  server.grow("s", 1);
  const seen = gather(client.subscribe("s"));
  await world.advance(1_000);
  world.silent = true;
  await world.advance(36_000);
  assert.notEqual(client.status.state, "open");
  world.silent = false;
  server.grow("s", 1);
  await world.advance(60_000);
  assert.deepEqual(sequences(seen), [1, 2]);
});

test("a request that gets no answer is made again over a new link", async () => {
  const { world, client, server } = await opened({ transport: "sse" });
  world.silent = true;
  const sent = client.send(vote(1));
  await settle();
  world.silent = false;
  await world.advance(44_000);
  assert.deepEqual(ids(server), []);
  await world.advance(2_000);
  assert.equal((await sent).ok, true);
});

test("close leaves nothing behind", async () => {
  const { world, client, server } = await opened();
  server.grow("s", 1);
  for (const id of ["s", "a", "b", "c", "d", "e"]) server.session(id);
  const seen = ["s", "a", "b", "c", "d", "e"].map((id) => gather(client.subscribe(id)));
  await settle();
  client.close();
  await settle();
  assert.equal(server.streams.size, 0);
  assert.equal(world.timers, 0);
  assert(seen.every(({ done }) => done));
  const { length } = paths(world);
  await world.advance(3_600_000);
  assert.equal(paths(world).length, length);
});
