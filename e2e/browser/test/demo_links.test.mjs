// The demo over bad connections: a gateway that is killed, a cable that is pulled, WebSocket refused, a tab asleep.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ANN, Decision } from "../helpers/agents.mjs";
import { launch, open } from "../helpers/browser.mjs";
import { assertWhole, enter, play, sequences, visit } from "../helpers/demo.mjs";
import { Gateway } from "../helpers/gateway.mjs";
import { Proxy } from "../helpers/proxy.mjs";

let browser, gateway, proxy;
before(async () => {
  browser = await launch();
  gateway = await Gateway.start({ args: ["demo"] });
  proxy = await Proxy.start(gateway.port);
});
after(async () => {
  await browser?.close();
  await proxy?.stop();
  await gateway?.stop();
});

const LOST = [
  /ERR_CONNECTION/,
  /ERR_EMPTY_RESPONSE/,
  /ERR_INCOMPLETE_CHUNKED/,
  /WebSocket connection to/,
  /ERR_SOCKET/,
];

test("a room goes on when the gateway is killed in the middle of it and started again", async () => {
  const page = await open(browser, { origins: [gateway.url], expected: LOST });
  await enter(page, gateway.url);
  await page.locator(".turn").waitFor();
  await gateway.kill();
  await page.locator("#banner", { hasText: "does not answer" }).waitFor();
  // Meant for nobody yet: it waits for the connection, and counts once.
  await page.locator(".turn .big").first().click();
  await gateway.again();
  assert.equal(await play(page), "postgres.selected");
  assert.equal(await assertWhole(page), 11);
  await page.waitForFunction(() => !document.querySelector("#banner").childElementCount);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a connection that is cut resumes behind the last message, and nothing is lost", async () => {
  const page = await open(browser, { origins: [gateway.url] });
  await visit(page, gateway.url);
  await page.locator(".timeline .line").nth(1).waitFor();
  await page.getByRole("button", { name: "Cut my connection" }).click();
  await page.getByText("The agents go on").first().waitFor();
  const before = (await sequences(page)).length;
  await page.getByLabel("Pace").selectOption("20");
  // The agents speak on until it is the viewer's turn.
  await page.locator(".turn").waitFor();
  assert.equal((await sequences(page)).length, before);
  await page.getByRole("button", { name: "Connect again" }).click();
  await page.locator(".chip.late").first().waitFor();
  assert.equal(await play(page), "postgres.selected");
  assert.equal(await assertWhole(page), 11);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("where WebSocket is refused the page works over event streams", async () => {
  proxy.websocket = false;
  const page = await open(browser, { origins: [proxy.url], expected: [/WebSocket connection to/] });
  await enter(page, proxy.url, "quorum");
  assert.equal(await play(page), "deploy.approved");
  await assertWhole(page);
  await page.getByText("Live by event stream").waitFor();
  await page.getByRole("link", { name: "Sessions" }).click();
  await page.locator(".session-list a").first().waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
  proxy.websocket = true;
});

test("a tab that slept for a minute while its connection died shows everything when it wakes", async () => {
  const session = await Decision.start(gateway);
  await session.propose();
  const page = await open(browser, { origins: [proxy.url], expected: LOST });
  await page.clock.install();
  await visit(page, proxy.url, `#/sessions/${session.session_id}`);
  await page.locator(".timeline .line").nth(1).waitFor();

  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  proxy.cut();
  for (let count = 0; count < 5; count += 1) await session.propose();
  await devtools.send("Page.setWebLifecycleState", { state: "active" });
  await page.clock.fastForward(60_000);

  await page.locator(".timeline .line").nth(6).waitFor();
  assert.equal(await assertWhole(page), 7);
  await session.commit();
  await page.locator(".session-detail .badge", { hasText: "resolved" }).waitFor();
  assert.equal(await assertWhole(page), 8);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("two tabs keep their own identity, and each sees at once what the other does", async () => {
  const first = await open(browser, { origins: [gateway.url] });
  const second = await open(browser, { origins: [gateway.url], context: first.context() });
  await enter(first, gateway.url, "proposal");
  await first.locator(".turn").waitFor();

  await visit(second, gateway.url, "#/sessions");
  await second.locator("#who button").click();
  await second.getByLabel("Name").fill("agent://ada");
  await second.getByRole("button", { name: "Act as this one" }).click();
  await second.locator("#who", { hasText: "ada" }).waitFor();
  assert.match(await first.locator("#who").innerText(), /robin/);

  await second.locator(".session-list a", { hasText: "Proposal" }).first().click();
  await second.locator(".timeline .line").nth(4).waitFor();
  // ada may look but not cancel; the initiator may.
  await second.getByRole("button", { name: "Cancel" }).click();
  await second.locator(".refusal", { hasText: "FORBIDDEN" }).waitFor();
  await second.getByLabel("seen as").selectOption("agent://robin");
  await second.getByRole("button", { name: "Suspend" }).click();
  await second.getByRole("button", { name: "Resume" }).click();
  await second.getByRole("button", { name: "Suspend" }).waitFor();
  await second.getByRole("button", { name: "Cancel" }).click();
  await first.getByRole("heading", { name: "The session was cancelled." }).waitFor();
  assert.deepEqual([...first.faults, ...second.faults], []);
  await first.context().close();
});

test("three bindings show the same, each can be cut, and each resumes", async () => {
  const page = await open(browser, { origins: [gateway.url] });
  await visit(page, gateway.url, "#/wires");
  await page.getByRole("button", { name: "Start a session to watch" }).click();
  const lanes = ["WebSocket", "Event stream", "gRPC-Web"].map((name) =>
    page.getByRole("region", { name, exact: true }),
  );
  const all = async (count) => {
    for (const lane of lanes) await lane.locator(".lane-figures", { hasText: `${count} messages` }).waitFor();
  };
  await all(6);
  for (const lane of lanes) await lane.getByRole("button", { name: "Cut", exact: true }).click();
  for (const lane of lanes) await lane.locator(".chip", { hasText: "cut" }).waitFor();
  await page.getByRole("button", { name: "Send 40 at once" }).click();
  await page.waitForFunction(() => document.querySelectorAll(".lane .wire-list li").length > 0);
  for (const lane of lanes) await lane.getByRole("button", { name: "Connect again" }).click();
  await all(46);
  for (const lane of lanes) {
    const numbers = await lane.locator(".wire-list .number").allInnerTexts();
    assert.deepEqual(
      numbers.map(Number),
      numbers.map((_, index) => 46 - index),
    );
    assert.match(await lane.locator(".median").innerText(), / (ms|s)$/);
  }
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a gateway with tokens asks for one, and shows what it may see", async (t) => {
  const tokens = await Gateway.start({
    env: { MACP_AUTH_TOKENS_JSON: JSON.stringify([{ token: "s3cret-ann", sender: ANN }]) },
  });
  t.after(() => tokens.stop());
  const page = await open(browser, { origins: [tokens.url], expected: [/401/, /WebSocket connection to/] });
  await visit(page, tokens.url);
  await page.getByRole("heading", { name: "The room needs development identities" }).waitFor();
  await page.getByRole("link", { name: "Sessions" }).click();
  await page.getByLabel("Token").fill("s3cret-ann");
  await page.getByRole("button", { name: "Use it" }).click();
  await page.getByText("No session yet.").waitFor();
  assert.ok(!(await page.locator("body").innerText()).includes("s3cret-ann"));
  await page.getByRole("link", { name: "Compose", exact: true }).click();
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("Accepted", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Sessions" }).click();
  await page.locator(".session-list a", { hasText: "ann and" }).waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
