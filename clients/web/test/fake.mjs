// A gateway and a network that exist only in memory, and a clock that moves when it is told to. The gateway speaks the
// frames of docs/websocket.md and the requests of docs/http.md as far as the client uses them.

import { MacpClient } from "../macp.js";

/** Lets everything that can happen now happen: promises, streams, and what they lead to. */
export async function settle() {
  for (let turn = 0; turn < 12; turn++) await new Promise(setImmediate);
}

export class World {
  time = 1_000;
  random = () => 0.5;
  /** What the network does: WebSocket upgrades fail, or everything does, or it swallows what is sent. */
  blocked = false;
  down = false;
  silent = false;
  server = new Server();
  sockets = [];
  /** Every attempt to open a WebSocket, and every request, as [time, what]. */
  attempts = [];
  requests = [];
  window = new EventTarget();
  document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  #timers = [];
  #ids = 0;

  environment() {
    const world = this;
    return {
      WebSocket: class extends FakeSocket {
        constructor(url, protocols) {
          super(world, url, protocols);
        }
      },
      fetch: (url, init) => world.#fetch(url, init),
      now: () => this.time,
      random: () => this.random(),
      setTimeout: (callback, ms) => {
        const timer = { at: this.time + ms, id: ++this.#ids, callback };
        this.#timers.push(timer);
        return timer;
      },
      clearTimeout: (timer) => {
        this.#timers = this.#timers.filter((one) => one !== timer);
      },
      window: this.window,
      document: this.document,
    };
  }

  client(options = {}) {
    return new MacpClient({ url: "http://gw", token: "agent://ann", environment: this.environment(), ...options });
  }

  get timers() {
    return this.#timers.length;
  }

  /** Moves the clock, and lets everything that is due happen in its order. */
  async advance(ms) {
    const until = this.time + ms;
    await settle();
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at || a.id - b.id);
      if (!next) break;
      this.#timers = this.#timers.filter((one) => one !== next);
      this.time = Math.max(this.time, next.at);
      next.callback();
      await settle();
    }
    this.time = until;
  }

  /** Moves the clock while streams get their keepalive comments. */
  async quiet(ms) {
    for (const until = this.time + ms; this.time < until;) {
      for (const stream of this.server.streams) stream.raw(": keepalive\n\n");
      await this.advance(Math.min(15_000, until - this.time));
    }
  }

  get socket() {
    return this.sockets.find((socket) => socket.open);
  }

  /** Frames that clients have sent over WebSocket, of one kind. */
  posted(kind) {
    return this.sockets
      .flatMap((socket) => socket.received)
      .filter((frame) => kind in frame)
      .map((frame) => frame[kind]);
  }

  /** Cuts what is open. */
  async cut(code = 1006) {
    for (const socket of this.sockets.filter(({ open }) => open)) socket.lose(code);
    for (const stream of [...this.server.streams]) stream.cut();
    await settle();
  }

  async #fetch(url, { method, body, headers = {}, signal } = {}) {
    const { pathname, searchParams } = new URL(url);
    this.requests.push({ at: this.time, method, path: pathname, query: searchParams, headers, body });
    await null;
    signal?.throwIfAborted();
    if (this.down) throw new TypeError("Failed to fetch");
    if (this.silent) await new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    const request = { method, path: pathname, query: searchParams, body: body && JSON.parse(body), headers, signal };
    if (this.server.latch) await this.server.latch;
    const response = this.server.http(request);
    if (this.lossy?.(request)) throw new TypeError("Failed to fetch");
    return response;
  }
}

/** What the client has in its hands instead of a WebSocket. */
class FakeSocket {
  received = [];
  open = false;
  subscriptions = new Map();
  watches = new Set();

