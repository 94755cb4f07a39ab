// The demo on a phone, in the dark, by keyboard and for assistive technology: every view, in a state worth looking at.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ANN, Decision } from "../helpers/agents.mjs";
import { launch, open } from "../helpers/browser.mjs";
import { assertAccessible, assertFits, assertWhole, enter, play, ROOMS, visit } from "../helpers/demo.mjs";
import { Gateway } from "../helpers/gateway.mjs";

let browser, gateway, session;
before(async () => {
  browser = await launch();
  gateway = await Gateway.start({ args: ["demo"] });
  session = await Decision.start(gateway);
  await session.propose();
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

const SIZES = { desktop: { width: 1280, height: 860 }, phone: { width: 360, height: 740 } };

/** Every view, with what has to be there before it is looked at. */
const VIEWS = {
  sessions: async (page) => {
    await visit(page, gateway.url, "#/sessions");
    await page.locator(".session-list a").first().waitFor();
  },
  session: async (page) => {
    await visit(page, gateway.url, `#/sessions/${session.session_id}`);
    await page.locator(".timeline .line").nth(1).waitFor();
    await page.locator(".timeline summary").first().click();
  },
  wires: async (page) => {
    await visit(page, gateway.url, "#/wires");
    await page.getByRole("button", { name: "Start a session to watch" }).click();
    await page.locator(".lane-figures", { hasText: "6 messages" }).nth(2).waitFor();
  },
  compose: async (page) => {
    await visit(page, gateway.url, `#/compose?session=${session.session_id}&mode=macp.mode.decision.v1&as=${encodeURIComponent(ANN)}`);
    await page.getByText("open, started by ann").waitFor();
    await page.getByLabel("Sender").fill("agent://stranger");
    await page.getByRole("button", { name: "Send", exact: true }).click();
    await page.locator(".answer .refusal", { hasText: "FORBIDDEN" }).waitFor();
  },
  calls: async (page) => {
    await enter(page, gateway.url, "task");
    await page.locator(".turn").waitFor();
    await page.goto(`${gateway.url}/#/calls`);
    await page.locator(".calls li").nth(3).waitFor();
  },
  "code dialog": async (page) => {
    await enter(page, gateway.url);
    await page.locator(".turn").waitFor();
    await page.getByRole("button", { name: "Abstain as code" }).click();
    await page.locator("dialog[open] pre", { hasText: "ABSTAIN" }).waitFor();
  },
  "identity dialog": async (page) => {
    await visit(page, gateway.url, "#/calls");
    await page.locator("#who button").click();
    await page.getByLabel("Name").waitFor();
  },
  "an unknown session": async (page) => {
    await visit(page, gateway.url, "#/sessions/00000000-0000-4000-8000-000000000000");
    await page.locator(".session-detail .refusal", { hasText: "SESSION_NOT_FOUND" }).waitFor();
  },
};

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ["light", "dark"]) {
    test(`${size}, ${colorScheme}: every view fits, and axe finds nothing serious`, async () => {
      const page = await open(browser, { origins: [gateway.url], viewport, colorScheme });
      for (const [name, look] of Object.entries(VIEWS)) {
        await look(page);
        try {
          await assertFits(page);
          await assertAccessible(page);
        } catch (error) {
          error.message = `${name}: ${error.message}`;
          throw error;
        }
      }
      assert.deepEqual(page.faults, []);
      await page.context().close();
    });
  }
}

test("phone: each room fits at its first turn and at its end, in light and dark, and axe finds nothing serious", async () => {
  const schemes = ["light", "dark"];
  const page = await open(browser, { origins: [gateway.url], viewport: SIZES.phone });
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
  for (const [colorScheme, holds] of [["light", (lightness) => lightness > 200], ["dark", (lightness) => lightness < 60]]) {
    const page = await open(browser, { origins: [gateway.url], colorScheme });
    await visit(page, gateway.url);
    for (const element of ["body", ".stage", "dialog"]) {
      const color = await page.locator(element).first().evaluate((found) => getComputedStyle(found).backgroundColor);
      const lightness = Math.max(...color.match(/[\d.]+/g).slice(0, 3).map(Number));
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
