// The web demo as a visitor meets it: the room played to its end, and what must hold on every view.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

/** The room's modes by their place in the address, with what the first choice of each turn leads to. */
export const ROOMS = {
  decision: "postgres.selected",
  quorum: "deploy.approved",
  task: "task.completed",
  handoff: "handoff.accepted",
  proposal: "meeting.accepted",
  "multi-round": "estimate.selected",
};

/** Opens a view of the demo and waits until its frame stands. */
export async function visit(page, url, hash = "") {
  await page.goto(`${url}/${hash}`);
  await page.locator("#who button").waitFor();
}

/** Opens a room, as fast as it goes. */
export async function enter(page, url, slug = "decision") {
  await visit(page, url, `#/room/${slug}`);
  await page.getByLabel("Pace").selectOption("20");
}

/** Takes the viewer's turns by a choice's place in each, until there is an outcome; gives what was bound. */
export async function play(page, choose = () => 0) {
  const outcome = page.locator(".outcome h2");
  for (let turns = 0; turns < 6; turns += 1) {
    await page.locator(".turn, .outcome").first().waitFor();
    if (await outcome.count()) return outcome.innerText();
    const title = await page.locator(".turn h3").innerText();
    await page.locator(".turn .big").nth(choose(title)).click();
    // The same turn comes again only after a refusal.
    await page.waitForFunction((before) => {
      const now = document.querySelector(".turn h3")?.textContent;
      return now !== before || document.querySelector(".turn .refusal");
    }, title);
  }
  return outcome.innerText();
}

/** The sequence numbers in the history as it is shown. */
export const sequences = (page) =>
  page.locator(".timeline .line").evaluateAll((lines) => lines.map((line) => Number(line.dataset.sequence)));

/** Every accepted envelope is there once, in order. */
export async function assertWhole(page) {
  const shown = await sequences(page);
  assert.deepEqual(
    shown,
    shown.map((_, index) => index + 1),
  );
  return shown.length;
}

/** The page is no wider than the window. */
export async function assertFits(page) {
  const wide = await page.evaluate(() =>
    [...document.querySelectorAll("body *")]
      .filter(
        (element) =>
          element.getBoundingClientRect().right > innerWidth + 1 &&
          !element.closest("nav, .scroll-x, .strip, pre, .sr-only"),
      )
      .map((element) => `${element.tagName}.${element.className}`),
  );
  const scrolls = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(scrolls <= 0, `${scrolls} px too wide: ${wide.slice(0, 5).join(", ")}`);
}

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** axe-core finds nothing serious. */
export async function assertAccessible(page) {
  // What is on its way in is not yet as legible as it is going to be.
  await page.evaluate(() =>
    Promise.all(
      document
        .getAnimations()
        .filter((one) => one.effect.getComputedTiming().endTime < 3000)
        .map((one) => one.finished.catch(() => {})),
    ),
  );
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(
    serious.map(
      ({ id, nodes }) =>
        `${id}: ${nodes
          .slice(0, 3)
          .map((node) => `${node.html} ${node.any[0]?.message ?? ""}`)
          .join(" | ")}`,
    ),
    [],
  );
}
