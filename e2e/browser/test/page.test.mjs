// The pages of docs/browser.md, as they stand there, in a real browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { Decision } from "../helpers/agents.mjs";
import { launch, open, serve } from "../helpers/browser.mjs";
import { Gateway } from "../helpers/gateway.mjs";

let browser, site, gateway, pages;
const served = {};

before(async () => {
  browser = await launch();
  site = await serve(served);
  gateway = await Gateway.start({ env: { MACP_HTTP_CORS_ORIGINS: site.url } });
  const document = await readFile(new URL("../../../docs/browser.md", import.meta.url), "utf8");
  pages = [...document.matchAll(/```html\n([^]*?)```/g)].map(([, page]) => page);
  assert.equal(pages.length, 2);
});
after(async () => {
  await browser?.close();
  await site?.stop();
  await gateway?.stop();
});

const lines = (page) => page.locator("#history li");

test("twenty lines with the client follow a session, from another origin and through a restart of the gateway", async () => {
  const [text] = pages;
  assert(text.trimEnd().split("\n").length <= 20);
  served["/"] = text.replaceAll("http://127.0.0.1:8080", gateway.url);
  const session = await Decision.start(gateway);
  const page = await open(browser, { origins: [site.url, gateway.url], expected: [/ERR_CONNECTION_REFUSED/] });
  await page.goto(site.url);
  await page.getByPlaceholder("session_id").fill(session.session_id);
  await page.getByRole("button", { name: "Follow" }).click();
  await lines(page).nth(0).waitFor();
  await session.propose();
  await lines(page).nth(1).waitFor();
  await gateway.kill();
  await page.getByText("waiting").waitFor();
  await gateway.again();
  await session.propose();
  await session.commit();
  await page.getByText("SESSION_STATE_RESOLVED").waitFor();
  const types = (await lines(page).allTextContents()).map((line) => line.split(" ")[1]);
  assert.deepEqual(types, ["SessionStart", "Proposal", "Proposal", "Commitment"]);
  assert.deepEqual(page.faults, []);
});

test("a page with a plain EventSource gets a new ticket when the gateway was restarted", async () => {
  const [, text] = pages;
  const session = await Decision.start(gateway);
  const page = await open(browser, { origins: [gateway.url], expected: [/ERR_/, /401/, /favicon/] });
  // On the gateway's own origin, as a proxy would put it there.
  await page.route(`${gateway.url}/session.html*`, (route) => route.fulfill({ contentType: "text/html", body: text }));
  await page.goto(`${gateway.url}/session.html?session=${session.session_id}`);
  await lines(page).nth(0).waitFor();
  await session.propose();
  await lines(page).nth(1).waitFor();
  await gateway.kill();
  await gateway.again();
  await session.propose();
  await lines(page).nth(2).waitFor();
  await session.commit();
  await page.getByText("SESSION_STATE_RESOLVED").waitFor();
  assert.deepEqual(await lines(page).allTextContents(), ["SessionStart", "Proposal", "Proposal", "Commitment"]);
  assert.deepEqual(page.faults, []);
});
