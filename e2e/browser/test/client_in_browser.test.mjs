// The client in Chromium, from the gateway's own /client/macp.js: what only a browser has.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BOB, Decision } from "../helpers/agents.mjs";
import { launch, open, serve } from "../helpers/browser.mjs";
import { Gateway } from "../helpers/gateway.mjs";
import { Proxy } from "../helpers/proxy.mjs";

let browser, gateway, proxy;
const upTo = (last) => Array.from({ length: last }, (_, n) => n + 1);

before(async () => {
  browser = await launch();
  gateway = await Gateway.start();
  proxy = await Proxy.start(gateway.port);
});
after(async () => {
  await browser?.close();
  await proxy?.stop();
  await gateway?.stop();
});

/** A page of the gateway's origin in which `macp` is a client of bob's, and `follow(id)` fills `seen[id]`. */
async function page(options = {}, expected = []) {
  proxy.websocket = true;
  proxy.silence(false);
  const made = await open(browser, { origins: [proxy.url], expected: [/favicon/, ...expected] });
  await made.goto(`${proxy.url}/macp/v1/modes`);
  await made.evaluate(
    async ({ options, token }) => {
      const { MacpClient } = await import("/client/macp.js");
      const macp = (window.macp = new MacpClient({ token, ...options }));
      window.statuses = [];
      macp.addEventListener("status", ({ detail }) => window.statuses.push(detail.state));
      window.seen = {};
      window.follow = async (id) => {
        window.seen[id] = [];
        const subscription = macp.subscribe(id);
        for await (const { sequence } of subscription) window.seen[id].push(sequence);
        window.seen[id].push(subscription.ended.state);
      };
    },
    { options, token: BOB },
  );
  return made;
}

const follow = (page, { session_id }) => page.evaluate((id) => void follow(id), session_id);
const reached = (page, { session_id }, count) =>
  page.waitForFunction(([id, count]) => seen[id].length >= count, [session_id, count]);
const seen = (page, { session_id }) => page.evaluate((id) => seen[id], session_id);
const transport = (page, wanted) => page.waitForFunction((wanted) => macp.status.transport === wanted, wanted);

test("the module is served with a type that browsers take, and its types beside it", async () => {
  for (const [name, type] of [
    ["macp.js", "text/javascript; charset=utf-8"],
    ["macp.d.ts", "text/plain; charset=utf-8"],
  ]) {
    const answer = await fetch(`${gateway.url}/client/${name}`);
    assert.equal(answer.headers.get("content-type"), type);
    assert.equal(answer.headers.get("access-control-allow-origin"), "*");
    assert((await answer.text()).includes("MacpClient"));
  }
});

test("a session is followed over WebSocket, cut, and followed on", async () => {
  const session = await Decision.start(gateway);
  const bobs = await page();
  await follow(bobs, session);
  await reached(bobs, session, 1);
  await transport(bobs, "websocket");
  const ack = await bobs.evaluate(
    (id) => macp.decision(id).proposal({ proposal_id: "bob's", option: "o" }),
    session.session_id,
  );
  assert.equal(ack.ok, true);
  proxy.cut();
  await session.propose();
  await reached(bobs, session, 3);
  await session.commit();
  await reached(bobs, session, 5);
  assert.deepEqual(await seen(bobs, session), [...upTo(4), "SESSION_STATE_RESOLVED"]);
  await bobs.evaluate(() => macp.close());
  assert.deepEqual(bobs.faults, []);
});

test("going offline and online again is noticed at once", async () => {
  const session = await Decision.start(gateway);
  const bobs = await page({}, [/ERR_INTERNET_DISCONNECTED/]);
  await follow(bobs, session);
  await reached(bobs, session, 1);
  // The network dies silently, as it does when a laptop changes its Wi-Fi.
  proxy.silence();
  await bobs.context().setOffline(true);
  await session.propose();
  proxy.silence(false);
  proxy.cut();
  await bobs.waitForFunction(() => macp.status.state === "waiting" && macp.status.attempt >= 4);
  await bobs.context().setOffline(false);
  await reached(bobs, session, 2);
  await session.commit();
  await reached(bobs, session, 4);
  assert.deepEqual(await seen(bobs, session), [...upTo(3), "SESSION_STATE_RESOLVED"]);
  await bobs.evaluate(() => macp.close());
  assert.deepEqual(bobs.faults, []);
});

