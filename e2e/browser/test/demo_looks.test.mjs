// The demo on a phone, in the dark, by keyboard, for a screen reader, and with nothing to show.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ANN, Decision } from "../helpers/agents.mjs";
import { launch, open } from "../helpers/browser.mjs";
import { assertAccessible, assertFits, assertWhole, enter, play, ROOMS, visit } from "../helpers/demo.mjs";
import { Gateway } from "../helpers/gateway.mjs";

let browser, gateway;
before(async () => {
  browser = await launch();
  gateway = await Gateway.start({ args: ["demo"] });
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

const PHONE = { width: 360, height: 740 };

test("phone: each room fits at its first turn and at its end, in light and dark, and axe finds nothing serious", async () => {
  const schemes = ["light", "dark"];
  const page = await open(browser, { origins: [gateway.url], viewport: PHONE });
  for (const [index, slug] of Object.keys(ROOMS).entries()) {
    await page.emulateMedia({ colorScheme: schemes[index % 2], reducedMotion: "reduce" });
    await enter(page, gateway.url, slug);
    await page.locator(".turn").waitFor();
    await assertFits(page);
    await assertAccessible(page);
    await play(page);
    await page.locator(".verdict, .receipt-body p").last().waitFor();
    await assertFits(page);
    await assertAccessible(page);
  }
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("dark is dark and light is light", async () => {
  for (const [colorScheme, holds] of [
    ["light", (lightness) => lightness > 200],
    ["dark", (lightness) => lightness < 60],
  ]) {
    const page = await open(browser, { origins: [gateway.url], colorScheme });
    await visit(page, gateway.url);
    for (const element of ["body", ".stage", "dialog"]) {
      const color = await page
        .locator(element)
        .first()
        .evaluate((found) => getComputedStyle(found).backgroundColor);
      const lightness = Math.max(
        ...color
          .match(/[\d.]+/g)
          .slice(0, 3)
          .map(Number),
      );
      assert.ok(holds(lightness), `${colorScheme}: ${element} is ${color}`);
    }
    await page.context().close();
  }
});

test("a room is played with the keyboard alone, and told to a screen reader", async () => {
  const page = await open(browser, { origins: [gateway.url] });
  await enter(page, gateway.url, "quorum");
  await page.locator(".turn").waitFor();
  for (const button of ["Approve", "Commit: approved"]) {
    await page.getByRole("button", { name: button, exact: true }).waitFor();
    for (let tabs = 0; ; tabs += 1) {
      assert.ok(tabs < 80, `${button} is not reached`);
      await page.keyboard.press("Tab");
      if ((await page.evaluate(() => document.activeElement.textContent)) === button) break;
    }
    await page.keyboard.press("Enter");
  }
  await page.locator(".outcome h2", { hasText: "deploy.approved" }).waitFor();
  await page.locator("#announcements", { hasText: "robin has bound the outcome" }).waitFor({ state: "attached" });
  await assertWhole(page);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("an empty gateway says what to do, and what is pasted from it appears", async (t) => {
  const empty = await Gateway.start({ args: ["demo"] });
  t.after(() => empty.stop());
  const page = await open(browser, { origins: [empty.url] });
  await visit(page, empty.url, "#/sessions");
  await page.getByText("No session yet.").waitFor();
  await page.locator(".nothing-yet pre", { hasText: "curl" }).waitFor();
  await assertAccessible(page);
  await Decision.start(empty);
  await page.locator(".session-list a", { hasText: "ann and bob" }).click();
  await page.locator(".timeline .line", { hasText: "a test" }).waitFor();
  assert.equal(await page.getByLabel("seen as").inputValue(), ANN);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
