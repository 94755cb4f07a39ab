/**
 * MACP in the browser (and in any runtime with WebSocket and fetch): one dependency-free ES module, `macp.js`.
 *
 *     import { MacpClient } from "/client/macp.js";
 *     const macp = new MacpClient({ token: "agent://ann" });
 *     for await (const { sequence, envelope } of macp.subscribe(session_id)) console.log(sequence, envelope.message_type);
 *
 * How it behaves, for whoever builds on it:
 *
 * - **One client, one identity, one link.** A link is a WebSocket, or, where WebSocket is blocked, `fetch` with
 *   server-sent events. The API is the same on both. A page that acts for three agents makes three clients.
 * - **It never gives up.** The link is made at once and made again for ever, with jittered backoff, until `close()`.
 *   Nothing has to be awaited before the first `send` or `subscribe`: what is asked for while there is no link is
 *   done when there is one. The exception is a credential that is refused and cannot change: see `token`.
 * - **A subscription is a cursor.** After a lost link it resumes behind the last sequence it received: no gap, no
 *   repeat. A consumer that is slow stops the flow and loses nothing; at most `buffer` envelopes wait for it.
 * - **A send is repeated until it is answered**, with the same `message_id`, so it happens once. The Ack then says
 *   `duplicate: true` if the first attempt had arrived. Sends of one session keep their order.
 * - **Watches are ephemeral** as they are in the protocol: after a lost link they begin again, and say so.
 * - Names and values of the protocol are the protocol's own (`session_id`, `after_sequence`); 64-bit integers are
 *   numbers, enums their names, `bytes` base64 strings.
 * - A refusal of the server is a `MacpError` with the code of the registry; a refused envelope is an Ack with `ok:
 *   false` (`accepted(ack)` turns it into an exception).
 */

// --- client --------------------------------------------------------------------------------------------------------

export interface ClientOptions {
  /** Where the gateway is: scheme, host and, if it has one, path prefix. Default: the page's origin. */
  url?: string | URL;
  /**
   * The bearer token, or a function that gives one; it is asked anew for each connection. If a token that was given
   * as a string is refused, the client closes with `UNAUTHENTICATED`; with a function it goes on asking and trying.
   */
  token?: string | (() => string | Promise<string>);
  /**
   * A function that gives a fresh single-use ticket (`POST /macp/ticket`), asked for each connection. For pages that
   * must not hold the token: their own back end asks for the ticket. With a ticket alone the fallback can follow
   * sessions but neither send, call nor watch.
   */
  ticket?: () => string | Promise<string>;
  /**
   * How the token travels on a WebSocket: as a subprotocol (the default), in the first frame, or exchanged for a
   * ticket by `POST /macp/ticket` first. Never in a URL.
   */
  auth?: "subprotocol" | "frame" | "ticket";
  /** `auto` (the default) prefers WebSocket and falls back to `sse`; the other two use only what they name. */
  transport?: "auto" | "websocket" | "sse";
  /** Sends and calls that may wait for their answers; one more is refused with `QUEUE_FULL`. Default 1,000. */
  maxPending?: number;
  /** The same in characters of JSON. Default 16 Mi. */
  maxPendingChars?: number;
  /** What the client takes from its surroundings. For tests, and for runtimes without the globals. */
  environment?: Partial<Environment>;
}

/** Everything that is not pure: a test gives its own. */
export interface Environment {
  WebSocket: new (url: string, protocols?: string[]) => WebSocket;
  fetch: typeof fetch;
  /** Milliseconds; only differences matter. */
  now(): number;
  /** From 0 up to 1. */
  random(): number;
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /** Where `online` and `pageshow` are fired. */
  window: Pick<EventTarget, "addEventListener" | "removeEventListener"> | undefined;
  /** Where `visibilitychange` and `resume` are fired. */
  document: (Pick<EventTarget, "addEventListener" | "removeEventListener"> & { visibilityState?: string }) | undefined;
}

