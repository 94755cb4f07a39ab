// MACP in the browser: a client of macp-gateway in one module. What it promises is said in macp.d.ts.
//
// Top-down: MacpClient (what callers see) → Session (one session of a mode) → Connection (keeps one link, makes it
// again, repeats what was not answered) → Feed and Reader (subscriptions and watches) → SocketLink, HttpLink (the two
// links). A link takes client frames and gives server frames, as docs/websocket.md has them. HttpLink turns them into
// requests and event streams, so that nothing above it knows which link there is.

/** Where reconnecting stops to become slower, and from where it begins, in ms. */
const BACKOFF = [500, 30_000];
/** A link that lived this long was a good one: backoff starts anew. */
const STABLE = 5_000;
/** Until a link must stand; where there is a fallback, until WebSocket must; and until a ping must be answered. */
const OPEN_WITHIN = 10_000;
const SOCKET_WITHIN = 5_000;
const PONG_WITHIN = 10_000;
/** The same when the page has just come back and the link is under suspicion. */
const SUSPECT_WITHIN = 3_000;
/** From the fallback, WebSocket is tried again after this time, and then ever more seldom. Soon, for it may have been
 * only the moment: a server that starts answers the one a little earlier than the other. */
const UPGRADE = [5_000, 600_000];
/** Event streams at a time: browsers open six HTTP/1.1 connections to a host, and requests need some. */
const STREAMS = 4;
/** How long a stream keeps its place while others wait for one. */
const TURN = 1_000;
/**
 * A stream from which nothing came for so long, not even a keepalive comment (every 15 s), is dead; so is the
 * connection of a request that has no answer by then (the server gives up after 30 s).
 */
const SILENCE = 45_000;
/** Characters of envelopes that may wait for one reader; at least one envelope always may. */
const READER_CHARS = 8 << 20;

const RETRYABLE = new Set([
  "RATE_LIMITED",
  "INTERNAL_ERROR",
  "STREAM_LAGGED",
  "UNAVAILABLE",
  "CONNECTION_LOST",
  "QUEUE_FULL",
]);
/** Calls that may be made twice. */
const REPEATABLE = /^(Get|List|Initialize$|WhatIfReplay$|CancelSession$)/;

// --- errors --------------------------------------------------------------------------------------------------------

export class MacpError extends Error {
  constructor({ code, message, session_id = "", message_id = "", details }) {
    super(message || code);
    this.name = "MacpError";
    this.code = code;
    this.session_id = session_id;
    this.message_id = message_id;
    this.details = decoded(details);
    this.retryable = RETRYABLE.has(code);
  }
}

export function accepted(ack) {
  if (!ack.ok) throw new MacpError(ack.error ?? { code: "INTERNAL_ERROR", message: "refused without an error" });
  return ack;
}

/** `details` are bytes, so base64 in JSON, and nearly always JSON themselves. */
function decoded(details) {
  if (typeof details !== "string" || !details) return details || undefined;
  try {
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(details), (c) => c.charCodeAt(0))));
  } catch {
    return details;
  }
}

const lostError = (message) => new MacpError({ code: "CONNECTION_LOST", message });
const closedError = () => new MacpError({ code: "CLIENT_CLOSED", message: "this client was closed" });
const quiet = (promise) => (promise.catch(() => {}), promise);

/** A promise with its two ends. Nobody has to listen to its failure. */
function deferred() {
  const it = {};
  it.promise = quiet(new Promise((resolve, reject) => Object.assign(it, { resolve, reject })));
  return it;
}

/** `crypto.randomUUID` is missing where a page is served in the clear from another host than localhost. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// --- what callers see ----------------------------------------------------------------------------------------------

export class MacpClient extends EventTarget {
  #connection;

  constructor(options = {}) {
    super();
    const tell = (detail) => this.dispatchEvent(new CustomEvent("status", { detail }));
    this.#connection = new Connection(options, tell);
  }

  get status() {
    return { ...this.#connection.status };
  }

  ready() {
    return this.#connection.ready().then(() => this.status);
  }

  async send(envelope, options) {
    const body = { envelope: { macp_version: "1.0", mode: "", session_id: "", message_id: uuid(), ...envelope } };
    return (await this.#connection.request("send", body, options)).ack;
  }

  async call(method, request = {}, options) {
    return (await this.#connection.request("call", { method, request }, options)).result.response;
  }

  subscribe(session_id, options = {}) {
    return new SessionReader(this.#connection, session_id, options);
  }

  watch(topic, options = {}) {
    return new TopicReader(this.#connection, topic, options);
  }

  ping() {
    return this.#connection.ping(PONG_WITHIN);
  }

  async setToken(token) {
    await this.#connection.setToken(token);
  }

  reconnect(delayMs = 0) {
    this.#connection.reconnect(delayMs);
  }

  close() {
    this.#connection.close(closedError());
  }

  session(mode, session_id) {
    return new Session(this, mode, session_id);
  }
}

/** The message types of the modes between SessionStart and Commitment; each gets a method of its name. */
const MODES = {
  decision: ["macp.mode.decision.v1", "Proposal", "Evaluation", "Objection", "Vote"],
  proposal: ["macp.mode.proposal.v1", "Proposal", "CounterProposal", "Accept", "Reject", "Withdraw"],
  task: ["macp.mode.task.v1", "TaskRequest", "TaskAccept", "TaskReject", "TaskUpdate", "TaskComplete", "TaskFail"],
  handoff: ["macp.mode.handoff.v1", "HandoffOffer", "HandoffContext", "HandoffAccept", "HandoffDecline"],
  quorum: ["macp.mode.quorum.v1", "ApprovalRequest", "Approve", "Reject", "Abstain"],
  multiRound: ["ext.multi_round.v1", "Contribute"],
};

