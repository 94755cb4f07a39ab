// The cable of one client: pull it out, and its connections break and new ones fail, as if the network were gone.
// Given to the client library as its environment, so that the library itself meets what it would meet outside.

export class Cable {
  #sockets = new Set();
  #requests = new Set();
  plugged = true;

  /** For the option `environment` of a client. */
  get environment() {
    const cable = this;
    class CableSocket extends EventTarget {
      static CONNECTING = 0;
      static OPEN = 1;
      static CLOSING = 2;
      static CLOSED = 3;
      constructor(url, protocols) {
        super();
        if (cable.plugged) return cable.#socket(url, protocols);
        // What a browser does when nobody answers: an error, then a close.
        Object.assign(this, { readyState: 0, url: String(url), protocol: "", bufferedAmount: 0, binaryType: "blob" });
        setTimeout(() => {
          this.readyState = 3;
          for (const event of [new Event("error"), new CloseEvent("close", { code: 1006, wasClean: false })]) {
            this.dispatchEvent(event);
            this[`on${event.type}`]?.(event);
          }
        });
      }
      close() {}
      send() {}
    }
    return { WebSocket: CableSocket, fetch: (input, init) => this.#fetch(input, init) };
  }

  pull() {
    this.plugged = false;
    for (const socket of this.#sockets) socket.close();
    for (const controller of this.#requests) controller.abort(new TypeError("the cable is out"));
    this.#requests.clear();
  }

  plug() {
    this.plugged = true;
  }

  #socket(url, protocols) {
    const socket = new WebSocket(url, protocols);
    this.#sockets.add(socket);
    socket.addEventListener("close", () => this.#sockets.delete(socket));
    return socket;
  }

  async #fetch(input, init = {}) {
    if (!this.plugged) throw new TypeError("the cable is out");
    const controller = new AbortController();
    this.#requests.add(controller);
    const signal = init.signal ? AbortSignal.any([init.signal, controller.signal]) : controller.signal;
    try {
      const response = await fetch(input, { ...init, signal });
      // Only a stream can still break.
      if (!response.headers.get("content-type")?.startsWith("text/event-stream")) this.#requests.delete(controller);
      return response;
    } catch (error) {
      this.#requests.delete(controller);
      throw error;
    }
  }
}
