// Every view of the demo, in a state worth looking at: on a desktop and a phone, in light and dark, with axe-core.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ANN, Decision } from "../helpers/agents.mjs";
import { launch, open } from "../helpers/browser.mjs";
import { assertAccessible, assertFits, enter, visit } from "../helpers/demo.mjs";
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
    await visit(
      page,
      gateway.url,
      `#/compose?session=${session.session_id}&mode=macp.mode.decision.v1&as=${encodeURIComponent(ANN)}`,
    );
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