  constructor(world, url, protocols) {
    Object.assign(this, { world, url: new URL(url), protocols });
    world.attempts.push(world.time);
    world.sockets.push(this);
    setImmediate(() => {
      if (this.closed || world.silent) return;
      if (world.down || world.blocked) return this.lose(1006);
      const sender = world.server.upgrade(this);
      if (sender === undefined) return this.lose(1006);
      this.open = true;
      this.sender = sender;
      this.tell({ welcome: { connection_id: "c", sender, heartbeat_ms: 25_000, max_frame_bytes: 100_000 } });
    });
  }

  /** A connection that has swallowed one byte delivers none behind it: TCP has no gaps. */
  get live() {
    this.dead ||= this.world.silent;
    return !this.dead;
  }

  /** From the client. */
  send(text) {
    if (!this.open) throw new Error("InvalidStateError");
    const frame = JSON.parse(text);
    this.received.push(frame);
    if (this.live) setImmediate(() => this.open && this.world.server.frame(this, frame));
  }

  close(code) {
    this.closed = code;
    this.open = false;
  }

  /** From the server. */
  tell(frame) {
    if (this.open && this.live) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  lose(code) {
    this.open = false;
    this.closed ??= code;
    this.onclose?.({ code, reason: "" });
  }
}

const STATE = { Commitment: "SESSION_STATE_RESOLVED", SessionCancel: "SESSION_STATE_CANCELLED" };

/** Sessions, and who listens. */
export class Server {
  sessions = new Map();
  streams = new Set();
  sockets = new Set();
  tokens = null;
  tickets = new Set();
  /** Functions that may answer in the server's place: (frame or request) => answer or undefined. */
  refuse = () => undefined;
  /** Sequences up to this one are not kept. */
  forgotten = 0;

  upgrade(socket) {
    const ticket = socket.url.searchParams.get("ticket");
    if (ticket) return this.tickets.delete(ticket) ? "agent://ticket" : undefined;
    const bearer = socket.protocols.find((name) => name.startsWith("macp.bearer."))?.slice("macp.bearer.".length);
    if (bearer === undefined) return "";
    const token = Buffer.from(bearer, "base64url").toString();
    return this.knows(token) ? token : undefined;
  }

  knows(token) {
    return !this.tokens || this.tokens.has(token);
  }

  /** The history of a session; `envelopes[n - 1]` has sequence n. */
  session(id) {
    if (!this.sessions.has(id)) this.sessions.set(id, { envelopes: [], ids: new Set(), state: "SESSION_STATE_OPEN" });
    return this.sessions.get(id);
  }

  accept(envelope) {
    const { session_id, message_id, message_type } = envelope;
    const session = this.session(session_id);
    const duplicate = session.ids.has(message_id);
    if (!duplicate) {
      session.ids.add(message_id);
      session.envelopes.push(envelope);
      session.state = STATE[message_type] ?? session.state;
    }
    const ack = { ok: true, duplicate, message_id, session_id, session_state: session.state };
    this.deliver();
    return ack;
  }

  /** Puts `count` envelopes into a session. */
  grow(session_id, count, message_type = "Vote") {
    for (let n = 0; n < count; n++) {
      const message_id = `m${this.session(session_id).envelopes.length + 1}`;
      this.accept({ session_id, message_id, message_type, sender: "agent://bob", payload: {} });
    }
  }

  deliver() {
    for (const socket of this.sockets) {
      for (const subscription of socket.subscriptions.values()) this.#feed(subscription, (frame) => socket.tell(frame));
    }
    for (const stream of [...this.streams]) stream.feed?.();
  }

  #feed(subscription, tell) {
    const { id, session_id } = subscription;
    const { envelopes, state } = this.session(session_id);
    while (!subscription.held && subscription.at < envelopes.length) {
      const sequence = ++subscription.at;
      tell({ id, envelope: { session_id, sequence, envelope: envelopes[sequence - 1] } });
    }
    if (state === "SESSION_STATE_OPEN" || subscription.over || subscription.held) return;
    subscription.over = true;
    subscription.end();
    tell({ id, ended: { session_id, state, last_sequence: envelopes.length } });
  }