export class Session {
  /** The versions that a Commitment has to repeat. */
  #versions;

  constructor(client, mode, session_id = uuid()) {
    Object.assign(this, { client, mode, session_id });
  }

  start(payload, options) {
    const full = { mode_version: "1.0.0", configuration_version: "1", ttl_ms: 600_000, ...payload };
    this.#versions = { mode_version: full.mode_version, configuration_version: full.configuration_version };
    return this.send("SessionStart", full, options);
  }

  send(message_type, payload = {}, { message_id, ...options } = {}) {
    const { payload_b64 } = payload;
    const body = typeof payload_b64 === "string" ? { payload_b64 } : { payload };
    const { mode, session_id } = this;
    return this.client.send({ mode, session_id, message_type, ...(message_id && { message_id }), ...body }, options);
  }

  async commit(payload, options) {
    if (!this.#versions) {
      const { mode_version, configuration_version } = await this.metadata(options);
      this.#versions = { mode_version, configuration_version };
    }
    return this.send("Commitment", { commitment_id: uuid(), ...this.#versions, ...payload }, options);
  }

  subscribe(options) {
    return this.client.subscribe(this.session_id, options);
  }

  async metadata(options) {
    return (await this.client.call("GetSession", { session_id: this.session_id }, options)).metadata;
  }

  async receipt(options) {
    const { session_id } = this;
    return JSON.parse((await this.client.call("GetDecisionReceipt", { session_id }, options)).receipt_json);
  }
}

for (const name of ["cancel", "suspend", "resume"]) {
  const method = `${name[0].toUpperCase()}${name.slice(1)}Session`;
  Session.prototype[name] = async function (reason = "", options = {}) {
    return (await this.client.call(method, { session_id: this.session_id, reason }, options)).ack;
  };
}

for (const [name, [mode, ...types]] of Object.entries(MODES)) {
  const Kind = class extends Session {};
  for (const type of types) {
    Kind.prototype[type[0].toLowerCase() + type.slice(1)] = function (payload, options) {
      return this.send(type, payload, options);
    };
  }
  MacpClient.prototype[name] = function (session_id) {
    return new Kind(this, mode, session_id);
  };
}

// --- one link after the other --------------------------------------------------------------------------------------

class Connection {
  /** The link in use; `next` is the WebSocket that waits to replace the fallback, and holds new requests back. */
  link = null;
  next = null;
  feeds = new Map();
  #pending = new Map();
  #chars = 0;
  #ids = 0;
  /** Requests that were answered by nothing yet and are not repeated: pings and what feeds ask. */
  #asked = new Map();
  /** Counts attempts, so that a late outcome of an earlier one is recognised. */
  #generation = 0;
  #timers = {};
  #upgradeDelay = UPGRADE[0];
  #ready = deferred();

  constructor(options, onstatus) {
    const page = globalThis;
    this.env = {
      WebSocket: page.WebSocket,
      fetch: page.fetch?.bind(page),
      now: () => performance.now(),
      random: Math.random,
      setTimeout: (callback, ms) => page.setTimeout(callback, ms),
      clearTimeout: (timer) => page.clearTimeout(timer),
      window: page.window,
      document: page.document,
      ...options.environment,
    };
    const base = new URL(options.url ?? page.location.origin);
    base.hash = base.search = "";
    this.base = base.href.replace(/\/+$/, "").replace(/^ws/, "http");
    this.options = { auth: "subprotocol", transport: "auto", maxPending: 1_000, maxPendingChars: 16 << 20, ...options };
    this.token = options.token;
    this.status = { state: "connecting", transport: null, sender: "", attempt: 0, retryInMs: null, error: null };
    this.onstatus = onstatus;
    this.#listen(true);
    // Not before the caller had the chance to listen.
    queueMicrotask(() => this.#generation || this.#connect());
  }

  /** Timers sleep with the page; these events are what wakes it. */
  #listen(on) {
    const verb = on ? "addEventListener" : "removeEventListener";
    for (const name of ["online", "pageshow"]) this.env.window?.[verb](name, this.#wake);
    for (const name of ["visibilitychange", "resume"]) this.env.document?.[verb](name, this.#wake);
  }

  #wake = () => {
    if (this.env.document?.visibilityState === "hidden") return;
    if (this.link) {
      this.ping(SUSPECT_WITHIN).catch(() => {});
      if (this.#timers.upgrade) this.#upgrade();
    } else if (this.status.state === "waiting") {
      this.#connect();
    }
  };

  #set(changes) {
    Object.assign(this.status, changes);
    this.onstatus({ ...this.status });
  }

  #timer(name, callback, ms) {
    this.env.clearTimeout(this.#timers[name]);
    this.#timers[name] =
      callback &&
      this.env.setTimeout(() => {
        this.#timers[name] = undefined;
        callback();
      }, ms);
  }

  ready() {
    return this.closed ? Promise.reject(this.closed) : this.#ready.promise;
  }

  // - making a link -

  async #connect() {
    const generation = ++this.#generation;
    const overtaken = () => generation !== this.#generation;
    this.#timer("retry");
    this.#set({ state: "connecting", retryInMs: null });
    try {
      const { transport } = this.options;
      let failure;
      // Without a credential the server ends a WebSocket after a few seconds; the open calls need none over HTTP.
      if (transport === "websocket" || (transport === "auto" && this.#hasCredential && this.env.WebSocket)) {
        try {
          const link = await this.#openSocket();
          return overtaken() ? link.close() : this.#activate(link);
        } catch (error) {
          if (error.code === "UNAUTHENTICATED") throw error;
          failure = error;
        }
        if (overtaken()) return;
      }
      // A browser does not tell why an upgrade failed. A request does: no network, no credential, or only no WebSocket.
      const link = await this.#openHttp();
      if (overtaken()) return link.close();
      if (transport !== "websocket") return this.#activate(link);
      link.close();
      throw failure;
    } catch (error) {
      if (!overtaken()) this.#failed(error);
    }
  }

  get #hasCredential() {
    return this.token !== undefined || Boolean(this.options.ticket);
  }

  /** The token for one connection or request; undefined if there is none. */
  async bearer() {
    return typeof this.token === "function" ? await this.token() : this.token;
  }

  async #ticket() {
    if (this.options.ticket) return this.options.ticket();
    return (await answer(this, "/macp/ticket", { text: "{}" })).ticket;
  }

  async #openSocket() {
    const { auth, ticket } = this.options;
    const url = new URL(`${this.base.replace(/^http/, "ws")}/macp/v1/ws`);
    const protocols = ["macp.v1.json"];
    let token;
    if (ticket || auth === "ticket") url.searchParams.set("ticket", await this.#ticket());
    else token = await this.bearer();
    if (token !== undefined && auth === "subprotocol") protocols.push(`macp.bearer.${base64url(token)}`);
    const within = this.options.transport === "auto" ? SOCKET_WITHIN : OPEN_WITHIN;
    const make = (on) => new SocketLink(this, url.href, protocols, auth === "frame" ? token : undefined, on);
    return this.#opened(within, make);
  }

  #openHttp() {
    return this.#opened(OPEN_WITHIN, (on) => new HttpLink(this, on));
  }

