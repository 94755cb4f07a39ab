// One action of the page as text to paste elsewhere: curl, a WebSocket frame, Python with the published SDK, grpcurl.
// Each text is whole: pasted into a shell or an interpreter it does what the page did.

import { textToBase64, base64, base64url } from "./base64.js";
import { encode } from "./protobuf.js";
import { payloadOf } from "./schema.js";

/** The languages in the order in which they are offered. */
export const LANGUAGES = ["curl", "WebSocket", "Python", "gRPC"];

/**
 * The texts of an action. `action` is `{kind: "send", envelope}`, `{kind: "call", method, request}` or
 * `{kind: "subscribe", session_id, after_sequence}`, each with the `bearer` it is done with; `at` is `{http, grpc}`,
 * the gateway's addresses.
 */
export function snippets(action, at) {
  const [method, request] =
    action.kind === "send"
      ? ["Send", { envelope: action.envelope }]
      : action.kind === "subscribe"
        ? ["StreamSession", { subscribe_session_id: action.session_id, after_sequence: action.after_sequence ?? 0 }]
        : [action.method, action.request];
  return {
    curl: curl(method, request, action, at),
    WebSocket: frame(action, at),
    Python: python(action, at),
    gRPC: grpcurl(method, request, action, at),
  };
}

const pretty = (value) => JSON.stringify(value, null, 2);
/** A shell word in single quotes. */
const quoted = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`;

function curl(method, request, { bearer, kind }, { http }) {
  return `curl -sS${kind === "subscribe" ? "N" : ""} ${http}/macp/v1/${method} \\
  -H ${quoted(`Authorization: Bearer ${bearer}`)} \\
  -H 'Content-Type: application/json' \\
  -d ${quoted(pretty(request))}`;
}

function frame({ kind, bearer, envelope, session_id, after_sequence, method, request }, { http }) {
  const body =
    kind === "send"
      ? { send: { envelope } }
      : kind === "subscribe"
        ? { subscribe: { session_id, after_sequence: after_sequence ?? 0, snapshot: true } }
        : { call: { method, request } };
  const protocols = ["macp.v1.json", `macp.bearer.${base64url(new TextEncoder().encode(bearer))}`];
  return `const socket = new WebSocket(${JSON.stringify(`${http.replace(/^http/, "ws")}/macp/v1/ws`)},
  ${JSON.stringify(protocols)});
socket.onmessage = ({ data }) => console.log(JSON.parse(data));
socket.onopen = () => socket.send(JSON.stringify(${pretty({ id: "1", ...body })}));`;
}

// --- gRPC ------------------------------------------------------------------------------------------------------------

/** The request as protobuf's own JSON has it: payloads as bytes, the time in milliseconds, rules as text. */
export function protobufJson(request) {
  const { envelope, candidate, policy_descriptor, ...rest } = request;
  if (envelope) {
    const { payload, payload_b64, timestamp, ...fields } = envelope;
    const message = payloadOf(envelope.mode, envelope.message_type);
    rest.envelope = fields;
    if (timestamp) rest.envelope.timestamp_unix_ms = String(Date.parse(timestamp));
    rest.envelope.payload = payload && message ? base64(encode(message, payload)) : (payload_b64 ?? "");
  }
  const text = (policy) => ({ ...policy, rules: JSON.stringify(policy.rules) });
  if (candidate) rest.candidate = text(candidate);
  if (policy_descriptor) rest.policy_descriptor = text(policy_descriptor);
  return rest;
}

function grpcurl(method, request, { bearer }, { grpc }) {
  return `grpcurl -plaintext -H ${quoted(`authorization: Bearer ${bearer}`)} \\
  -d ${quoted(pretty(protobufJson(request)))} \\
  ${grpc} macp.v1.MACPRuntimeService/${method}`;
}

// --- Python ----------------------------------------------------------------------------------------------------------

/** A value as Python writes it. */
export function literal(value, indent = "") {
  const inner = `${indent}    `;
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map((item) => literal(item, indent)).join(", ")}]`;
  if (typeof value === "object") {
    const members = Object.entries(value).map(
      ([name, item]) => `${inner}${JSON.stringify(name)}: ${literal(item, inner)},`,
    );
    return members.length ? `{\n${members.join("\n")}\n${indent}}` : "{}";
  }
  return JSON.stringify(value);
}

const text = JSON.stringify;

function python({ kind, bearer, envelope, session_id, after_sequence, method, request }, { grpc }) {
  const auth = `auth=AuthConfig.for_dev_agent(${text(bearer)})`;
  const open = `with MacpClient(target=${text(grpc)}, allow_insecure=True, ${auth}) as client:`;
  if (kind === "send") {
    const payload = envelope.payload
      ? `ProtoRegistry().encode_known_payload(${text(envelope.mode)}, ${text(envelope.message_type)}, ${literal(envelope.payload)})`
      : `base64.b64decode(${text(envelope.payload_b64 ?? textToBase64(""))})`;
    return `${envelope.payload ? "" : "import base64\n"}from macp_sdk import AuthConfig, MacpClient
from macp_sdk.envelope import build_envelope${envelope.payload ? "\nfrom macp_sdk.proto_registry import ProtoRegistry" : ""}

payload = ${payload}
envelope = build_envelope(mode=${text(envelope.mode)}, message_type=${text(envelope.message_type)},
    session_id=${text(envelope.session_id)}, message_id=${text(envelope.message_id)}, payload=payload)
${open}
    print(client.send(envelope))`;
  }
  if (kind === "subscribe") {
    return `from macp_sdk import AuthConfig, MacpClient

${open}
    stream = client.open_stream()
    stream.send_subscribe(${text(session_id)}, after_sequence=${after_sequence ?? 0})
    while (envelope := stream.read()) is not None:
        print(envelope.sender, envelope.message_type)`;
  }
  const module = /Polic|WhatIf/.test(method) ? "policy_pb2" : "core_pb2";
  return `from google.protobuf.json_format import ParseDict
from macp.v1 import ${module}
from macp_sdk import AuthConfig, MacpClient

${open}
    request = ParseDict(${literal(protobufJson(request), "    ")}, ${module}.${method}Request())
    print(client.stub.${method}(request, metadata=[("authorization", ${text(`Bearer ${bearer}`)})]))`;
}
