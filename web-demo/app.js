// The page: three agents on three WebSockets, and the accepted history as one of them sees it.
const MODE = "macp.mode.decision.v1";
const AGENTS = ["agent://alice", "agent://bob", "agent://carol"];
const base64url = (text) => btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const $ = (id) => document.getElementById(id);

/** One agent's socket: requests are answered by frames with the same id. */
class Agent {
  constructor(name) {
    this.name = name;
    this.waiting = new Map();
    this.onframe = () => {};
    this.next = 0;
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    // The demo accepts any bearer as its own sender. A browser cannot set headers, so it goes as a subprotocol.
    const socket = new WebSocket(`${scheme}://${location.host}/macp/v1/ws`,
      ["macp.v1.json", `macp.bearer.${base64url(this.name)}`]);
    this.socket = socket;
    return new Promise((resolve, reject) => {
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        if (frame.welcome) resolve(frame.welcome);
        const waiting = frame.id && this.waiting.get(frame.id);
        if (waiting) { this.waiting.delete(frame.id); waiting(frame); }
        this.onframe(frame);
      };
      socket.onclose = ({ code }) => {
        for (const waiting of this.waiting.values()) waiting({ closed: code });
        this.waiting.clear();
        reject(new Error(`connection closed (${code})`));
        this.onframe({ closed: code });
      };
    });
  }

  request(body) {
    const id = String(++this.next);
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.socket.send(JSON.stringify({ id, ...body }));
    });
  }

  async send(message_type, payload) {
    const envelope = { macp_version: "1.0", mode: MODE, message_type, message_id: crypto.randomUUID(),
      session_id: session, sender: this.name, timestamp: new Date().toISOString(), payload };
    const { ack } = await this.request({ send: { envelope } });
    show(this.name, message_type, ack);
    return ack;
  }
}

const [alice, bob, carol] = AGENTS.map((name) => new Agent(name));
let session = "";
let seen = 0;
let cutting = false;

function show(agent, type, ack) {
  const line = $("ack");
  if (!ack) { line.textContent = "The connection was lost before the answer."; line.className = "refused"; return; }
  line.className = ack.ok ? "" : "refused";
  line.textContent = ack.ok ? `${agent}: ${type} accepted, session is ${ack.session_state.replace("SESSION_STATE_", "")}`
    : `${agent}: ${type} refused with ${ack.error.code}: ${ack.error.message}`;
}

function enable(...ids) {
  for (const button of document.querySelectorAll("#steps button")) button.disabled = !ids.includes(button.id);
}

/** Adds an accepted envelope. Text only: what agents send is never taken for markup. */
function add({ sequence, envelope }) {
  seen = sequence;
  const item = document.createElement("li");
  const number = document.createElement("span");
  number.className = "number";
  number.textContent = sequence;
  const body = document.createElement("div");
  const type = document.createElement("strong");
  type.textContent = envelope.message_type;
  const payload = document.createElement("code");
  const { mode_version, configuration_version, policy_version, ...told } = envelope.payload ?? {};
  payload.textContent = Object.entries(told).filter(([, value]) => value !== "" && value !== 0 && String(value) !== "")
    .map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(" · ");
  body.append(type, envelope.sender, payload);
  item.append(number, body);
  $("history").append(item);
}

/** carol watches the session; after a cut she resumes behind the last number that she saw. */
carol.onframe = async (frame) => {
  if (frame.envelope) add(frame.envelope);
  if (frame.ended) $("session").textContent = `${session}: ${frame.ended.state.replace("SESSION_STATE_", "")}`;
  if (frame.closed && !cutting) $("connection").textContent = "Disconnected. Reload the page to start again.";
};

const watch = () => carol.request({ subscribe: { session_id: session, after_sequence: seen } });

$("start").onclick = async () => {
  session = crypto.randomUUID();
  seen = 0;
  $("history").replaceChildren();
  $("session").textContent = session;
  const ack = await alice.send("SessionStart", { intent: "where to eat", participants: AGENTS, mode_version: "1.0.0",
    configuration_version: "1", ttl_ms: 600000 });
  if (ack?.ok) { await watch(); $("cut").disabled = false; enable("propose"); }
};
$("propose").onclick = async () => {
  await alice.send("Proposal", { proposal_id: "ramen", option: "ramen", rationale: "close by" });
  await bob.send("Proposal", { proposal_id: "pizza", option: "pizza", rationale: "everyone likes it" });
  enable("evaluate", "vote");
};
$("evaluate").onclick = async () => {
  await carol.send("Evaluation", { proposal_id: "ramen", recommendation: "APPROVE", confidence: 0.9, reason: "warm" });
  await carol.send("Objection", { proposal_id: "pizza", reason: "again?", severity: "low" });
  enable("vote");
};
$("vote").onclick = async () => {
  await Promise.all([alice, bob, carol].map((agent) =>
    agent.send("Vote", { proposal_id: "ramen", vote: agent === bob ? "ABSTAIN" : "APPROVE" })));
  enable("commit");
};
$("commit").onclick = async () => {
  await alice.send("Commitment", { commitment_id: crypto.randomUUID(), action: "ramen.selected",
    authority_scope: "lunch", reason: "two of three approve", mode_version: "1.0.0", configuration_version: "1",
    outcome_positive: true });
  enable("late", "start");
};
$("late").onclick = () => bob.send("Vote", { proposal_id: "pizza", vote: "APPROVE" });
$("cut").onclick = async () => {
  cutting = true;
  carol.socket.close();
  $("connection").textContent = `carol is offline after number ${seen}`;
  await new Promise((resolve) => carol.socket.addEventListener("close", resolve));
  await carol.connect();
  cutting = false;
  await watch();
  $("connection").textContent = `carol is back and resumed after number ${seen}`;
};

try {
  await Promise.all([alice, bob, carol].map((agent) => agent.connect()));
  $("connection").textContent = "Connected: alice, bob and carol.";
  enable("start");
} catch (error) {
  $("connection").textContent = `Not connected: ${error.message}. This page needs a gateway in demo mode.`;
}