  /** Waits until a new link stands. Its frames go to `#frame`, its end to `#lost`. */
  #opened(within, make) {
    return new Promise((resolve, reject) => {
      const late = this.env.setTimeout(() => fail(lostError("the server did not answer in time")), within);
      const fail = (error) => {
        this.env.clearTimeout(late);
        link?.close();
        reject(error);
      };
      let link;
      let open = false;
      try {
        link = make({
          open: () => {
            open = true;
            this.env.clearTimeout(late);
            resolve(link);
          },
          frame: (frame, size) => this.#frame(link, frame, size),
          lost: (error) => (open ? this.#lost(link, error) : fail(error)),
        });
      } catch (error) {
        fail(lostError(`no connection can be made: ${error.message}`));
      }
    });
  }

  #failed(error) {
    if (!(error instanceof MacpError)) error = lostError(`no connection can be made: ${error?.message ?? error}`);
    // The same token again would be refused again.
    const fixed = typeof this.token !== "function" && !this.options.ticket;
    if (error.code === "UNAUTHENTICATED" && fixed) return this.close(error);
    const { attempt } = this.status;
    const retryInMs = Math.max(this.backoff(attempt), error.delay ?? 0);
    this.#timer("retry", () => this.#connect(), retryInMs);
    this.#set({ state: "waiting", transport: null, attempt: attempt + 1, retryInMs, error });
  }

  /** With jitter, so that the clients of one server do not come back all at once. */
  backoff(attempt) {
    const [least, most] = BACKOFF;
    return Math.round(Math.min(most, least * 2 ** Math.min(attempt, 20)) * (0.5 + this.env.random() / 2));
  }

  #activate(link) {
    this.link = link;
    this.#timer("stable", () => (this.status.attempt = 0), STABLE);
    this.#set({ state: "open", transport: link.transport, sender: link.sender, retryInMs: null, error: null });
    this.#ready.resolve();
    if (link.transport === "websocket") this.#upgradeDelay = UPGRADE[0];
    else if (this.options.transport === "auto" && this.#hasCredential && this.env.WebSocket) this.#upgradeLater();
    this.#flush();
    this.#heartbeat(link);
  }

  /** Posts what waits, in the order in which it was asked for. */
  #flush() {
    if (!this.can) return;
    for (const request of [...this.#pending.values()]) this.#post(request);
    for (const feed of [...this.feeds.values()]) feed.sync();
  }

  /** Whether frames may be posted now. */
  get can() {
    return this.link && !this.link.draining && !this.next;
  }

  #heartbeat(link) {
    this.#timer(
      "heartbeat",
      () => {
        this.ping(PONG_WITHIN).catch(() => {});
        this.#heartbeat(link);
      },
      link.heartbeat,
    );
  }

  // - losing one -

  #lost(link, error) {
    link.close();
    if (link === this.next) {
      this.next = null;
      this.#upgradeLater();
      this.#flush();
    }
    if (link !== this.link) return;
    this.#forget("CONNECTION_LOST");
    const { next } = this;
    this.next = null;
    if (next) return this.#activate(next);
    this.#generation++;
    this.#ready = deferred();
    this.#failed(error);
  }

  /** Everything that only the present link knew. */
  #forget(reason) {
    const { link } = this;
    this.link = null;
    for (const name of ["heartbeat", "stable", "upgrade"]) this.#timer(name);
    for (const asked of this.#asked.values()) asked.reject(lostError("the link was lost before the answer"));
    this.#asked.clear();
    for (const request of [...this.#pending.values()]) {
      if (request.link !== link) continue;
      request.link = null;
      if (!request.repeatable) request.reject(lostError("the link was lost before the answer; the outcome is unknown"));
    }
    for (const feed of this.feeds.values()) feed.cut(reason);
  }

  reconnect(delay) {
    if (this.closed) return;
    const { link, next } = this;
    next?.close();
    this.next = null;
    link?.close();
    if (link) {
      this.#forget("CONNECTION_LOST");
      this.#ready = deferred();
    }
    this.#generation++;
    this.#timer("retry", () => this.#connect(), delay);
    this.#set({ state: "waiting", transport: null, retryInMs: delay, error: lostError("dropped by the page") });
  }

  close(error) {
    if (this.closed) return;
    this.closed = error;
    this.#generation++;
    this.#listen(false);
    for (const name of Object.keys(this.#timers)) this.#timer(name);
    const { link, next } = this;
    next?.close();
    link?.close();
    this.link = this.next = null;
    for (const request of [...this.#pending.values(), ...this.#asked.values()]) request.reject(error);
    this.#asked.clear();
    const why = error.code === "CLIENT_CLOSED" ? null : error;
    for (const feed of [...this.feeds.values()]) feed.fail(why);
    this.#ready.reject(error);
    this.#set({ state: "closed", transport: null, retryInMs: null, error: why });
  }

  // - from the fallback back to WebSocket -

  #upgradeLater() {
    const [, most] = UPGRADE;
    this.#timer("upgrade", () => this.#upgrade(), this.#upgradeDelay * (0.5 + this.env.random() / 2));
    this.#upgradeDelay = Math.min(most, this.#upgradeDelay * 2);
  }

  async #upgrade() {
    const old = this.link;
    this.#timer("upgrade");
    let socket;
    try {
      socket = await this.#openSocket();
    } catch {
      if (old && this.link === old) this.#upgradeLater();
      return;
    }
    if (!old || this.link !== old) return socket.close();
    // Requests that are on their way are answered first, so that the order of sends stays.
    this.next = socket;
    await old.idle();
    if (this.link !== old || this.next !== socket) return;
    this.next = null;
    old.close();
    this.#forget("RESTARTED");
    this.#activate(socket);
  }

  // - asking and being answered -

  request(kind, body, { signal } = {}) {
    return new Promise((resolve, reject) => {
      if (this.closed) throw this.closed;
      signal?.throwIfAborted();
      const text = JSON.stringify(body);
      const { maxPending, maxPendingChars } = this.options;
      if (this.#pending.size >= maxPending || this.#chars + text.length > maxPendingChars) {
        throw new MacpError({ code: "QUEUE_FULL", message: `${this.#pending.size} requests wait for answers already` });
      }
      const id = String(++this.#ids);
      const repeatable = kind === "send" || REPEATABLE.test(body.method);
      const lane = kind === "send" ? body.envelope.session_id : "";
      const settle = (end) => (value) => {
        if (!this.#pending.delete(id)) return;
        this.#chars -= text.length;
        signal?.removeEventListener("abort", abort);
        end(value);
      };
      const request = { id, kind, text, lane, repeatable, link: null };
      request.resolve = settle(resolve);
      request.reject = settle(reject);
      const abort = () => request.reject(signal.reason);
      signal?.addEventListener("abort", abort);
      this.#pending.set(id, request);
      this.#chars += text.length;
      if (this.can) this.#post(request);
    });
  }

  #post(request) {
    if (request.link || !this.can) return;
    const { maxFrame } = this.link;
    // 64 bytes of id and names; UTF-8 has at most three bytes for a UTF-16 unit.
    if (request.text.length * 3 + 64 > maxFrame && new TextEncoder().encode(request.text).length + 64 > maxFrame) {
      const message = `the server takes messages of at most ${maxFrame} bytes (MACP_HTTP_MAX_BODY_BYTES)`;
      return request.reject(new MacpError({ code: "PAYLOAD_TOO_LARGE", message }));
    }
    request.link = this.link;
    this.link.post(request);
  }

  /**
   * Asks something that concerns only the present link. The answer is handed on at once, and not in a promise: the
   * frames behind it must find everything prepared.
   */
  ask(kind, body, { resolve, reject = () => {} }) {
    const id = String(++this.#ids);
    this.#asked.set(id, { resolve, reject });
    this.link.post({ id, kind, text: JSON.stringify(body) });
  }

  async ping(within) {
    if (this.closed) throw this.closed;
    const { link, env } = this;
    if (!link) throw lostError("there is no link");
    const began = env.now();
    const late = env.setTimeout(() => {
      // Whatever came since shows that the link lives, and that the answer is only queued behind it.
      if (link === this.link && link.heard < began) this.#lost(link, lostError("the server does not answer"));
    }, within);
    try {
      this.#heads(await new Promise((resolve, reject) => this.ask("ping", {}, { resolve, reject })));
      return env.now() - began;
    } finally {
      env.clearTimeout(late);
    }
  }

  #heads({ pong }) {
    for (const { session_id, high_water_sequence } of pong.subscriptions ?? []) {
      this.feeds.get(session_id)?.head(high_water_sequence);
    }
  }

  async setToken(token) {
    this.token = token;
    if (this.closed) throw this.closed;
    if (!this.can) return;
    const { error } = await new Promise((resolve, reject) => this.ask("authenticate", { token }, { resolve, reject }));
    if (error) throw new MacpError(error);
  }

  #frame(link, frame, size) {
    link.heard = this.env.now();
    if (link !== this.link) return;
    const { id, error } = frame;
    const request = id && this.#pending.get(id);
    if (request) return this.#answer(request, frame);
    const asked = id && this.#asked.get(id);
    // What feeds ask is answered more than once: their frames carry the id of the subscription.
    if (asked && this.#asked.delete(id)) return asked.resolve(frame);
    if (frame.draining) {
      link.draining = true;
      link.delay = frame.draining.reconnect_after_ms;
      return;
    }
    const body = frame.envelope ?? frame.ended ?? frame.event;
    const key = body ? (body.topic ?? body.session_id) : error && (error.session_id || decoded(error.details)?.topic);
    const feed = this.feeds.get(key) ?? [...this.feeds.values()].find((one) => one.id && one.id === id);
    feed?.frame(frame, size);
  }

  #answer(request, frame) {
    const error = frame.error ?? frame.ack?.error;
    // The server goes away or is overloaded, and did nothing. So were the requests behind this one, and so will be the
    // next ones: all are sent again, in their order, over the next link.
    if (error?.code === "UNAVAILABLE" && request.repeatable && request.link) {
      request.link = null;
      if (!this.link.draining) this.#lost(this.link, error instanceof MacpError ? error : new MacpError(error));
      return;
    }
    if (frame.error) request.reject(new MacpError(frame.error));
    else request.resolve(frame);
  }
}

// --- subscriptions and watches -------------------------------------------------------------------------------------

/**
 * What the link is asked for on behalf of all readers of one session or topic, since a connection has one
 * subscription for each. `wire` says how far that is: "idle", "opening", "open", "closing".
 */
class Feed {
  readers = new Set();
  wire = "idle";
  retries = 0;

  constructor(connection, key) {
    Object.assign(this, { connection, key });
  }

  add(reader) {
    this.readers.add(reader);
    this.sync();
  }

  remove(reader) {
    this.readers.delete(reader);
    this.sync();
  }

  /** Brings the wire to what the readers need. */
  sync() {
    const { connection } = this;
    if (!this.readers.size && this.wire === "idle") {
      connection.env.clearTimeout(this.paused);
      connection.feeds.delete(this.key);
    }
    if (!connection.can || this.paused) return;
    const wanting = [...this.readers].filter((reader) => reader.wants);
    if (this.wire === "idle" && wanting.length) {
      this.wire = "opening";
      connection.ask(this.opens, this.opening(wanting), { resolve: (frame) => this.#opened(frame) });
    } else if (this.wire === "open" && (!wanting.length || this.stale(wanting))) {
      this.wire = "closing";
      connection.ask(this.closes, this.closing, { resolve: () => this.#closed() });
    }
  }

  #opened(frame) {
    if (frame.error || frame.again) return this.frame(frame);
    this.id = frame.id;
    this.wire = "open";
    for (const reader of this.readers) {
      if (reader.wants) reader.stands(frame.subscribed);
    }
    this.sync();
  }

  #closed() {
    this.wire = "idle";
    this.sync();
  }

  /** What comes after the answer to a subscription. */
  frame({ error, again, ...frame }, size) {
    if (!error && !again) {
      this.retries = 0;
      this.deliver(frame, size);
    } else if (this.wire === "closing") {
      // It is over anyway, once the answer to that is here.
      return;
    } else if (again) {
      this.cut("RESTARTED");
    } else {
      this.refused(new MacpError(error));
    }
    this.sync();
  }

  /** The subscription is gone from the wire; the readers are still there. */
  cut() {
    this.wire = "idle";
  }

  /** A refusal that may pass is tried again; any other one is the readers' to know. */
  refused(error) {
    this.cut("CONNECTION_LOST");
    if (error.code !== "INTERNAL_ERROR" && error.code !== "UNAVAILABLE") return this.fail(error);
    this.paused = this.connection.env.setTimeout(() => {
      this.paused = undefined;
      this.sync();
    }, this.connection.backoff(this.retries++));
  }

  fail(error) {
    for (const reader of [...this.readers]) reader.finish(error);
  }
}

class SessionFeed extends Feed {
  opens = "subscribe";
  closes = "unsubscribe";
  /** What the wire has delivered so far. */
  position = 0;

  get closing() {
    return { session_id: this.key };
  }

  opening(wanting) {
    this.position = Math.min(...wanting.map((reader) => reader.received));
    this.promised = undefined;
    const snapshot = wanting.some((reader) => reader.fresh && reader.snapshot);
    return { session_id: this.key, after_sequence: this.position, snapshot };
  }

  /** A new reader gets a subscription, and with it a snapshot, of its own time; the others ignore what they know. */
  stale(wanting) {
    return wanting.some((reader) => reader.fresh || reader.received < this.position);
  }

  deliver({ envelope, ended }, size) {
    if (envelope) {
      this.position = envelope.sequence;
      for (const reader of this.readers) reader.take(envelope, size);
    } else if (ended) {
      if (this.wire === "open") this.wire = "idle";
      for (const reader of [...this.readers]) reader.over(ended);
    }
  }

  refused(error) {
    // Only who asked from so far back is concerned.
    if (error.code !== "HISTORY_UNAVAILABLE") return super.refused(error);
    this.cut();
    for (const reader of [...this.readers]) {
      if (reader.wants && reader.received <= this.position) reader.finish(error);
    }
  }

  /**
   * A heartbeat told the session's newest sequence. If the one before is not here yet and nothing moves, it got
   * lost.
   */
  head(sequence) {
    if (this.wire === "open" && this.promised > this.position && this.seen === this.position) {
      this.position = Infinity;
      this.sync();
    }
    this.promised = sequence;
    this.seen = this.position;
  }
}

class TopicFeed extends Feed {
  opens = "watch";
  closes = "unwatch";

  get closing() {
    return { topic: this.key };
  }

  opening() {
    return this.closing;
  }

  /** What a watch begins with is for everybody who joins it, so the watch begins anew. */
  stale(wanting) {
    return wanting.some((reader) => reader.fresh);
  }

  deliver({ event: { topic, ...body } = {} }) {
    for (const message of Object.values(body)) {
      for (const reader of this.readers) reader.take(message);
    }
  }

  cut(reason) {
    super.cut();
    for (const reader of this.readers) reader.interruption ??= reason;
  }

  refused(error) {
    if (error.code === "STREAM_LAGGED") this.cut("STREAM_LAGGED");
    else super.refused(error);
  }
}

/** An async iterator with a bounded queue. */
class Reader {
  #queue = [];
  #waiting = [];
  #finished = false;
  #error = null;
  #signal;
  #abort = () => this.finish(this.#signal.reason);
  #feed;
  /** Until the wire was opened for this reader. */
  fresh = true;

  /** The last step of making one: from here on it may be called back. */
  begin(connection, key, Kind, signal) {
    if (connection.closed || signal?.aborted) return this.finish(connection.closed ?? signal.reason);
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort);
    this.#feed = connection.feeds.get(key) ?? new Kind(connection, key);
    connection.feeds.set(key, this.#feed);
    this.#feed.add(this);
  }

  get length() {
    return this.#queue.length;
  }

  push(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ value: this.handed(item), done: false });
    else this.#queue.push(item);
  }

  clear() {
    this.#queue = [];
  }

  /** No more is coming: what is queued is still handed out, then the error, if any. */
  finish(error = null) {
    if (this.#finished) return;
    this.#finished = true;
    this.#error = error;
    this.#signal?.removeEventListener("abort", this.#abort);
    this.finished(error);
    this.#feed?.remove(this);
    for (const waiting of this.#waiting.splice(0)) this.#end(waiting);
  }

  #end({ resolve, reject }) {
    const error = this.#error;
    this.#error = null;
    if (error) reject(error);
    else resolve({ value: undefined, done: true });
  }

  close() {
    this.clear();
    this.finish();
  }

  next() {
    return new Promise((resolve, reject) => {
      if (this.#queue.length) resolve({ value: this.handed(this.#queue.shift()), done: false });
      else if (this.#finished) this.#end({ resolve, reject });
      else this.#waiting.push({ resolve, reject });
      // The wire was left alone while this reader could take no more.
      if (this.relieved()) this.#feed?.sync();
    });
  }

  async return(value) {
    this.close();
    return { value, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

class SessionReader extends Reader {
  ended = null;
  #buffer;
  #chars = 0;
  #full = false;
  #from;
  #goal = Infinity;
  #subscribed = deferred();
  #synced = deferred();

  constructor(connection, session_id, { after_sequence = 0, snapshot = false, buffer = 256, signal }) {
    super();
    this.session_id = session_id;
    this.sequence = this.received = this.#from = after_sequence;
    this.snapshot = snapshot;
    this.#buffer = buffer;
    this.begin(connection, session_id, SessionFeed, signal);
  }

  get subscribed() {
    return this.#subscribed.promise;
  }

  get synced() {
    return this.#synced.promise;
  }

  get wants() {
    return !this.#full;
  }

  stands({ session_id, high_water_sequence, metadata }) {
    if (!this.fresh) return;
    this.fresh = false;
    const subscribed = { session_id, after_sequence: this.#from, high_water_sequence };
    if (this.snapshot) subscribed.metadata = metadata;
    this.#goal = high_water_sequence;
    this.#subscribed.resolve(subscribed);
    this.#catchUp();
  }

  #catchUp() {
    if (this.sequence >= this.#goal) this.#synced.resolve(this.sequence);
  }

  /** Everything but the very next envelope is a repeat, or comes again when the wire is opened from here. */
  take(delivery, size) {
    if (delivery.sequence !== this.received + 1 || this.#full) return;
    this.received++;
    this.#chars += size;
    this.push({ delivery, size });
    this.#full = this.length >= this.#buffer || this.#chars > READER_CHARS;
  }

  handed({ delivery, size }) {
    this.#chars -= size;
    this.sequence = delivery.sequence;
    this.#catchUp();
    return delivery;
  }

  relieved() {
    if (!this.#full || this.length > this.#buffer / 2 || this.#chars > READER_CHARS / 2) return false;
    this.#full = false;
    return true;
  }

  over(ended) {
    if (this.received < ended.last_sequence) return;
    this.ended = ended;
    this.finish();
  }

  finished(error) {
    this.#subscribed.reject(error ?? closedError());
    // After the end of the session, what is queued still completes the replay.
    if (error || !this.ended) this.#synced.reject(error ?? closedError());
  }

  close() {
    super.close();
    this.#synced.reject(closedError());
  }
}

class TopicReader extends Reader {
  #buffer;
  #onrestart;
  #begun = false;
  #behind = false;

  constructor(connection, topic, { onrestart, buffer = 1_000, signal }) {
    super();
    this.topic = topic;
    this.#buffer = buffer;
    this.#onrestart = onrestart;
    this.begin(connection, topic, TopicFeed, signal);
  }

  get wants() {
    return !this.#behind;
  }

  stands() {
    const reason = this.interruption ?? "RESTARTED";
    // Not from here: what the page does wrong there must not stop the frames.
    if (this.#begun && this.#onrestart) queueMicrotask(() => this.#onrestart(reason));
    this.interruption = undefined;
    this.#begun = true;
    this.fresh = false;
  }

  take(message) {
    if (this.fresh || this.#behind) return;
    if (this.length < this.#buffer) return this.push(message);
    this.clear();
    this.#behind = this.fresh = true;
    this.interruption ??= "STREAM_LAGGED";
  }

  handed(message) {
    return message;
  }

  relieved() {
    const { wants } = this;
    this.#behind = false;
    return !wants;
  }

  finished() {}
}

// --- link: WebSocket -----------------------------------------------------------------------------------------------

class SocketLink {
  transport = "websocket";
  sender = "";
  draining = false;
  heard = 0;
  #socket;

  /** `token` goes into an `authenticate` frame; undefined if the upgrade carries the credential. */
  constructor({ env }, url, protocols, token, on) {
    const socket = (this.#socket = new env.WebSocket(url, protocols));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      const { welcome, authenticated, error, id } = frame;
      if (welcome) {
        this.heartbeat = welcome.heartbeat_ms || 25_000;
        this.maxFrame = welcome.max_frame_bytes || Infinity;
        this.sender = welcome.sender;
        if (token === undefined) on.open();
        else this.post({ id: "0", kind: "authenticate", text: JSON.stringify({ token }) });
      } else if (id === "0") {
        if (error) return on.lost(new MacpError(error));
        this.sender = authenticated.sender;
        on.open();
      } else {
        on.frame(frame, data.length);
      }
    };
    // `error` events say nothing, and a `close` follows each; the package `ws` throws those that nobody takes.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      const message = `the WebSocket was closed with ${code}${reason ? `: ${reason}` : ""}`;
      const error = code === 4401 ? new MacpError({ code: "UNAUTHENTICATED", message }) : lostError(message);
      error.delay = this.delay;
      on.lost(error);
    };
  }

  post({ id, kind, text }) {
    this.#socket.send(`{"id":"${id}","${kind}":${text}}`);
  }

  /** A dead socket may take minutes to close: nothing of it is heard from now on. */
  close() {
    const socket = this.#socket;
    socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }
}

// --- link: requests and event streams ------------------------------------------------------------------------------

/** One request: its successful response, or a MacpError. */
async function fetched(connection, path, { method = "POST", text, headers, signal }) {
  const { env, base } = connection;
  const bearer = await connection.bearer();
  let response;
  try {
    response = await env.fetch(base + path, {
      method,
      body: text,
      signal,
      cache: "no-store",
      headers: {
        ...(text !== undefined && { "Content-Type": "application/json" }),
        ...(bearer !== undefined && { Authorization: `Bearer ${bearer}` }),
        ...headers,
      },
    });
  } catch (error) {
    throw lostError(`${path} cannot be reached: ${error.message}`);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const { status } = response;
  const error = new MacpError(body?.error?.code ? body.error : { code: codeOf(status), message: `${path}: ${status}` });
  error.delay = 1_000 * (Number(response.headers.get("Retry-After")) || 0);
  throw error;
}

const CODES = {
  401: "UNAUTHENTICATED",
  403: "FORBIDDEN",
  413: "PAYLOAD_TOO_LARGE",
  429: "RATE_LIMITED",
  500: "INTERNAL_ERROR",
};

/** What a status means that comes without a code: from a proxy, or from HTTP itself. */
function codeOf(status) {
  return CODES[status] ?? (status > 500 ? "UNAVAILABLE" : "INVALID_REQUEST");
}

async function answer(connection, path, options) {
  const response = await fetched(connection, path, options);
  try {
    return await response.json();
  } catch (error) {
    throw lostError(`the answer to ${path} was cut: ${error.message}`);
  }
}

/** The events of a stream, as objects of their fields. `alive` is called for whatever arrives. */
async function* events(body, alive) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    text += decoder.decode(value, { stream: true });
    const blocks = text.split(/\r?\n\r?\n/);
    text = blocks.pop();
    for (const block of blocks) {
      const event = { size: block.length };
      for (const line of block.split(/\r?\n/)) {
        const [, name, field] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (name) event[name] = name in event ? `${event[name]}\n${field}` : field;
      }
      if (event.data !== undefined) yield event;
    }
  }
}

/** Where each topic is streamed, and what its events are called in a frame. */
const TOPICS = {
  SESSIONS: ["WatchSessions", "session"],
  SIGNALS: ["WatchSignals", "signal"],
  POLICIES: ["WatchPolicies", "policies"],
  MODE_REGISTRY: ["WatchModeRegistry", "mode_registry"],
  ROOTS: ["WatchRoots", "roots"],
};

/** The frame after which a feed asks for its stream again. */
const cut = (message) => ({ error: { code: "UNAVAILABLE", message } });

class HttpLink {
  transport = "sse";
  sender = "";
  draining = false;
  heard = 0;
  heartbeat = 25_000;
  maxFrame = Infinity;
  #connection;
  #on;
  #closed = new AbortController();
  /** Sends that wait for the one before them, by session; and how many requests are on their way. */
  #lanes = new Map();
  #requests = 0;
  #idle = deferred();
  /** Streams by session or topic; those that run, oldest first, and those that wait for their turn. */
  #streams = new Map();
  #running = new Set();
  #waiting = [];

  constructor(connection, on) {
    this.#connection = connection;
    this.#on = on;
    this.#probe().then(on.open, on.lost);
  }

  /** Shows whether the server is there and takes the credential. */
  async #probe() {
    const { signal } = this.#closed;
    // A ticket is good for a stream and for nothing else.
    if (this.#ticketed) await answer(this.#connection, "/.well-known/macp.json", { method: "GET", signal });
    else if (this.#connection.token === undefined) await this.#ask("ListModes", "{}", signal);
    else await this.#ask("ListSessions", '{"page_size":1}', signal);
  }

  #ask(method, text, signal) {
    return answer(this.#connection, `/macp/v1/${method}`, { text, signal });
  }

  get #ticketed() {
    return this.#connection.token === undefined && this.#connection.options.ticket;
  }

  /** Resolves when no request is on its way. */
  idle() {
    if (!this.#requests) this.#idle.resolve();
    return this.#idle.promise;
  }

  close() {
    this.#closed.abort();
    for (const stream of this.#streams.values()) stream.control.abort();
    this.#streams.clear();
    this.#running.clear();
    this.#waiting = [];
    this.#connection.env.clearTimeout(this.#turn);
    this.#idle.resolve();
  }

  #emit(frame, size) {
    if (!this.#closed.signal.aborted) this.#on.frame(frame, size);
  }

  #fault(error) {
    if (!this.#closed.signal.aborted) this.#on.lost(error);
  }

  post({ id, kind, text, lane }) {
    const body = JSON.parse(text);
    if (kind === "send") {
      const before = this.#lanes.get(lane);
      const job = () => this.#request(id, "Send", text, (answer) => answer);
      const done = before && lane ? before.then(job) : job();
      this.#lanes.set(lane, done);
      done.then(() => this.#lanes.get(lane) === done && this.#lanes.delete(lane));
    } else if (kind === "call") {
      const { method, request } = body;
      const frame = (response) => ({ result: { method, response } });
      this.#request(id, encodeURIComponent(method), JSON.stringify(request), frame);
    } else if (kind === "ping") {
      this.#probe().then(
        () => this.#emit({ id, pong: {} }),
        (error) => this.#fault(error),
      );
    } else if (kind === "authenticate") {
      queueMicrotask(() => this.#emit({ id, authenticated: { sender: "" } }));
    } else if (kind === "subscribe" || kind === "watch") {
      const stream = { id, ...body, control: new AbortController() };
      this.#streams.set(body.session_id ?? body.topic, stream);
      this.#waiting.push(stream);
      this.#pump();
    } else {
      this.#end(this.#streams.get(body.session_id ?? body.topic));
      queueMicrotask(() => this.#emit({ id, [`${kind}${kind === "unwatch" ? "ed" : "d"}`]: body }));
    }
  }

  async #request(id, method, text, frame) {
    const { signal } = this.#closed;
    if (signal.aborted) return;
    this.#requests++;
    const late = this.#connection.env.setTimeout(() => this.#fault(lostError(`${method} was not answered`)), SILENCE);
    try {
      if (this.#ticketed) {
        const message = "without WebSocket a ticket is good for following sessions, and a token needed for all else";
        throw new MacpError({ code: "UNAUTHENTICATED", message });
      }
      this.#emit({ id, ...frame(await this.#ask(method, text, signal)) });
    } catch (error) {
      if (error.code === "CONNECTION_LOST") this.#fault(error);
      else this.#emit({ id, error });
    } finally {
      this.#connection.env.clearTimeout(late);
      if (!--this.#requests) this.#idle.resolve();
    }
  }

  // - streams -

  #turn;

  /**
   * Starts what may run. If others wait, the oldest stream has had its turn soon; signals are not kept, so they
   * stay.
   */
  #pump() {
    while (this.#waiting.length && this.#running.size < STREAMS) {
      const stream = this.#waiting.shift();
      this.#running.add(stream);
      this.#run(stream);
    }
    if (!this.#waiting.length || this.#turn) return;
    this.#turn = this.#connection.env.setTimeout(() => {
      this.#turn = undefined;
      const oldest = [...this.#running].find(({ topic }) => topic !== "SIGNALS");
      if (oldest && this.#waiting.length) {
        this.#end(oldest);
        this.#emit({ id: oldest.id, again: true });
      }
      this.#pump();
    }, TURN);
  }

  #end(stream) {
    if (!stream) return;
    stream.control.abort();
    const key = stream.session_id ?? stream.topic;
    if (this.#streams.get(key) === stream) this.#streams.delete(key);
    this.#running.delete(stream);
    this.#waiting = this.#waiting.filter((one) => one !== stream);
    this.#pump();
  }

  async #run(stream) {
    const { signal } = stream.control;
    const tell = (frame, size) => signal.aborted || this.#emit({ id: stream.id, ...frame }, size);
    try {
      const last = await (stream.topic ? this.#watch(stream, tell) : this.#follow(stream, tell));
      if (signal.aborted) return;
      this.#end(stream);
      this.#emit({ id: stream.id, ...last });
    } catch (error) {
      if (signal.aborted) return;
      this.#end(stream);
      // The stream was cut; whether the server is gone is for the next request to find out.
      const known = error instanceof MacpError && error.code !== "CONNECTION_LOST";
      if (error.code === "UNAUTHENTICATED") this.#fault(error);
      else this.#emit({ id: stream.id, ...(known ? { error } : cut(error.message)) });
    }
  }

  #cut(stream, message) {
    this.#end(stream);
    this.#emit({ id: stream.id, ...cut(message) });
  }

  /** Opens a stream and yields its events until it ends. `opened` is told the response's head. */
  async *#events(stream, path, options, opened) {
    const { env } = this.#connection;
    let watchdog;
    const alive = () => {
      env.clearTimeout(watchdog);
      watchdog = env.setTimeout(() => this.#cut(stream, "nothing came any more"), SILENCE);
    };
    alive();
    try {
      const headers = { Accept: "text/event-stream" };
      const response = await fetched(this.#connection, path, { ...options, headers, signal: stream.control.signal });
      opened(response.headers);
      for await (const event of events(response.body, alive)) {
        const data = JSON.parse(event.data);
        if (event.event === "error") throw new MacpError(data.error);
        yield { ...event, data };
      }
    } finally {
      env.clearTimeout(watchdog);
    }
  }

  async #watch(stream, tell) {
    const { topic } = stream;
    const [method, field] = TOPICS[topic] ?? [];
    if (!method) return { error: { code: "INVALID_REQUEST", message: `no such topic: ${topic}` } };
    const opened = () => tell({ watching: { topic } });
    for await (const { data, size } of this.#events(stream, `/macp/v1/${method}`, { text: "{}" }, opened)) {
      tell({ event: { topic, [field]: data } }, size);
    }
    return cut("the stream was cut");
  }

  /** The frame with which the subscription is over. */
  async #follow(stream, tell) {
    const {
      session_id,
      after_sequence,
      control: { signal },
    } = stream;
    const path = `/macp/v1/sessions/${encodeURIComponent(session_id)}`;
    const subscribed = { session_id, after_sequence };
    if (stream.snapshot && !this.#ticketed) {
      Object.assign(subscribed, await answer(this.#connection, path, { method: "GET", signal }));
    }
    const ticket = this.#ticketed ? `&ticket=${encodeURIComponent(await this.#connection.options.ticket())}` : "";
    const opened = (headers) => {
      subscribed.high_water_sequence = Number(headers.get("MACP-High-Water-Sequence"));
      tell({ subscribed });
    };
    const events = this.#events(stream, `${path}/events?after=${after_sequence}${ticket}`, { method: "GET" }, opened);
    for await (const { id, event, data, size } of events) {
      if (event === "ended") return { ended: data };
      tell({ envelope: { session_id, sequence: parseInt(id, 10), envelope: data.envelope } }, size);
    }
    return cut("the stream was cut");
  }
}
