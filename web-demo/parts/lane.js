// One way to follow a session, which can be cut and put back, and tells when envelopes arrive.

import { refusal } from "../core/format.js";
import { base, cableOf, connect } from "../core/gateway.js";
import { follow } from "../protocol/grpc_web.js";

export const LANES = [
  { id: "websocket", title: "WebSocket", about: "One socket for everything, JSON frames, by the client library." },
  { id: "sse", title: "Event stream", about: "StreamSession as server-sent events over fetch, by the same library." },
  { id: "grpcweb", title: "gRPC-Web", about: "StreamSession in protobuf over fetch, decoded by this page." },
];

const AGAIN_MS = 700;

export class Lane {
  deliveries = [];
  /** `connecting`, `live`, `cut`, `ended`, `refused`, or `unavailable` where the gateway does not have this binding. */
  state = "connecting";
  note = "";
  problem = null;
  plugged = true;
  /** Whether what arrives now is new. Until the first quiet moment it may be replay. */
  live = false;
  #isReady;
  /** Resolves when something has arrived, or nothing is going to. */
  ready = new Promise((resolve) => {
    this.#isReady = resolve;
  });
  #stop = new AbortController();
  #cut = new AbortController();
  #client = null;
  #resumeUntil = 0;

  constructor({ kind, session_id, bearer, arrived, changed }) {
    Object.assign(this, { kind, session_id, bearer, arrived, changed: () => changed(this) });
  }

  get sequence() {
    return this.deliveries.at(-1)?.sequence ?? 0;
  }

  async start() {
    this.changed();
    if (this.kind.id === "grpcweb") return this.#grpcWeb();
    this.#client = connect(this.bearer, { transport: this.kind.id });
    const subscription = this.#client.subscribe(this.session_id);
    this.#stop.signal.addEventListener("abort", () => {
      subscription.close();
      this.#client.close();
    });
    subscription.subscribed.then(
      () => this.#is("live"),
      () => {},
    );
    try {
      for await (const delivery of subscription) this.#take(delivery);
      if (subscription.ended) this.#is("ended");
    } catch (error) {
      this.#fail(error);
    }
  }

  close() {
    this.#stop.abort();
    this.#cut.abort();
  }

  /** Cuts the lane, or puts it back. */
  toggle() {
    this.plugged = !this.plugged;
    const cable = this.#client && cableOf(this.#client);
    if (!this.plugged) {
      cable?.pull();
      this.#cut.abort();
      this.#is("cut", `after ${this.sequence}`);
    } else {
      this.#resumeUntil = performance.now() + 1500;
      this.note = `resumed behind ${this.sequence}`;
      cable?.plug();
      this.#client?.reconnect();
      this.#is("live", this.note);
    }
  }

  #take(delivery) {
    const latency = this.arrived(this, delivery);
    const resumed = performance.now() < this.#resumeUntil && latency > AGAIN_MS;
    this.deliveries.push({ ...delivery, latency, resumed });
    this.live = true;
    this.#isReady();
    this.#is("live", this.note);
  }

  #is(state, note = "") {
    if (this.#stop.signal.aborted) return;
    if (!this.plugged) state = "cut";
    Object.assign(this, { state, note: note || this.note });
    this.changed();
  }

  #fail(error) {
    if (this.#stop.signal.aborted) return;
    this.problem = refusal(error);
    this.#isReady();
    this.#is(error.code === "UNIMPLEMENTED" ? "unavailable" : "refused");
  }

  /** The library's work by hand: connect, count, and connect again behind the last one. */
  async #grpcWeb() {
    while (!this.#stop.signal.aborted) {
      if (this.plugged) {
        this.#cut = new AbortController();
        try {
          this.#is("live");
          for await (const delivery of follow({
            base,
            token: this.bearer,
            session_id: this.session_id,
            after_sequence: this.sequence,
            signal: this.#cut.signal,
          })) {
            this.#take(delivery);
          }
          // An OK at the end means that the session is over.
          return this.#is("ended");
        } catch (error) {
          if (this.#stop.signal.aborted) return;
          // A refusal stays one; a broken stream is tried again.
          if (error.status !== undefined && error.status !== 14) return this.#fail(error);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, this.plugged ? AGAIN_MS : 100));
    }
  }
}
