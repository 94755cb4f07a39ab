// The gateway as this page uses it: who the page acts as, one client for each sender, and a log of what was asked.
// The only module that knows the client library.

import { accepted, MacpClient, MacpError } from "/client/macp.js";
import { Cable } from "./cable.js";
import { Cell } from "./cell.js";
import { uuid } from "./format.js";

export { accepted, MacpError };

/** Where the gateway is, and what it said of itself. */
export const base = location.origin;

/**
 * `development`: any bearer is accepted as its own sender, so the page may speak for several agents. `tokens`: it needs
 * a credential. `unknown` until the gateway has answered.
 */
export const identities = new Cell("unknown");

// --- who the page acts as --------------------------------------------------------------------------------------------

const KEPT = "macp.identity";

/** The bearer token of this tab, kept as long as the tab. With development identities it is the sender's name. */
export const token = new Cell(kept() ?? "agent://robin");
/** The sender that this token stands for; with development identities the token itself. */
export const sender = new Cell(token.value);

function kept() {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

/** Acts as somebody else from now on, in this tab only. */
export function actAs(next) {
  try {
    sessionStorage.setItem(KEPT, next);
  } catch {
    // A browser without storage forgets on reload; nothing else is lost.
  }
  const before = clients.get(token.value);
  if (before && next !== token.value) {
    clients.delete(token.value);
    before.close();
  }
  sender.value = identities.value === "development" ? next : "";
  token.value = next;
}

/** Finds out which kind of identities the gateway has: a name that nobody was given is accepted, or it is not. */
export async function probe() {
  try {
    const { status } = await fetch(`${base}/macp/v1/ListPolicies`, {
      method: "POST",
      headers: { authorization: `Bearer agent://page-${uuid().slice(0, 8)}`, "content-type": "application/json" },
      body: "{}",
    });
    if (status === 200) identities.value = "development";
    else if (status === 401) {
      // Nobody has given this page a token yet, and the name it starts with is none.
      if (kept() === null) token.value = "";
      sender.value = "";
      identities.value = "tokens";
    }
  } catch {
    // Not reachable; asked again when it is.
  }
  return identities.value;
}

// --- clients ---------------------------------------------------------------------------------------------------------

const clients = new Map();
const cables = new WeakMap();

/** The connection of the tab's own identity, for the header. */
export const link = new Cell({
  state: "connecting",
  transport: null,
  sender: "",
  attempt: 0,
  retryInMs: null,
  error: null,
});

/** A client of its own, which its owner closes. */
export function connect(bearer, options = {}) {
  const cable = new Cable();
  const client = new MacpClient({ url: base, token: bearer, environment: cable.environment, ...options });
  cables.set(client, cable);
  return client;
}

/** The client of a sender that everything but the room shares; made when it is first needed. */
export function clientOf(bearer = token.value) {
  let client = clients.get(bearer);
  if (!client || client.status.state === "closed") {
    client = connect(bearer);
    clients.set(bearer, client);
    client.addEventListener("status", ({ detail }) => {
      if (bearer !== token.value) return;
      if (detail.sender) sender.value = detail.sender;
      link.value = detail;
    });
    if (bearer === token.value) link.value = client.status;
  }
  return client;
}

/** The cable of a client, to pull it out. */
export const cableOf = (client) => cables.get(client);

// --- what was asked --------------------------------------------------------------------------------------------------

const KEEP = 200;
/** The newest first: `{id, at, bearer, kind, envelope | method, request, answer, error, ms}`. */
export const log = new Cell([]);

function note(entry) {
  const noted = { id: uuid(), at: Date.now(), ...entry };
  log.value = [noted, ...log.value].slice(0, KEEP);
  return noted;
}

/** Sends an envelope and gives its Ack, refused or not. */
export async function send(client, bearer, envelope, options) {
  const began = performance.now();
  const whole = { macp_version: "1.0", message_id: uuid(), ...envelope };
  try {
    const ack = await client.send(whole, options);
    note({ bearer, kind: "send", envelope: whole, answer: ack, ms: performance.now() - began });
    return ack;
  } catch (error) {
    if (error.name !== "AbortError")
      note({ bearer, kind: "send", envelope: whole, error, ms: performance.now() - began });
    throw error;
  }
}

/** Calls a unary RPC; throws what the gateway refuses. */
export async function call(method, request = {}, bearer = token.value) {
  const began = performance.now();
  try {
    const answer = await clientOf(bearer).call(method, request);
    note({ bearer, kind: "call", method, request, answer, ms: performance.now() - began });
    return answer;
  } catch (error) {
    note({ bearer, kind: "call", method, request, error, ms: performance.now() - began });
    throw error;
  }
}

// --- what the gateway has --------------------------------------------------------------------------------------------

let manifest;
/** The addresses that the gateway publishes, by transport; asked once. */
export async function endpoints() {
  manifest ??= fetch(`${base}/.well-known/macp.json`)
    .then((response) => response.json())
    .catch(() => ({}));
  const found = (await manifest).transport_endpoints ?? [];
  return Object.fromEntries(found.map(({ transport, uri }) => [transport.split(".")[2], uri]));
}

/** The registered policies that a mode may have. */
export async function policiesOf(mode, bearer = token.value) {
  const { descriptors } = await clientOf(bearer).call("ListPolicies", { mode });
  return descriptors.filter((policy) => policy.mode === mode || policy.mode === "*");
}