  /** An event of a topic to everyone who watches it. */
  event(topic, body) {
    for (const socket of this.sockets) if (socket.watches.has(topic)) socket.tell({ event: { topic, ...body } });
    const [message] = Object.values(body);
    for (const stream of this.streams) if (stream.topic === topic) stream.send({ data: message });
  }

  #error(code, more = {}) {
    return { code, message: code.toLowerCase(), session_id: "", message_id: "", details: "", ...more };
  }

  call(method, request) {
    const id = request.session_id;
    if (method === "GetSession") {
      if (!this.sessions.has(id)) return { error: this.#error("SESSION_NOT_FOUND", { session_id: id }) };
      const { state } = this.session(id);
      return { metadata: { session_id: id, state, mode_version: "2.0.0", configuration_version: "7" } };
    }
    if (method === "GetDecisionReceipt") return { receipt_json: '{"schema":"macp-receipt/1"}' };
    if (method.endsWith("Session")) return { ack: { ok: true, session_id: id } };
    return { method, request };
  }

  subscribe({ session_id, after_sequence }) {
    if (!this.sessions.has(session_id)) return { error: this.#error("SESSION_NOT_FOUND", { session_id }) };
    if (after_sequence < this.forgotten) {
      const details = Buffer.from(JSON.stringify({ lowest_available_sequence: this.forgotten + 1 })).toString("base64");
      return { error: this.#error("HISTORY_UNAVAILABLE", { session_id, details }) };
    }
    return { high_water_sequence: this.session(session_id).envelopes.length };
  }

  // - WebSocket -

  frame(socket, frame) {
    this.sockets.add(socket);
    const { id, send, call, subscribe, unsubscribe, watch, unwatch, ping, authenticate } = frame;
    const answer = (body) => socket.tell({ id, ...body });
    const refusal = this.refuse(frame, socket);
    if (refusal) return refusal === "nothing" ? undefined : answer(refusal);
    if (send) answer({ ack: this.accept(send.envelope) });
    else if (call) {
      const response = this.call(call.method, call.request);
      answer(response.error ? response : { result: { method: call.method, response } });
    } else if (subscribe) {
      const { session_id, after_sequence, snapshot } = subscribe;
      if (socket.subscriptions.has(session_id)) throw new Error("a second subscription");
      const { error, high_water_sequence } = this.subscribe(subscribe);
      if (error) return answer({ error });
      const subscription = { id, session_id, at: after_sequence, end: () => socket.subscriptions.delete(session_id) };
      socket.subscriptions.set(session_id, subscription);
      const metadata = snapshot && this.call("GetSession", { session_id }).metadata;
      answer({ subscribed: { session_id, after_sequence, high_water_sequence, ...(metadata && { metadata }) } });
      this.#feed(subscription, (it) => socket.tell(it));
    } else if (unsubscribe) {
      socket.subscriptions.delete(unsubscribe.session_id);
      answer({ unsubscribed: unsubscribe });
    } else if (watch) {
      if (socket.watches.has(watch.topic)) throw new Error("a second watch");
      socket.watches.add(watch.topic);
      answer({ watching: watch });
      if (watch.topic !== "SIGNALS")
        socket.tell({ id, event: { topic: watch.topic, [watch.topic.toLowerCase()]: { first: true } } });
    } else if (unwatch) {
      socket.watches.delete(unwatch.topic);
      answer({ unwatched: unwatch });
    } else if (ping) {
      const subscriptions = [...socket.subscriptions.keys()].map((session_id) => ({
        session_id,
        high_water_sequence: this.session(session_id).envelopes.length,
      }));
      answer({ pong: { server_time_unix_ms: 1, subscriptions } });
    } else if (authenticate) {
      answer(
        this.knows(authenticate.token)
          ? { authenticated: { sender: authenticate.token } }
          : { error: this.#error("UNAUTHENTICATED") },
      );
      if (!this.knows(authenticate.token)) socket.lose(4401);
    }
  }

  // - HTTP -

  http({ method, path, query, body, headers, signal }) {
    const token = headers.Authorization?.replace("Bearer ", "");
    const reply = (status, json, more = {}) => new Response(JSON.stringify(json), { status, headers: more });
    const fail = (status, code) => reply(status, { error: this.#error(code) });
    const refusal = this.refuse({ method, path, body });
    if (refusal)
      return refusal.status ? reply(refusal.status, refusal.body ?? {}, refusal.headers) : reply(200, refusal);
    const [, last] = /([^/]+)$/.exec(path);
    if (path === "/.well-known/macp.json" || last === "ListModes") return reply(200, {});
    const ticket = query.get("ticket");
    if (ticket ? !this.tickets.delete(ticket) : token === undefined || !this.knows(token))
      return fail(401, "UNAUTHENTICATED");
    if (path === "/macp/ticket") {
      const issued = `t${++this.issued}`;
      this.tickets.add(issued);
      return reply(200, { ticket: issued, expires_at_unix_ms: 0 });
    }
    const [, session_id, events] = /\/sessions\/([^/]+)(\/events)?$/.exec(path) ?? [];
    if (events) {
      const after_sequence = Number(query.get("after"));
      const { error, high_water_sequence } = this.subscribe({ session_id, after_sequence });
      if (error) return reply(409, { error });
      const stream = this.#stream(signal, { "MACP-High-Water-Sequence": String(high_water_sequence) });
      const subscription = { session_id, at: after_sequence, end: () => {} };
      stream.feed = () =>
        this.#feed(subscription, ({ envelope, ended }) => {
          if (envelope) stream.send({ id: envelope.sequence, data: { envelope: envelope.envelope } });
          if (ended) (stream.send({ event: "ended", data: ended }), stream.cut());
        });
      stream.feed();
      return stream.response;
    }
    if (session_id) return reply(200, this.call("GetSession", { session_id }));
    if (last.startsWith("Watch")) {
      const topic = last
        .slice(5)
        .replace(/(?<=.)[A-Z]/g, "_$&")
        .toUpperCase();
      const stream = this.#stream(signal, {});
      stream.topic = topic;
      if (topic !== "SIGNALS") stream.send({ data: { first: true } });
      return stream.response;
    }
    if (last === "Send") return reply(200, { ack: this.accept(body.envelope) });
    const answer = this.call(last, body);
    return answer.error ? reply(404, answer) : reply(200, answer);
  }

  issued = 0;

  #stream(signal, headers) {
    const bytes = new TextEncoder();
    let pipe;
    const body = new ReadableStream({ start: (controller) => (pipe = controller) });
    const stream = {
      response: new Response(body, { headers: { "Content-Type": "text/event-stream", ...headers } }),
      raw: (text) => pipe.enqueue(bytes.encode(text)),
      bytes: (...some) => pipe.enqueue(Uint8Array.from(some)),
      send: ({ id, event, data }) => {
        const lines = [id && `id: ${id}.pass`, event && `event: ${event}`, `data: ${JSON.stringify(data)}`];
        stream.raw(`${lines.filter(Boolean).join("\n")}\n\n`);
      },
      cut: () => {
        if (this.streams.delete(stream)) pipe.close();
      },
    };
    this.streams.add(stream);
    signal?.addEventListener("abort", () => {
      if (this.streams.delete(stream)) pipe.error(signal.reason);
    });
    stream.raw("retry: 2000\n: opened\n\n");
    return stream;
  }
}

/** Takes `count` items from an iterator. */
export async function take(iterator, count) {
  const items = [];
  while (items.length < count) {
    const { value, done } = await iterator.next();
    if (done) throw new Error(`it ended after ${items.length} of ${count}`);
    items.push(value);
  }
  return items;
}

/** Everything that is there without waiting for more. */
export function gather(iterator, to = []) {
  (async () => {
    for await (const item of iterator) to.push(item);
    to.done = true;
  })().catch((error) => (to.error = error));
  return to;
}
