// What lies between a browser and a gateway: a TCP relay that can refuse WebSocket, cut all connections, go silent, or be
// away altogether.

import { once } from "node:events";
import { connect, createServer } from "node:net";
import { secret, secretOfUrl } from "./evidence.mjs";

export class Proxy {
  /** Whether upgrades to WebSocket pass. A refused one is answered like a proxy does that knows no better. */
  websocket = true;
  #server;
  #pairs = new Set();
  #silent = false;
  /** Requests that were begun, by their first lines; upgrades among them. */
  seen = [];

  static async start(port) {
    const proxy = new Proxy();
    proxy.target = port;
    await proxy.#listen(0);
    proxy.port = proxy.#server.address().port;
    proxy.url = `http://127.0.0.1:${proxy.port}`;
    return proxy;
  }

  async #listen(port) {
    this.#server = createServer((near) => this.#relay(near)).listen(port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  #relay(near) {
    const far = connect(this.target, "127.0.0.1");
    const pair = { near, far };
    this.#pairs.add(pair);
    const end = () => {
      near.destroy();
      far.destroy();
      this.#pairs.delete(pair);
    };
    for (const socket of [near, far]) socket.on("error", end).on("close", end);
    near.on("data", (bytes) => {
      if (this.#silent) return;
      const head = bytes.toString("latin1", 0, 4096);
      if (/^[A-Z]+ \S+ HTTP\/1\.1\r\n/.test(head)) {
        this.seen.push(head.slice(0, head.indexOf("\r\n")));
        secretOfUrl(this.seen.at(-1));
        // The pass with which an EventSource comes back.
        const [, pass] = /\r\nlast-event-id: *\d+\.(\S+)/i.exec(head) ?? [];
        if (pass) secret(pass);
        if (!this.websocket && /\r\nupgrade: *websocket/i.test(head)) {
          near.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
          far.destroy();
          return;
        }
      }
      far.write(bytes);
    });
    far.on("data", (bytes) => this.#silent || near.write(bytes));
  }

  /** Cuts every connection; new ones pass. */
  cut() {
    for (const { near } of this.#pairs) near.destroy();
  }

  /** Swallows every byte from now on and cuts nothing: a dead link. New connections are swallowed, too. */
  silence(on = true) {
    this.#silent = on;
  }

  /** Is not there: connections are refused. */
  async away() {
    const closed = once(this.#server.close(), "close");
    this.cut();
    await closed;
  }

  async back() {
    await this.#listen(this.port);
  }

  async stop() {
    await this.away().catch(() => {});
  }
}
