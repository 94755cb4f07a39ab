// One guided room: a session, its scripted agents, each with a connection of its own, and what the viewer sees of it.
// It holds no rule of the protocol: what may be said, and what counts, is the gateway's answer.

import { Cell } from "../core/cell.js";
import { announce } from "../core/dom.js";
import { refusal, shortName, stateName, uuid } from "../core/format.js";
import { cableOf, connect, send } from "../core/gateway.js";

const BEAT_MS = 1500;
const TTL_MS = 900_000;
/** Longest wait for the viewer in a room that began by itself. */
const PATIENCE_MS = 25_000;
const CAST = ["agent://ada", "agent://ben", "agent://cleo", "agent://dan"];

export class Room {
  /** Accepted envelopes in order: `{sequence, envelope, latency, late}`. */
  history = new Cell([]);
  /** `starting`, or the state of the session in lower case. */
  state = new Cell("starting");
  /** What is going on, in one sentence. */
  narration = new Cell("");
  /** What the viewer may do now, or null: `{title, text, choices, refused, deadline}`. */
  turn = new Cell(null);
  paused = new Cell(false);
  /** Whether the viewer's connection has been cut: `{cut, since}`. */
  cable = new Cell({ out: false, since: 0 });
  /** Lines between the messages: `{after, text}`. */
  marks = new Cell([]);
  /** What went wrong with the room itself. */
  fault = new Cell(null);

  session_id = uuid();
  #end = new AbortController();
  #clients = new Map();
  #sent = new Map();
  #cutBetween = null;
  #step = null;

  /** Cells: `pace`, how many times faster than usual; `playMine`, whether the page plays the viewer's part. */
  constructor({ script, policy, me, pace, playMine, patient = true }) {
    Object.assign(this, { script, mode: script.mode, policy, me, pace, playMine, patient });
    const others = CAST.filter((name) => name !== me);
    [this.ada, this.ben, this.cleo] = others;
    this.participants = [me, ...others.slice(0, 3)];
  }

