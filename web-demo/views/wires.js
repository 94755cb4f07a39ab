// One session seen side by side over WebSocket, server-sent events and gRPC-Web, with the time that each takes.

import { fill, h, icon, svg } from "../core/dom.js";
import { duration, plural, refusal, shortId, shortName, uuid } from "../core/format.js";
import { clientOf, identities, send, sender, token } from "../core/gateway.js";
import { Lane, LANES } from "../parts/lane.js";
import { codeButton } from "../parts/code.js";
import { refusalBox } from "../parts/refusal.js";

const MODE = "ext.multi_round.v1";
const BURST = 40;
const SHOWN = 60;
const KINDS = { live: "good", cut: "bad", refused: "bad", unavailable: "bad" };
/** Drawing waits for so long, so that it takes no time from what is being measured. */
const DRAW_EVERY_MS = 150;

export function show(root, [id]) {
  let session = null;
  const stage = h("div");
  fill(
    root,
    h(
      "header",
      { class: "page-head" },
      h(
        "div",
        {},
        h("h1", {}, "Side by side"),
        h(
          "p",
          { class: "lead" },
          "The same session over three bindings of the protocol. Cut one, and see it resume where it was.",
        ),
      ),
    ),
    stage,
  );
  const close = () => {
    session?.close();
    session = null;
  };
  const open = async (session_id, own) => {
    close();
    session = new Wires(stage, session_id, own);
  };
  if (id) open(id, false);
  else
    fill(
      stage,
      intro(async (button, problem) => {
        button.disabled = true;
        try {
          const started = await begin();
          if (root.isConnected && stage.isConnected) open(started, true);
        } catch (error) {
          button.disabled = false;
          fill(problem, refusalBox(refusal(error)));
        }
      }),
    );
  return close;
}

function intro(start) {
  const problem = h("div");
  const button = h(
    "button",
    { type: "button", class: "button primary", onclick: () => start(button, problem) },
    icon("play"),
    "Start a session to watch",
  );
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, "Nothing to compare yet"),
    h(
      "p",
      {},
      "Start a session here and send messages into it, or open one of the ",
      h("a", { href: "#/sessions" }, "sessions"),
      " and choose “Side by side”.",
    ),
    button,
    problem,
  );
}

/** A session for numbers: nobody else ever says the same, so it stays open. */
async function begin() {
  const session_id = uuid();
  const ack = await send(clientOf(), token.value, {
    mode: MODE,
    session_id,
    message_type: "SessionStart",
    payload: {
      intent: "Side by side",
      participants: [sender.value, "agent://nobody"],
      mode_version: "1.0.0",
      configuration_version: "1",
      ttl_ms: 900_000,
    },
  });
  if (!ack.ok) throw ack.error;
  return session_id;
}

class Wires {
  #sent = new Map();
  #first = new Map();
  #next = 1;
  #waiting = new Set();

