// A real browser, and what a page in it may not do: complain on its console, or talk to strangers.

import { access, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { chromium } from "playwright-core";
import { secretOfUrl } from "./evidence.mjs";

/** Debian's Chromium, or the one that is named. */
const EXECUTABLE = process.env.MACP_CHROMIUM || "/usr/bin/chromium";

/** The browser; close it with `close()`. */
export async function launch() {
  await access(EXECUTABLE).catch(() => {
    throw new Error(`no browser at ${EXECUTABLE}: apt-get install chromium, or set MACP_CHROMIUM`);
  });
  return chromium.launch({
    executablePath: EXECUTABLE,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/**
 * A page in a context of its own (no cookies, no cache of others). `page.faults` collects console errors, uncaught
 * exceptions, and requests to another origin than those in `origins`; `expected` are patterns of console errors that the
 * test provokes, such as a refused connection. With `context` it is another tab of that one.
 */
export async function open(browser, { origins = [], expected = [], context = null, ...options } = {}) {
  context ??= await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.faults = [];
  page.allow = (pattern) => expected.push(pattern);
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    const text = `${message.text()} (${message.location().url})`;
    if (!expected.some((pattern) => pattern.test(text))) page.faults.push(`console: ${text}`);
  });
  page.on("pageerror", (error) => page.faults.push(`exception: ${error.stack ?? error}`));
  const own = (url) => origins.some((origin) => url.replace(/^ws/, "http").startsWith(`${origin}/`));
  page.on("request", (request) => {
    const url = request.url();
    secretOfUrl(url);
    if (/^https?:/.test(url) && !own(url)) page.faults.push(`request to a stranger: ${url}`);
  });
  page.on("websocket", (socket) => {
    secretOfUrl(socket.url());
    if (!own(socket.url())) page.faults.push(`WebSocket to a stranger: ${socket.url()}`);
  });
  return page;
}

/** Serves `pages`, a map of paths to HTML or JavaScript text, on an origin of its own. */
export async function serve(pages) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    const type = pathname.endsWith(".js") ? "text/javascript" : "text/html";
    // Browsers ask for an icon unasked, and complain if there is none.
    const missing = pathname === "/favicon.ico" ? 204 : 404;
    response.writeHead(pathname in pages ? 200 : missing, { "Content-Type": `${type}; charset=utf-8` });
    response.end(pages[pathname]);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
  };
}

/** A new empty directory for the duration of a test. */
export async function directory(test) {
  const path = await mkdtemp(join(tmpdir(), "macp-browser-"));
  test.after(() => rm(path, { recursive: true, force: true }));
  return path;
}
