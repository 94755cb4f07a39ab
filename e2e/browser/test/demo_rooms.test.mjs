// The guided rooms of the demo: each mode to its commitment, what a policy denies, what-if, and the receipt.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "../helpers/browser.mjs";
import { assertWhole, enter, play, ROOMS, visit } from "../helpers/demo.mjs";
import { Gateway } from "../helpers/gateway.mjs";

let browser, gateway;
before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

async function tab(options) {
  return open(browser, { origins: [gateway.url], ...options });
}

test("something moves within ten seconds of starting the binary, and nobody has to do anything", async () => {
  const began = performance.now();
  gateway = await Gateway.start({ args: ["demo"] });
  const page = await tab();
  await page.goto(gateway.url);
  await page.locator(".timeline .line").nth(1).waitFor();
  assert.ok(performance.now() - began < 10_000, `${performance.now() - began} ms`);
  await page.getByLabel("Pace").selectOption("20");
  await page.getByLabel("Play my part").check();
  await page.locator(".outcome").waitFor();
  assert.equal(await page.locator(".room-head .badge").innerText(), "resolved");
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

for (const [slug, outcome] of Object.entries(ROOMS)) {
  test(`the ${slug} room comes to its commitment, and the gateway says the same`, async () => {
    const page = await tab();
    await enter(page, gateway.url, slug);
    assert.equal(await play(page), outcome);
    const shown = await assertWhole(page);
    assert.ok(shown >= 6, `${shown} messages`);

    await page.getByRole("link", { name: "Open in the inspector" }).click();
    const session_id = decodeURIComponent(new URL(page.url()).hash.split("/").pop());
    const { metadata } = await gateway.call("GetSession", "agent://robin", { session_id });
    assert.equal(metadata.state, "SESSION_STATE_RESOLVED");
    assert.equal(
      metadata.participant_activity.reduce((sum, one) => sum + one.message_count, 0),
      shown,
    );
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
}

test("a commitment that the policy denies is told with its reasons, and the session stays open", async () => {
  const page = await tab();
  await enter(page, gateway.url);
  await page.locator(".policy-picker select").selectOption("policy.std.unanimous");
  let tries = 0;
  // The second time the viewer commits to declining.
  assert.equal(await play(page, (title) => (title.startsWith("Bind") && tries++ > 0 ? 1 : 0)), "postgres.declined");
  assert.equal(tries, 2);
  await page.goto(`${gateway.url}/#/calls`);
  await page.getByText("POLICY_DENIED").waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a policy of the room's own is registered when it is first chosen, and denies", async () => {
  const page = await tab();
  await enter(page, gateway.url);
  await page.locator(".policy-picker select").selectOption("policy.demo.veto");
  await page.getByRole("button", { name: "Vote for it", exact: true }).click();
  await page.getByRole("button", { name: "Commit to PostgreSQL", exact: true }).click();
  await page.locator(".turn .refusal", { hasText: "veto" }).waitFor();
  assert.equal(await page.locator(".room-head .badge").innerText(), "open");
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("after the outcome: what another policy would have done, the receipt verified, a message too late", async () => {
  const page = await tab();
  await enter(page, gateway.url);
  await play(page);
  await page.locator(".what-if", { hasText: "policy.std.unanimous: open" }).waitFor();
  await page.locator(".what-if .refusal", { hasText: "threshold_not_met" }).waitFor();
  const what = page.getByRole("region", { name: "What if" });
  await what.getByLabel("Policy", { exact: true }).selectOption("policy.std.majority");
  await what.getByRole("button", { name: "Replay", exact: true }).click();
  await page.locator(".what-if", { hasText: "No difference." }).waitFor();

  const receipt = page.getByRole("region", { name: "Decision receipt" });
  await receipt.getByText("Attested").waitFor();
  assert.equal(await receipt.locator(".checks .pass").count(), 4);
  await receipt.getByRole("button", { name: "Change one word" }).click();
  await receipt.getByText("Not verified").waitFor();
  assert.equal(await receipt.locator(".checks .fail").count(), 2);

  await page.getByRole("button", { name: "too late" }).click();
  await page.locator(".outcome .refusal", { hasText: "SESSION_NOT_OPEN" }).waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a room can be paused, stepped and begun again by keyboard; the one before is cancelled", async () => {
  const page = await tab();
  await visit(page, gateway.url);
  await page.locator(".timeline .line").first().waitFor();
  const first = await page.locator(".timeline .line").count();
  await page.getByRole("button", { name: "Pause" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Go on" }).waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForFunction((before) => document.querySelectorAll(".timeline .line").length > before, first);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".timeline .line").length <= 1);
  await page.goto(`${gateway.url}/#/sessions`);
  await page.locator(".session-when", { hasText: "cancelled" }).first().waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