test("a tab that was frozen while the gateway was restarted goes on where it was", async () => {
  const session = await Decision.start(gateway);
  const bobs = await page({}, [/ERR_/]);
  await follow(bobs, session);
  await reached(bobs, session, 1);
  const devtools = await bobs.context().newCDPSession(bobs);
  await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  await session.propose();
  await gateway.kill();
  await gateway.again();
  await session.propose();
  await session.commit();
  await devtools.send("Page.setWebLifecycleState", { state: "active" });
  await reached(bobs, session, 5);
  assert.deepEqual(await seen(bobs, session), [...upTo(4), "SESSION_STATE_RESOLVED"]);
  await bobs.evaluate(() => macp.close());
  assert.deepEqual(bobs.faults, []);
});

test("where WebSocket is refused, more sessions than a browser has connections are followed and written to", async () => {
  const bobs = await page({ token: undefined }, [/WebSocket connection to .* failed/]);
  proxy.websocket = false;
  const sessions = await Promise.all(upTo(9).map(() => Decision.start(gateway)));
  await bobs.evaluate(async (token) => {
    const { MacpClient } = await import("/client/macp.js");
    macp.close();
    window.macp = new MacpClient({ token });
    window.follow = async (id) => {
      window.seen[id] = [];
      for await (const { sequence } of window.macp.subscribe(id)) window.seen[id].push(sequence);
    };
  }, BOB);
  for (const session of sessions) await follow(bobs, session);
  await transport(bobs, "sse");
  for (const { session_id } of sessions) {
    const ack = await bobs.evaluate(
      (id) => macp.decision(id).proposal({ proposal_id: "bob's", option: "o" }),
      session_id,
    );
    assert.equal(ack.ok, true);
  }
  await Promise.all(sessions.map((session) => session.propose()));
  await Promise.all(sessions.map((session) => reached(bobs, session, 3)));
  await Promise.all(sessions.map((session) => session.commit()));
  await Promise.all(sessions.map((session) => reached(bobs, session, 4)));
  for (const session of sessions) assert.deepEqual(await seen(bobs, session), upTo(4));
  await bobs.evaluate(() => macp.close());
  assert.deepEqual(bobs.faults, []);
});

test("two tabs see the same", async () => {
  const session = await Decision.start(gateway);
  const tabs = await Promise.all([page(), page({ transport: "sse" })]);
  for (const tab of tabs) await follow(tab, session);
  await session.propose();
  await session.commit();
  for (const tab of tabs) {
    await reached(tab, session, 4);
    assert.deepEqual(await seen(tab, session), [...upTo(3), "SESSION_STATE_RESOLVED"]);
    await tab.evaluate(() => macp.close());
    assert.deepEqual(tab.faults, []);
  }
});

test("a page of an origin that is not on the list gets nothing, by no transport", async (context) => {
  const site = await serve({ "/": "<!doctype html><title>stranger</title>" });
  context.after(() => site.stop());
  const stranger = await open(browser, {
    origins: [site.url, gateway.url],
    expected: [/CORS/, /ERR_FAILED/, /WebSocket connection/, /403/],
  });
  await stranger.goto(site.url);
  const status = await stranger.evaluate(async (url) => {
    const { MacpClient } = await import(`${url}/client/macp.js`);
    const macp = new MacpClient({ url, token: "agent://bob" });
    for (;;) {
      const { state, error, attempt } = macp.status;
      if (attempt >= 2) return (macp.close(), { state, code: error.code });
      await new Promise((resolve) => macp.addEventListener("status", resolve, { once: true }));
    }
  }, gateway.url);
  assert.deepEqual(status, { state: "waiting", code: "CONNECTION_LOST" });
  assert.deepEqual(stranger.faults, []);
});
