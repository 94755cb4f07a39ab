// The page of docs/browser.md, as it stands there, in a real browser and on an origin of its own.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { Decision } from "../helpers/agents.mjs";
import { launch, open, serve } from "../helpers/browser.mjs";
import { Gateway } from "../helpers/gateway.mjs";

let browser, site, gateway;

before(async () => {
  browser = await launch();
  const pages = {};
  site = await serve(pages);
  gateway = await Gateway.start({ env: { MACP_HTTP_CORS_ORIGINS: site.url } });
  const document = await readFile(new URL("../../../docs/browser.md", import.meta.url), "utf8");
  const [, page] = /```html\n(<!doctype html>\n<title>Session[^]*?)```/.exec(document);
  assert(page.trimEnd().split("\n").length <= 20, "the page is 20 lines");
  pages["/"] = page.replaceAll("http://127.0.0.1:8080", gateway.url);
});
after(async () => {
  await browser?.close();
  await site?.stop();
  await gateway?.stop();
});

test("the documented page follows a session, through a restart of the gateway, to its end", async () => {
  const session = await Decision.start(gateway);
  const page = await open(browser, { origins: [site.url, gateway.url], expected: [/ERR_CONNECTION_REFUSED/] });
  await page.goto(site.url);
  await page.getByPlaceholder("session_id").fill(session.session_id);
  await page.getByRole("button", { name: "Follow" }).click();
  const lines = page.locator("#history li");
  await lines.nth(0).waitFor();
  await session.propose();
  await lines.nth(1).waitFor();
  await gateway.kill();
  await page.getByText("waiting").waitFor();
  await gateway.again();
  await session.propose();
  await session.commit();
  await page.getByText("SESSION_STATE_RESOLVED").waitFor();
  const types = (await lines.allTextContents()).map((text) => text.split(" ")[1]);
  assert.deepEqual(types, ["SessionStart", "Proposal", "Proposal", "Commitment"]);
  assert.deepEqual(page.faults, []);
});
