// Following a session over gRPC-Web: one fetch, length-prefixed protobuf messages, and the status as a last frame.

import { decode, encode } from "./protobuf.js";
import { payloadOf, STREAM_REQUEST, STREAM_RESPONSE } from "./schema.js";
import { bytes } from "./base64.js";

const MESSAGE = 0,
  TRAILERS = 0x80;

/** A status other than OK; `code` is the gateway's code where it gives one. */
export class GrpcError extends Error {
  constructor(status, message, code) {
    super(message || `gRPC status ${status}`);
    this.status = status;
    this.code = code || `grpc-status ${status}`;
  }
}

/**
 * The accepted envelopes of a session behind `after_sequence`, and whatever follows, decoded. gRPC has no place for
 * sequence numbers, so they are counted here. Ends with the stream; throws `GrpcError`.
 */
export async function* follow({ base, token, session_id, after_sequence = 0, signal, fetch = globalThis.fetch }) {
  const response = await fetch(`${base}/macp.v1.MACPRuntimeService/StreamSession`, {
    method: "POST",
    headers: { "content-type": "application/grpc-web+proto", "x-grpc-web": "1", authorization: `Bearer ${token}` },
    body: frame(encode(STREAM_REQUEST, { subscribe_session_id: session_id, after_sequence })),
    signal,
    cache: "no-store",
  });
  const type = response.headers.get("content-type") ?? "";
  if (!response.ok || !type.startsWith("application/grpc-web")) {
    throw new GrpcError(2, `this server does not speak gRPC-Web here (HTTP ${response.status})`, "UNIMPLEMENTED");
  }
  // A refusal at once has no body: its status is in the headers.
  finish(Object.fromEntries(response.headers));
  let sequence = after_sequence;
  for await (const { flags, content } of frames(response.body)) {
    if (flags === TRAILERS) return finish(trailers(content));
    if (flags !== MESSAGE) throw new GrpcError(12, "compressed messages are not asked for");
    const message = decode(STREAM_RESPONSE, content);
    if (message.error) throw new GrpcError(2, message.error.message, message.error.code);
    if (message.envelope)
      yield { session_id, sequence: ++sequence, envelope: readable(message.envelope), size: content.length };
  }
  throw new GrpcError(14, "the stream broke off");
}

const frame = (content) => {
  const out = new Uint8Array(5 + content.length);
  new DataView(out.buffer).setUint32(1, content.length);
  out.set(content, 5);
  return out;
};

/** The envelope as JSON has it: a time to read, and the payload decoded. */
function readable({ timestamp_unix_ms, payload, ...envelope }) {
  const message = payloadOf(envelope.mode, envelope.message_type);
  const timestamp = new Date(timestamp_unix_ms).toISOString();
  if (!message) return { ...envelope, timestamp, payload_b64: payload };
  return { ...envelope, timestamp, payload: decode(message, bytes(payload)) };
}

async function* frames(body) {
  const reader = body.getReader();
  let buffered = new Uint8Array(0);
  try {
    for (;;) {
      while (buffered.length >= 5) {
        const length = new DataView(buffered.buffer, buffered.byteOffset).getUint32(1);
        if (buffered.length < 5 + length) break;
        yield { flags: buffered[0], content: buffered.slice(5, 5 + length) };
        buffered = buffered.slice(5 + length);
      }
      const { done, value } = await reader.read();
      if (done) return;
      const joined = new Uint8Array(buffered.length + value.length);
      joined.set(buffered);
      joined.set(value, buffered.length);
      buffered = joined;
    }
  } finally {
    // Leaving the loop ends the call; the server then stops sending.
    reader.cancel().catch(() => {});
  }
}

const trailers = (content) =>
  Object.fromEntries(
    new TextDecoder()
      .decode(content)
      .split("\r\n")
      .filter(Boolean)
      .map((line) => [line.slice(0, line.indexOf(":")).trim().toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
  );

function finish(headers) {
  const status = headers["grpc-status"];
  if (status === undefined || status === "0") return;
  throw new GrpcError(Number(status), decodeURIComponent(headers["grpc-message"] ?? ""), headers["macp-error-code"]);
}
