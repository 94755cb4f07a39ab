// A plain EventSource on the gateway's own origin, with a ticket: cut again and again, it resumes by itself.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BOB, Decision } from "../helpers/agents.mjs";
import { launch, open } from "../helpers/browser.mjs";
import { Gateway } from "../helpers/gateway.mjs";
import { Proxy } from "../helpers/proxy.mjs";

let browser, gateway, proxy;

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

/** A page of the gateway's origin with no script of its own. */
async function blank() {
  const page = await open(browser, { origins: [proxy.url], expected: [/ERR_/, /favicon/] });
  await page.goto(`${proxy.url}/macp/v1/modes`);
  return page;
}

/** Opens an EventSource in the page, as docs/http.md shows it; what it hears is in `window.heard`. */
function follow(page, session_id) {
  return page.evaluate(async ({ session_id, token }) => {
    const answer = await fetch("/macp/ticket", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    const { ticket } = await answer.json();
    window.heard = { opened: 0, events: [], ended: null };
    const source = (window.source = new EventSource(`/macp/v1/sessions/${session_id}/events?ticket=${ticket}`));
    source.onopen = () => window.heard.opened++;
    source.onmessage = (event) => {
      const { message_type } = JSON.parse(event.data).envelope;
      window.heard.events.push(`${parseInt(event.lastEventId)} ${message_type}`);
    };
    // Not closed on purpose: the server itself must keep it away.
    source.addEventListener("ended", (event) => (window.heard.ended = JSON.parse(event.data)));
  }, { session_id, token: BOB });
}

const heard = (page) => page.evaluate(() => window.heard);

test("it misses nothing and hears nothing twice, and stays away when the session is over", async () => {
  const session = await Decision.start(gateway);
  const page = await blank();
  await follow(page, session.session_id);
  await page.waitForFunction(() => window.heard.events.length === 1);
  for (let cut = 1; cut <= 2; cut++) {
    proxy.cut();
    await session.propose();
    await page.waitForFunction((cut) => window.heard.opened === cut + 1 && window.heard.events.length === cut + 1, cut);
  }
  await session.commit();
  await page.waitForFunction(() => window.heard.ended !== null && window.source.readyState === EventSource.CLOSED);
  const { events, ended, opened } = await heard(page);
  assert.deepEqual(events, ["1 SessionStart", "2 Proposal", "3 Proposal", "4 Commitment"]);
  assert.deepEqual(ended, { session_id: session.session_id, state: "SESSION_STATE_RESOLVED", last_sequence: 4 });
  assert.equal(opened, 3);
  const requests = proxy.seen.filter((line) => line.includes(`${session.session_id}/events?ticket=`));
  assert.equal(requests.length, 4, "three streams, and the one that is answered 204");
  assert.equal(new Set(requests).size, 1, "the same URL each time, with the ticket that is used up");
  assert.deepEqual(page.faults, []);
});

test("it comes back although it was cut before the first event", async () => {
  const session = await Decision.start(gateway);
  const page = await blank();
  await page.evaluate(async ({ session_id, token }) => {
    const answer = await fetch("/macp/ticket", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    const { ticket } = await answer.json();
    window.heard = { opened: 0, events: [] };
    const source = new EventSource(`/macp/v1/sessions/${session_id}/events?after=1&ticket=${ticket}`);
    source.onopen = () => window.heard.opened++;
    source.onmessage = (event) => window.heard.events.push(parseInt(event.lastEventId));
  }, { session_id: session.session_id, token: BOB });
  await page.waitForFunction(() => window.heard.opened === 1);
  proxy.cut();
  await session.propose();
  await page.waitForFunction(() => window.heard.events.length === 1);
  assert.deepEqual(await heard(page), { opened: 2, events: [2] });
  assert.deepEqual(page.faults, []);
});

test("a stolen URL is worth nothing", async () => {
  const session = await Decision.start(gateway);
  const page = await blank();
  await follow(page, session.session_id);
  await page.waitForFunction(() => window.heard.events.length === 1);
  const line = proxy.seen.findLast((line) => line.includes("/events?ticket="));
  const url = line.split(" ")[1];
  for (const headers of [{}, { "Last-Event-ID": "1" }, { Origin: proxy.url }]) {
    const answer = await fetch(`${gateway.url}${url}`, { headers });
    assert.equal(answer.status, 401);
    assert.equal((await answer.json()).error.code, "UNAUTHENTICATED");
  }
  assert.deepEqual(page.faults, []);
});