export interface Status {
  /** `waiting`: no link, and the next attempt is at `retryInMs`; `closed` is final. */
  state: "connecting" | "open" | "waiting" | "closed";
  /** Of the open link. */
  transport: "websocket" | "sse" | null;
  /** Who the server takes this client for; over `sse` and before authentication empty. */
  sender: string;
  /** Failed attempts since a link was last open. */
  attempt: number;
  /** Time until the next attempt, when this status began. */
  retryInMs: number | null;
  /** Why there is no link. */
  error: MacpError | null;
}

export class MacpClient extends EventTarget {
  /** Connects at once, in the background. */
  constructor(options?: ClientOptions);

  /** A copy of the present status. */
  readonly status: Status;
  /** Fired after each change of `status`; `detail` is the new one. */
  addEventListener(
    type: "status",
    listener: (event: CustomEvent<Status>) => void,
    options?: AddEventListenerOptions | boolean,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener(
    type: "status",
    listener: (event: CustomEvent<Status>) => void,
    options?: EventListenerOptions | boolean,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: EventListenerOptions | boolean,
  ): void;

  /** Resolves when there is a link; rejects when the client is closed. */
  ready(): Promise<Status>;

  /**
   * Sends one envelope and resolves with its Ack, accepted or refused. Filled in if absent: `macp_version`,
   * `message_id`; `sender` and `timestamp` are the server's to fill in. Rejects only if there will be no Ack: client
   * closed, queue full, `signal` aborted (then the outcome is unknown), or the server found the frame malformed.
   */
  send(envelope: OutgoingEnvelope, options?: RequestOptions): Promise<Ack>;

  /**
   * Calls a unary RPC by its gRPC name. Calls that only read, and `CancelSession`, are repeated over a new link; the
   * outcome of others whose link was lost is unknown: they reject with `CONNECTION_LOST`.
   */
  call<M extends keyof Rpcs>(method: M, request?: Rpcs[M][0], options?: RequestOptions): Promise<Rpcs[M][1]>;
  /** A call that these types do not know yet. */
  call<S extends string>(
    method: S extends keyof Rpcs ? never : S,
    request?: object,
    options?: RequestOptions,
  ): Promise<unknown>;

  /** Follows a session's accepted envelopes, from the first one on or from behind `after_sequence`. */
  subscribe(session_id: string, options?: SubscribeOptions): Subscription;

  /** Follows a topic. */
  watch<T extends Topic>(topic: T, options?: WatchOptions): Watch<T>;

  /** Round trip to the server in milliseconds; rejects when the link is lost before the answer. */
  ping(): Promise<number>;

  /** Replaces the token, also on the open link, without a new socket. It must be one of the same sender. */
  setToken(token: string): Promise<void>;

  /**
   * Drops the link as if the network had, and connects again after `delayMs` (default 0). For tests and
   * demonstrations.
   */
  reconnect(delayMs?: number): void;

  /** Ends everything: subscriptions and watches finish, what waits for an answer rejects with `CLIENT_CLOSED`. */
  close(): void;

  /** A session of any mode, existing (by its id) or to be started. */
  session(mode: string, session_id?: string): Session;
  decision(session_id?: string): DecisionSession;
  proposal(session_id?: string): ProposalSession;
  task(session_id?: string): TaskSession;
  handoff(session_id?: string): HandoffSession;
  quorum(session_id?: string): QuorumSession;
  multiRound(session_id?: string): MultiRoundSession;
}

export interface RequestOptions {
  /** Gives up waiting; `AbortSignal.timeout(ms)` is a timeout. The promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

// --- subscriptions and watches -------------------------------------------------------------------------------------

export interface SubscribeOptions extends RequestOptions {
  /** The last sequence already known. Default 0: from the start. */
  after_sequence?: number;
  /** Asks for the session's metadata; see `Subscription.subscribed`. */
  snapshot?: boolean;
  /** Envelopes that may wait for the consumer. Default 256. */
  buffer?: number;
}

/** One accepted envelope and its place in the session's history, from 1. */
export interface Delivery {
  session_id: string;
  sequence: number;
  envelope: Envelope;
}

/**
 * An async iterator; use it once. It finishes when the session is over and everything was delivered (`ended` is set
 * then), or by `close()`; it throws a `MacpError` when the server refuses (`SESSION_NOT_FOUND`, `FORBIDDEN`,
 * `HISTORY_UNAVAILABLE`, …). Leaving a `for await` loop closes it.
 */
export interface Subscription extends AsyncIterableIterator<Delivery> {
  readonly session_id: string;
  /** The last sequence that was handed out; give it as `after_sequence` to go on later. */
  readonly sequence: number;
  /** Resolves when the subscription first stands. */
  readonly subscribed: Promise<Subscribed>;
  /** Resolves when everything that was there at the beginning was handed out; the sequence. */
  readonly synced: Promise<number>;
  /** How the session ended, once everything of it was received. */
  readonly ended: Ended | null;
  close(): void;
}

export interface Subscribed {
  session_id: string;
  after_sequence: number;
  /** The newest sequence when the subscription began. */
  high_water_sequence: number;
  /** With `snapshot`: the session as of `high_water_sequence`. Over `sse` it may be newer. */
  metadata?: SessionMetadata;
}

export interface Ended {
  session_id: string;
  state: SessionState;
  last_sequence: number;
}

export interface WatchOptions extends RequestOptions {
  /**
   * Called when the watch begins again: after a lost link (`CONNECTION_LOST`), when this watcher or the server's was
   * too slow (`STREAM_LAGGED`), or because the page watches the same topic twice (`RESTARTED`). Events may have been
   * missed, and what a watch begins with comes again.
   */
  onrestart?: (reason: "CONNECTION_LOST" | "STREAM_LAGGED" | "RESTARTED") => void;
  /** Events that may wait for the consumer before it counts as too slow. Default 1,000. */
  buffer?: number;
}

export type Topic = "SESSIONS" | "SIGNALS" | "POLICIES" | "MODE_REGISTRY" | "ROOTS";

/** What each topic's events are: the response message of its `Watch…` RPC. */
export interface TopicEvents {
  SESSIONS: { event: SessionLifecycleEvent };
  SIGNALS: { envelope: Envelope; sender_authenticated: boolean };
  POLICIES: { descriptors: PolicyDescriptor[]; observed_at_unix_ms: number };
  MODE_REGISTRY: { change: { registry: string; observed_at_unix_ms: number } };
  ROOTS: { change: { observed_at_unix_ms: number } };
}

/**
 * An async iterator; leaving a `for await` loop closes it. It ends only by `close()` or a refusal, which it throws.
 */
export interface Watch<T extends Topic> extends AsyncIterableIterator<TopicEvents[T]> {
  readonly topic: T;
  close(): void;
}

// --- errors --------------------------------------------------------------------------------------------------------

/** Codes of the protocol's registry, as the server sends them. */
export type RegistryCode =
  | "UNAUTHENTICATED"
  | "FORBIDDEN"
  | "SESSION_NOT_FOUND"
  | "SESSION_NOT_OPEN"
  | "DUPLICATE_MESSAGE"
  | "SESSION_ALREADY_EXISTS"
  | "INVALID_ENVELOPE"
  | "UNSUPPORTED_PROTOCOL_VERSION"
  | "MODE_NOT_SUPPORTED"
  | "PAYLOAD_TOO_LARGE"
  | "RATE_LIMITED"
  | "INVALID_SESSION_ID"
  | "INTERNAL_ERROR"
  | "UNKNOWN_POLICY_VERSION"
  | "POLICY_DENIED"
  | "INVALID_POLICY_DEFINITION"
  | "REGISTRY_READ_ONLY"
  | "INVALID_REQUEST"
  | "STREAM_LAGGED"
  | "AGENT_NOT_FOUND"
  | "HISTORY_UNAVAILABLE"
  | "RECEIPT_UNAVAILABLE"
  | "UNIMPLEMENTED"
  | "UNAVAILABLE";

/** Codes of this client itself. */
export type ClientCode = "CLIENT_CLOSED" | "CONNECTION_LOST" | "QUEUE_FULL";

export class MacpError extends Error {
  constructor(error: { code: string; message?: string; session_id?: string; message_id?: string; details?: unknown });
  readonly name: "MacpError";
  /** Branch on this; `message` is for people. The last member keeps the type open to codes of later versions. */
  readonly code: RegistryCode | ClientCode | (string & {});
  readonly session_id: string;
  readonly message_id: string;
  /**
   * Decoded, where the code has any: `denials` of `POLICY_DENIED`, `lowest_available_sequence` of
   * `HISTORY_UNAVAILABLE`.
   */
  readonly details: unknown;
  /** Whether the same request may succeed later unchanged; a send with the same `message_id`. */
  readonly retryable: boolean;
}

/** Gives back the Ack of an accepted or duplicate envelope; throws the `MacpError` of a refused one. */
export function accepted(ack: Ack): Ack;

// --- modes ---------------------------------------------------------------------------------------------------------

/**
 * One session as this client's sender takes part in it. Each message type has a method of its name that takes its
 * payload and gives its Ack. `session_id` is chosen at random if none is given.
 */
export class Session {
  readonly client: MacpClient;
  readonly mode: string;
  readonly session_id: string;
  /** Begins the session. Defaults: `mode_version` "1.0.0", `configuration_version` "1", `ttl_ms` ten minutes. */
  start(payload: StartPayload, options?: RequestOptions): Promise<Ack>;
  /** Any message type of the mode; `payload_b64` where the mode has no schema. */
  send(message_type: string, payload?: object, options?: RequestOptions & { message_id?: string }): Promise<Ack>;
  /**
   * Ends the session with its outcome. Defaults: a random `commitment_id`, and the versions the session was started
   * with (asked from the server if this object did not start it).
   */
  commit(payload: CommitPayload, options?: RequestOptions): Promise<Ack>;
  subscribe(options?: SubscribeOptions): Subscription;
  metadata(options?: RequestOptions): Promise<SessionMetadata>;
  cancel(reason?: string, options?: RequestOptions): Promise<Ack>;
  suspend(reason?: string, options?: RequestOptions): Promise<Ack>;
  resume(reason?: string, options?: RequestOptions): Promise<Ack>;
  /** The decision receipt, parsed; `RECEIPT_UNAVAILABLE` before the session is resolved. */
  receipt(options?: RequestOptions): Promise<Record<string, unknown>>;
}

type Say<P> = (payload: P, options?: RequestOptions & { message_id?: string }) => Promise<Ack>;

export interface DecisionSession extends Session {
  proposal: Say<{ proposal_id: string; option: string; rationale?: string; supporting_data?: string }>;
  evaluation: Say<{
    proposal_id: string;
    recommendation: "APPROVE" | "REVIEW" | "BLOCK" | "REJECT";
    confidence: number;
    reason?: string;
  }>;
  objection: Say<{ proposal_id: string; reason: string; severity: "low" | "medium" | "high" | "critical" }>;
  vote: Say<{ proposal_id: string; vote: "APPROVE" | "REJECT" | "ABSTAIN"; reason?: string }>;
}

export interface ProposalSession extends Session {
  proposal: Say<{ proposal_id: string; title: string; summary?: string; details?: string; tags?: string[] }>;
  counterProposal: Say<{
    proposal_id: string;
    supersedes_proposal_id: string;
    title: string;
    summary?: string;
    details?: string;
  }>;
  accept: Say<{ proposal_id: string; reason?: string }>;
  reject: Say<{ proposal_id: string; terminal?: boolean; reason?: string }>;
  withdraw: Say<{ proposal_id: string; reason?: string }>;
}

export interface TaskSession extends Session {
  taskRequest: Say<{
    task_id: string;
    title: string;
    instructions?: string;
    requested_assignee?: string;
    input?: string;
    deadline_unix_ms?: number;
  }>;
  taskAccept: Say<{ task_id: string; assignee?: string; reason?: string }>;
  taskReject: Say<{ task_id: string; assignee?: string; reason?: string }>;
  taskUpdate: Say<{ task_id: string; status?: string; progress?: number; message?: string; partial_output?: string }>;
  taskComplete: Say<{ task_id: string; assignee?: string; output?: string; summary?: string }>;
  taskFail: Say<{ task_id: string; assignee?: string; error_code?: string; reason?: string; retryable?: boolean }>;
}

export interface HandoffSession extends Session {
  handoffOffer: Say<{ handoff_id: string; target_participant: string; scope?: string; reason?: string }>;
  handoffContext: Say<{ handoff_id: string; content_type?: string; context?: string }>;
  handoffAccept: Say<{ handoff_id: string; accepted_by?: string; reason?: string }>;
  handoffDecline: Say<{ handoff_id: string; declined_by?: string; reason?: string }>;
}

export interface QuorumSession extends Session {
  approvalRequest: Say<{
    request_id: string;
    action: string;
    required_approvals: number;
    summary?: string;
    details?: string;
  }>;
  approve: Say<{ request_id: string; reason?: string }>;
  reject: Say<{ request_id: string; reason?: string }>;
  abstain: Say<{ request_id: string; reason?: string }>;
}

export interface MultiRoundSession extends Session {
  contribute: Say<{ value: string }>;
}

export interface StartPayload {
  intent: string;
  participants: string[];
  ttl_ms?: number;
  mode_version?: string;
  configuration_version?: string;
  policy_version?: string;
  roots?: Root[];
  context_id?: string;
  /** Values are base64. */
  extensions?: Record<string, string>;
  max_suspend_ms?: number;
}

export interface CommitPayload {
  action: string;
  outcome_positive: boolean;
  authority_scope: string;
  reason: string;
  commitment_id?: string;
  mode_version?: string;
  configuration_version?: string;
  policy_version?: string;
  supersedes?: { session_id: string; commitment_hash: string };
}

// --- the protocol's messages ---------------------------------------------------------------------------------------

export type SessionState =
  | "SESSION_STATE_UNSPECIFIED"
  | "SESSION_STATE_OPEN"
  | "SESSION_STATE_RESOLVED"
  | "SESSION_STATE_EXPIRED"
  | "SESSION_STATE_SUSPENDED"
  | "SESSION_STATE_CANCELLED";

export interface Envelope {
  macp_version: string;
  mode: string;
  message_type: string;
  message_id: string;
  session_id: string;
  sender: string;
  /** RFC 3339. */
  timestamp: string;
  /** The payload message, where the mode has a schema. */
  payload?: Record<string, any>;
  /** Its bytes in base64 where it has none. */
  payload_b64?: string;
}

export type OutgoingEnvelope = Partial<Envelope> & Pick<Envelope, "message_type">;

export interface Ack {
  /** True for accepted and for duplicate envelopes. */
  ok: boolean;
  duplicate: boolean;
  message_id: string;
  session_id: string;
  accepted_at_unix_ms: number;
  session_state: SessionState;
  /** Exactly when `ok` is false. `details` is base64 of JSON; `accepted(ack)` throws it decoded. */
  error?: { code: string; message: string; session_id: string; message_id: string; details: string };
}

export interface SessionMetadata {
  session_id: string;
  mode: string;
  state: SessionState;
  started_at_unix_ms: number;
  expires_at_unix_ms: number;
  mode_version: string;
  configuration_version: string;
  policy_version: string;
  participants: string[];
  participant_activity: { participant_id: string; last_message_at_unix_ms: number; message_count: number }[];
  initiator: string;
  context_id: string;
  extension_keys: string[];
}

export interface SessionLifecycleEvent {
  event_type:
    | "EVENT_TYPE_CREATED"
    | "EVENT_TYPE_RESOLVED"
    | "EVENT_TYPE_EXPIRED"
    | "EVENT_TYPE_SUSPENDED"
    | "EVENT_TYPE_RESUMED"
    | "EVENT_TYPE_CANCELLED";
  session: SessionMetadata;
  observed_at_unix_ms: number;
}

export interface PolicyDescriptor {
  policy_id: string;
  mode: string;
  description: string;
  rules: unknown;
  schema_version: number;
  registered_at_unix_ms?: number;
}

export interface ModeDescriptor {
  mode: string;
  mode_version: string;
  title: string;
  description: string;
  determinism_class: string;
  participant_model: string;
  message_types: string[];
  terminal_message_types: string[];
  schema_uris: Record<string, string>;
}

export interface Root {
  uri: string;
  name: string;
}

export interface WhatIfOutcome {
  state: SessionState;
  resolution: string;
  resolved_by_history_index: number;
  resolved_by_message_id: string;
  resolved_by_message_type: string;
}

export interface WhatIfEntryOutcome {
  kind: "KIND_UNSPECIFIED" | "KIND_APPLIED" | "KIND_NOT_OPEN" | "KIND_REFUSED" | "KIND_NO_SESSION";
  state: SessionState;
  error_code: string;
  details: string;
}

export interface WhatIfReplayResponse {
  candidate_policy_id: string;
  recorded_policy_id: string;
  recorded: WhatIfOutcome;
  candidate: WhatIfOutcome;
  first_divergence?: number;
  denials: { history_index: number; message_id: string; details: string }[];
  entries: {
    history_index: number;
    message_id: string;
    message_type: string;
    recorded: WhatIfEntryOutcome;
    candidate: WhatIfEntryOutcome;
  }[];
}

type Empty = Record<string, never>;
type Registered = { ok: boolean; error: string };

/** Request and response of each unary RPC. */
export interface Rpcs {
  Initialize: [
    { supported_protocol_versions: string[]; client_info?: object; capabilities?: object },
    {
      selected_protocol_version: string;
      runtime_info: { name: string; title: string; version: string; description: string; website_url: string };
      capabilities: Record<string, any>;
      supported_modes: string[];
      instructions: string;
    },
  ];
  Send: [{ envelope: OutgoingEnvelope }, { ack: Ack }];
  GetSession: [{ session_id: string }, { metadata: SessionMetadata }];
  CancelSession: [{ session_id: string; reason?: string }, { ack: Ack }];
  SuspendSession: [{ session_id: string; reason?: string }, { ack: Ack }];
  ResumeSession: [{ session_id: string; reason?: string }, { ack: Ack }];
  ListSessions: [{ page_size?: number; page_token?: string }, { sessions: SessionMetadata[]; next_page_token: string }];
  GetManifest: [{ agent_id?: string }, { manifest: Record<string, any> }];
  ListModes: [Empty, { modes: ModeDescriptor[] }];
  ListExtModes: [Empty, { modes: ModeDescriptor[] }];
  RegisterExtMode: [{ mode_descriptor: Partial<ModeDescriptor> }, Registered];
  UnregisterExtMode: [{ mode: string }, Registered];
  PromoteMode: [{ mode: string; promoted_mode_name?: string }, Registered & { mode: string }];
  ListRoots: [Empty, { roots: Root[] }];
  RegisterPolicy: [{ policy_descriptor: PolicyDescriptor }, Registered];
  UnregisterPolicy: [{ policy_id: string }, Registered];
  GetPolicy: [{ policy_id: string }, { policy_descriptor: PolicyDescriptor }];
  ListPolicies: [{ mode?: string }, { descriptors: PolicyDescriptor[] }];
  WhatIfReplay: [{ session_id: string; candidate: PolicyDescriptor }, WhatIfReplayResponse];
  GetDecisionReceipt: [{ session_id: string }, { receipt_json: string }];
  GetReceiptKeys: [Empty, { jwks_json: string }];
}