  /** Begins; everything after that is told by the cells. */
  async open() {
    try {
      const start = {
        intent: this.script.intent,
        participants: this.participants,
        mode_version: "1.0.0",
        configuration_version: "1",
        policy_version: this.policy,
        ttl_ms: TTL_MS,
      };
      this.narrate(`${shortName(this.me)} opens the session, for four.`);
      // Everybody connects before the first message, so that its time is not that of a handshake.
      for (const one of this.participants) this.#client(one);
      await Promise.race([this.#client(this.me).ready(), this.#wait(BEAT_MS)]);
      const ack = await this.#send(this.me, "SessionStart", start);
      if (!ack.ok) throw Object.assign(new Error(ack.error.message), { code: ack.error.code });
      this.#follow();
      await this.script.play(this);
    } catch (error) {
      if (this.#end.signal.aborted || error === OVER) return;
      this.fault.value = refusal(error);
    } finally {
      this.turn.value = null;
    }
  }

  close() {
    this.#end.abort();
    for (const client of this.#clients.values()) client.close();
    this.#step?.();
  }

  // --- for the scripts --------------------------------------------------------------------------------------------

  narrate(text) {
    this.narration.value = text;
    announce(text);
  }

  /** Someone says something, one beat later. */
  async say(who, message_type, payload, narration, beats = 1) {
    await this.#beat(beats);
    if (narration) this.narrate(narration);
    const ack = await this.#send(who, message_type, payload);
    if (!ack.ok) {
      if (this.over) throw OVER;
      throw Object.assign(new Error(`${shortName(who)}: ${message_type} was refused: ${ack.error.message}`), {
        code: ack.error.code,
      });
    }
    return ack;
  }

  /**
   * The viewer's turn. Each choice is `{label, tone, message_type, payload}`; the chosen one is sent as the viewer, and
   * if it is refused the turn goes on with what the gateway said. Gives the choice that was accepted.
   */
  async ask({ title, text, choices, fallback = 0 }) {
    let refused = null;
    for (;;) {
      const choice = await this.#choose({ title, text, choices, refused }, fallback);
      if (this.cable.value.out) this.narrate("Your message waits until you are connected again.");
      const ack = await this.#send(this.me, choice.message_type, choice.payload);
      if (ack.ok) return choice;
      if (this.over) throw OVER;
      refused = { choice, ...refusal(ack.error) };
      // The page does not repeat on its own what was refused.
      fallback = choices.findIndex((other) => other !== choice && other.tone !== choice.tone);
      this.narrate(`Refused: ${refused.code}. The session stays open.`);
    }
  }

  /** What the viewer commits, in the words of the session. */
  commitment(action, outcome_positive, reason) {
    return {
      commitment_id: uuid(),
      action,
      authority_scope: this.script.scope,
      reason,
      mode_version: "1.0.0",
      configuration_version: "1",
      policy_version: this.policy,
      outcome_positive,
    };
  }

  get over() {
    return ["resolved", "cancelled", "expired"].includes(this.state.value);
  }

  // --- for the view -----------------------------------------------------------------------------------------------

  /** Lets the next message come while the room is paused. */
  step() {
    this.paused.value = true;
    this.#step?.();
  }

  /** Pulls the viewer's cable or puts it back. The agents go on. */
  toggleCable() {
    const cable = cableOf(this.#client(this.me));
    const last = this.history.value.at(-1)?.sequence ?? 0;
    if (cable.plugged) {
      cable.pull();
      this.#cutBetween = [performance.now(), Infinity];
      this.cable.value = { out: true, since: last };
      this.#mark(last, `Your connection is cut after ${last}. The agents go on without you.`);
    } else {
      this.#cutBetween[1] = performance.now();
      cable.plug();
      this.#client(this.me).reconnect();
      this.cable.value = { out: false, since: last };
      this.#mark(last, `Connected again: resumed behind ${last}.`);
    }
    announce(this.marks.value.at(-1).text);
  }

  /** Sends one more message as the viewer, such as one that comes too late. */
  extra({ message_type, payload }) {
    return this.#send(this.me, message_type, payload);
  }

  // --- inside -----------------------------------------------------------------------------------------------------

  #client(who) {
    if (!this.#clients.has(who)) this.#clients.set(who, connect(who));
    return this.#clients.get(who);
  }

  #send(who, message_type, payload) {
    const message_id = uuid();
    this.#sent.set(message_id, performance.now());
    return send(
      this.#client(who),
      who,
      {
        mode: this.mode,
        session_id: this.session_id,
        message_id,
        message_type,
        sender: who,
        timestamp: new Date().toISOString(),
        payload,
      },
      { signal: this.#end.signal },
    );
  }

  /** The viewer's subscription; the client keeps it alive over lost connections. */
  async #follow() {
    const subscription = this.#client(this.me).subscribe(this.session_id);
    this.#end.signal.addEventListener("abort", () => subscription.close());
    this.state.value = "open";
    try {
      for await (const { sequence, envelope } of subscription) {
        const sent = this.#sent.get(envelope.message_id);
        const late = sent !== undefined && this.#cutBetween && sent > this.#cutBetween[0] && sent < this.#cutBetween[1];
        const latency = sent === undefined || late ? undefined : performance.now() - sent;
        this.history.value = [...this.history.value, { sequence, envelope, latency, late }];
        if (envelope.message_type === "Commitment") {
          this.state.value = "resolved";
          this.narrate(`${shortName(envelope.sender)} has bound the outcome. Nothing more is accepted.`);
        }
      }
      if (subscription.ended) this.#finish(stateName(subscription.ended.state));
    } catch (error) {
      if (!this.#end.signal.aborted) this.fault.value = refusal(error);
    }
  }

  #finish(state) {
    this.state.value = state;
    if (state !== "resolved") {
      this.narrate(`The session was ${state}.`);
      this.#end.abort();
    }
  }

  #mark(after, text) {
    this.marks.value = [...this.marks.value, { after, text }];
  }

  /** Waits one beat; while the room is paused, until it goes on or is stepped. */
  async #beat(beats) {
    const { signal } = this.#end;
    let stepped = await this.#wait((BEAT_MS * beats) / this.pace.value);
    while (this.paused.value && !stepped && !signal.aborted) {
      stepped = await new Promise((resolve) => {
        const stop = this.paused.listen(() => (stop(), resolve(false)));
        this.#step = () => (stop(), resolve(true));
        signal.addEventListener("abort", () => (stop(), resolve(true)), { once: true });
      });
    }
    this.#step = null;
    if (signal.aborted || this.over) throw OVER;
  }

  /** Whether it was stepped before its time. */
  #wait(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ms);
      this.#step = () => (clearTimeout(timer), resolve(true));
      this.#end.signal.addEventListener("abort", this.#step, { once: true });
    });
  }

  /** Shows the choices and waits for one: the viewer's, or the page's own if it plays their part. */
  async #choose(turn, fallback) {
    const { signal } = this.#end;
    const stops = [];
    try {
      return await new Promise((resolve, reject) => {
        let timer;
        const plan = () => {
          clearTimeout(timer);
          const wait = this.playMine.value ? (BEAT_MS * 1.6) / this.pace.value : this.patient ? undefined : PATIENCE_MS;
          const deadline =
            wait === undefined || this.paused.value
              ? null
              : { at: Date.now() + wait, ms: wait, choice: turn.choices[Math.max(fallback, 0)] };
          if (deadline) timer = setTimeout(() => resolve(deadline.choice), wait);
          this.turn.value = {
            ...turn,
            deadline,
            choose: resolve,
            hold: () => {
              this.patient = true;
              plan();
            },
          };
        };
        plan();
        stops.push(
          () => clearTimeout(timer),
          this.playMine.listen(plan),
          this.paused.listen(plan),
          this.state.listen(() => this.over && reject(OVER)),
        );
        signal.addEventListener("abort", () => reject(OVER), { once: true });
      });
    } finally {
      for (const stop of stops) stop();
      this.turn.value = null;
    }
  }
}

/** Thrown through a script whose session has ended. */
const OVER = new Error("the session is over");
