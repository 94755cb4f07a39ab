// The interactive reference at /docs: it is all from the gateway, and its buttons make real requests.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "../helpers/browser.mjs";
import { Gateway } from "../helpers/gateway.mjs";

let browser, gateway;

before(async () => {
  browser = await launch();
  gateway = await Gateway.start({});
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

test("the reference lists the operations and tries one out, without a stranger and without inline code", async () => {
  const page = await open(browser, { origins: [gateway.url] });
  await page.goto(`${gateway.url}/docs`);
  assert.equal(page.url(), `${gateway.url}/docs/`);
  const operation = page.locator("#operations-modes-ListModes");
  await operation.waitFor();
  const document = await (await fetch(`${gateway.url}/openapi.json`)).json();
  const documented = Object.values(document.paths).flatMap((item) => Object.keys(item));
  assert.equal(await page.locator(".opblock").count(), documented.length);
  await operation.locator(".opblock-summary-control").click();
  await operation.getByRole("button", { name: "Execute" }).click();
  const answer = operation.locator(".live-responses-table .response");
  assert.match(await answer.locator(".response-col_status").textContent(), /^200/);
  assert.match(await answer.locator(".response-col_description").textContent(), /macp\.mode\.decision\.v1/);
  assert.deepEqual(page.faults, []);
});