  constructor(stage, session_id, own) {
    this.session_id = session_id;
    this.problem = h("div");
    this.chart = h("div", { class: "strip", tabIndex: 0, role: "region", "aria-label": "Times" });
    this.lanes = LANES.map(
      (kind) =>
        new Lane({
          kind,
          session_id,
          bearer: token.value,
          arrived: (lane, delivery) => this.#arrived(lane, delivery),
          changed: (lane) => this.#draw(lane),
        }),
    );
    for (const lane of this.lanes) lane.view = this.#card(lane);
    const number = (count, label) =>
      h(
        "button",
        { type: "button", class: `button ${count === 1 ? "primary" : ""}`, onclick: () => this.#send(count) },
        icon("send"),
        label,
      );
    fill(
      stage,
      h(
        "div",
        { class: "row wires-bar" },
        own ? [number(1, "Send a message"), number(BURST, `Send ${BURST} at once`)] : null,
        h(
          "span",
          { class: "quiet" },
          "Session ",
          h("a", { href: `#/sessions/${encodeURIComponent(session_id)}` }, h("code", {}, shortId(session_id))),
        ),
        identities.value === "development" && h("span", { class: "quiet" }, `as ${shortName(sender.value)}`),
      ),
      this.problem,
      this.chart,
      h(
        "div",
        { class: "lanes" },
        this.lanes.map((lane) => lane.view.element),
      ),
      h(
        "p",
        { class: "quiet" },
        own
          ? "Times are from sending in this page to arriving in this page; in a burst, messages also wait for the page itself."
          : "Times are from the first arrival on any of the three.",
      ),
    );
    for (const lane of this.lanes) lane.start();
    // The first messages find all three connected, so that their times are not those of handshakes.
    if (own) Promise.all(this.lanes.map(({ ready }) => ready)).then(() => this.#send(5, 220));
  }

  close() {
    for (const lane of this.lanes) lane.close();
  }

  async #send(count, gapMs = 0) {
    try {
      const acks = [];
      for (let index = 0; index < count; index += 1) {
        const message_id = uuid();
        this.#sent.set(message_id, performance.now());
        acks.push(
          send(clientOf(), token.value, {
            mode: MODE,
            session_id: this.session_id,
            message_id,
            message_type: "Contribute",
            payload: { value: String(this.#next++) },
          }),
        );
        if (gapMs) await new Promise((resolve) => setTimeout(resolve, gapMs));
      }
      const refused = (await Promise.all(acks)).find((ack) => !ack.ok);
      fill(this.problem, refused && refusalBox(refusal(refused.error)));
    } catch (error) {
      fill(this.problem, refusalBox(refusal(error)));
    }
  }

  #arrived(lane, { envelope }) {
    const now = performance.now();
    const sent = this.#sent.get(envelope.message_id);
    if (sent !== undefined) return now - sent;
    // What somebody else sent: how much later than the first of the three. What was there before has no time at all.
    if (!lane.live) return undefined;
    if (!this.#first.has(envelope.message_id)) this.#first.set(envelope.message_id, now);
    return now - this.#first.get(envelope.message_id);
  }

  #card(lane) {
    const view = {
      status: h("span", { class: "chip" }),
      count: h("span", { class: "quiet" }),
      median: h("strong", { class: "median" }),
      list: h("ol", { class: "wire-list" }),
      cut: h("button", { type: "button", class: "button", onclick: () => lane.toggle() }),
      drawn: 0,
      problem: h("div"),
      note: h("p", { class: "quiet" }),
    };
    const kind = lane.kind;
    view.element = h(
      "section",
      { class: "card lane", "data-lane": kind.id, "aria-labelledby": `lane-${kind.id}` },
      h(
        "header",
        { class: "card-head" },
        h("h2", { id: `lane-${kind.id}` }, kind.title),
        view.status,
        h("span", { class: "grow" }),
        codeButton(
          () => ({
            kind: "subscribe",
            bearer: token.value,
            session_id: this.session_id,
            after_sequence: lane.sequence,
          }),
          `Following over ${kind.title}`,
        ),
      ),
      h("p", { class: "quiet" }, kind.about),
      h(
        "div",
        { class: "lane-figures" },
        view.median,
        h("span", { class: "quiet" }, "median"),
        h("span", { class: "grow" }),
        view.count,
      ),
      view.problem,
      h(
        "div",
        { class: "wire-box", tabIndex: 0, role: "region", "aria-label": `Messages over ${kind.title}` },
        view.list,
      ),
      h("div", { class: "row" }, view.cut, view.note),
    );
    return view;
  }

  #draw(lane) {
    if (this.#waiting.has(lane)) return;
    this.#waiting.add(lane);
    if (this.#waiting.size > 1) return;
    setTimeout(() => {
      const lanes = [...this.#waiting];
      this.#waiting.clear();
      for (const one of lanes) this.#paint(one);
      this.#drawChart();
    }, DRAW_EVERY_MS);
  }

  #paint(lane) {
    const { view } = lane;
    view.status.textContent = lane.state;
    view.status.className = `chip ${KINDS[lane.state] ?? ""}`;
    view.count.textContent = plural(lane.deliveries.length, "message");
    view.median.textContent = duration(median(lane.deliveries.map(({ latency }) => latency).filter(Number.isFinite)));
    fill(view.cut, icon("plug"), lane.plugged ? "Cut" : "Connect again");
    view.cut.disabled = ["ended", "refused", "unavailable"].includes(lane.state);
    view.note.textContent = lane.note;
    fill(
      view.problem,
      lane.problem &&
        refusalBox(lane.problem, { title: lane.state === "unavailable" ? "Not to be had here" : "The stream ended" }),
    );
    for (; view.drawn < lane.deliveries.length; view.drawn += 1) {
      const { sequence, envelope, latency, resumed } = lane.deliveries[view.drawn];
      view.list.prepend(
        h(
          "li",
          { class: resumed ? "resumed" : "" },
          h("span", { class: "number" }, String(sequence)),
          h("span", {}, envelope.message_type, envelope.payload?.value !== undefined && ` ${envelope.payload.value}`),
          h(
            "span",
            { class: "quiet" },
            resumed ? "caught up" : Number.isFinite(latency) ? duration(latency) : "replayed",
          ),
        ),
      );
      while (view.list.childElementCount > SHOWN) view.list.lastElementChild.remove();
    }
  }

  /** Every measured arrival as a dot, one row for each binding. */
  #drawChart() {
    const times = this.lanes.map((lane) =>
      lane.deliveries
        .filter(({ latency, resumed }) => Number.isFinite(latency) && !resumed)
        .slice(-100)
        .map(({ latency }) => latency),
    );
    const all = times.flat();
    if (all.length === 0) return;
    const top = Math.max(4, ...all) * 1.08;
    const width = 960,
      left = 96,
      row = 26,
      height = row * times.length + 26;
    const x = (ms) => left + (ms / top) * (width - left - 44);
    const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => share * top);
    const words = this.lanes.map((lane, index) => `${lane.kind.title}: ${duration(median(times[index]))}`).join(", ");
    fill(
      this.chart,
      svg(
        "svg",
        { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Median times. ${words}` },
        ticks.map((ms) => [
          svg("line", { x1: x(ms), x2: x(ms), y1: 4, y2: height - 20, class: "grid" }),
          svg("text", { x: x(ms), y: height - 5, class: "tick" }, duration(ms)),
        ]),
        this.lanes.map((lane, index) => [
          svg("text", { x: 0, y: row * index + 22, class: "lane-name" }, lane.kind.title),
          times[index].map((ms) =>
            svg("circle", { cx: x(ms), cy: row * index + 17, r: 4.5, class: "dot", "data-lane": lane.kind.id }),
          ),
        ]),
      ),
    );
  }
}

function median(values) {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
