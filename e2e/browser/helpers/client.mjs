// The browser client in Node.js, which has everything that it needs but, in version 20, a WebSocket.

import WebSocket from "ws";
import { MacpClient } from "../../../clients/web/macp.js";

export { accepted, MacpClient, MacpError } from "../../../clients/web/macp.js";

/** A client of this gateway or proxy, with a window and a document to fire events on. */
export function client(site, token, { environment, ...options } = {}) {
  const page = {
    window: new EventTarget(),
    document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
  };
  const made = new MacpClient({
    url: site.url,
    token,
    environment: { WebSocket, ...page, ...environment },
    ...options,
  });
  return Object.assign(made, { page });
}

/** Resolves at the next status that satisfies `wanted`, the present one included. */
export function until(client, wanted) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`still ${JSON.stringify(client.status)}`)), 30_000);
    const look = () => {
      if (!wanted(client.status)) return;
      clearTimeout(late);
      client.removeEventListener("status", look);
      resolve(client.status);
    };
    client.addEventListener("status", look);
    look();
  });
}

/** Reads a subscription to its end in the background; `items` fills, `reached(n)` waits for n of them. */
export function read(subscription) {
  const items = [];
  const waiting = new Set();
  const look = () => [...waiting].forEach((one) => items.length >= one.count && (waiting.delete(one), one.resolve()));
  const done = (async () => {
    for await (const item of subscription) {
      items.push(item);
      look();
    }
  })();
  done.catch((error) => waiting.forEach(({ reject }) => reject(error)));
  const reached = (count) =>
    new Promise((resolve, reject) => {
      waiting.add({ count, resolve, reject });
      look();
    });
  return { items, done, reached };
}
