// The promises under whatever the network does: seeded random cuts, silence, blocked WebSocket and slow readers. A failure
// prints its seed; CHAOS_SEED=n repeats it, CHAOS_RUNS=n makes more.

import assert from "node:assert/strict";
import { test } from "node:test";
import { settle, World } from "./fake.mjs";

/** mulberry32 */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const SESSIONS = ["a", "b", "c", "d", "e", "f"];

async function run(seed) {
  const random = generator(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const world = new World();
  const { server } = world;
  world.random = random;
  for (const id of SESSIONS) server.grow(id, Math.floor(random() * 5));
  const client = world.client();
  const acks = [];
  const readers = [];
  let sent = 0;

  const follow = () => {
    const session_id = pick(SESSIONS);
    const after_sequence = Math.floor(random() * (server.session(session_id).envelopes.length + 1));
    const reader = { session_id, after_sequence, seen: [] };
    reader.subscription = client.subscribe(session_id, { after_sequence, buffer: 1 + Math.floor(random() * 6) });
    // The server's failures are passing ones here, so nothing may be thrown.
    reader.read = async (count) => {
      for (let n = 0; n < count; n++) {
        const { value, done } = await reader.subscription.next();
        if (done) return;
        reader.seen.push(value.sequence);
      }
    };
    readers.push(reader);
  };
  const actions = [
    () => world.cut(),
    () => (world.blocked = !world.blocked),
    () => (world.down = random() < 0.5),
    () => (world.silent = random() < 0.3),
    () => world.window.dispatchEvent(new Event("online")),
    () => client.reconnect(Math.floor(random() * 3_000)),
    () => server.grow(pick(SESSIONS), 1 + Math.floor(random() * 4)),
    () => server.grow(pick(SESSIONS), 1),
    () => acks.push(client.send({ session_id: pick(SESSIONS), message_type: "Vote", message_id: `own-${++sent}` })),
    () => acks.push(client.send({ session_id: pick(SESSIONS), message_type: "Vote", message_id: `own-${++sent}` })),
    () => readers.length < 12 && follow(),
    () => readers.length && pick(readers).read(1 + Math.floor(random() * 5)),
    () =>
      (server.refuse =
        random() < 0.2
          ? ({ subscribe }) => subscribe && { error: { code: "INTERNAL_ERROR", message: "" } }
          : () => undefined),
    // What was sent arrives, and the answer does not.
    () => (world.lossy = random() < 0.5 ? ({ path }) => path.endsWith("/Send") : undefined),
  ];
  follow();
  for (let step = 0; step < 60; step++) {
    pick(actions)();
    if (random() < 0.3) await settle();
    else await world.advance(Math.floor(random() * 8_000));
  }

  // Then all is well again, and everything that was promised comes true.
  Object.assign(world, { blocked: false, down: false, silent: false, lossy: undefined });
  server.refuse = () => undefined;
  await world.cut();
  await world.advance(200_000);
  await Promise.all(acks);
  for (const id of SESSIONS) server.grow(id, 1, "Commitment");
  const ends = readers.map((reader) => reader.read(Infinity));
  await world.advance(200_000);
  await Promise.all(ends);
  for (const { session_id, after_sequence, seen, subscription } of readers) {
    const all = server.session(session_id).envelopes.map((_, index) => index + 1);
    assert.deepEqual(seen, all.slice(after_sequence), `session ${session_id} behind ${after_sequence}`);
    assert.equal(subscription.ended.last_sequence, all.length);
  }
  for (const id of SESSIONS) {
    const own = server
      .session(id)
      .envelopes.map(({ message_id }) => message_id)
      .filter((one) => one.startsWith("own-"));
    const inOrder = [...new Set(own)].sort((one, two) => one.slice(4) - two.slice(4));
    assert.deepEqual(own, inOrder, `sends of session ${id}: once, in order`);
  }
  const accepted = SESSIONS.flatMap((id) => server.session(id).envelopes).filter(({ message_id }) =>
    message_id.startsWith("own-"),
  );
  assert.equal(accepted.length, sent);
  client.close();
  await settle();
  assert.equal(world.timers, 0);
}

test("no gap, no repeat, every send once and in order, whatever the network does", async () => {
  const runs = Number(process.env.CHAOS_RUNS ?? 60);
  const first = Number(process.env.CHAOS_SEED ?? 1);
  for (let seed = first; seed < first + (process.env.CHAOS_SEED ? 1 : runs); seed++) {
    const late = setTimeout(() => {
      console.error(`seed ${seed} does not end`);
      process.exit(1);
    }, 20_000);
    await run(seed).catch((error) => {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    });
    clearTimeout(late);
  }
});
