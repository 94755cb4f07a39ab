//! What the frame definitions do not say: who answers what, and how a connection begins and ends.

use serde_json::{Map, Value, json};

use super::schema::{Body, Schemas, short};

const CLIENT: &str = "macp.gateway.v1.ClientFrame";
const SERVER: &str = "macp.gateway.v1.ServerFrame";

const ABOUT: &str = "One WebSocket connection sends envelopes, follows any number of sessions, watches signals and \
    registries, and calls every unary RPC. One WebSocket message is one frame: an object with an optional `id` and exactly \
    one body. Every answer to a frame carries its `id`. The rules of order, limits and resuming are in docs/websocket.md.\n\n\
    The schemas are those of the subprotocol `macp.v1.json`. On `macp.v1.proto` a message is the protobuf form of the same \
    frame, `macp.gateway.v1.ClientFrame` or `ServerFrame` of proto/macp/gateway/v1/websocket.proto. 64-bit numbers are JSON \
    numbers while a double holds them exactly, and strings above that.";
const CONNECTING: &str = "Offer the subprotocol `macp.v1.json` or `macp.v1.proto`; without an offer the connection speaks JSON. \
    The credential is a bearer in `Authorization`, or an additional offered subprotocol `macp.bearer.` + unpadded base64url \
    of the token, or a single-use ticket in the query, or an `authenticate` frame within 10 s.";
const CLOSING: [(&str, &str); 12] = [
    ("1000", "the client's own close, echoed"),
    ("1001", "the server is going away; come back after `reconnect_after_ms`"),
    ("1002", "not WebSocket frames"),
    ("1003", "text on a protobuf connection, or binary on a JSON one"),
    ("1007", "text that is not UTF-8"),
    ("1008", "20 malformed frames in 10 s"),
    ("1009", "a message above `max_frame_bytes`"),
    ("1011", "an internal fault"),
    ("4401", "no credential in time, or a bad one"),
    ("4403", "`authenticate` with a credential of another sender"),
    ("4408", "nothing was heard for two heartbeats"),
    ("4429", "too many connections from one client (reserved)"),
];

/// What the server says to each frame of a client, beside `error`; and an example of the frame.
fn exchanges() -> [(&'static str, &'static [&'static str], Value); 8] {
    let session = "0c9b8a52-6f1e-4c1d-9a34-5f1f0f6a9b11";
    [
        ("authenticate", &["authenticated"], json!({"token": "TOKEN"})),
        (
            "send",
            &["ack"],
            json!({"envelope": {
                "macp_version": "1.0", "mode": "macp.mode.decision.v1", "message_type": "Vote",
                "message_id": "3f1c2a60-1d55-4a0e-8b0f-2a8c1c1d7e77", "session_id": session,
                "timestamp": "2026-05-04T12:00:00.000Z",
                "payload": {"proposal_id": "p1", "vote": "APPROVE", "reason": "tests pass"},
            }}),
        ),
        (
            "subscribe",
            &["subscribed", "envelope", "synced", "ended"],
            json!({"session_id": session, "after_sequence": 0, "snapshot": true}),
        ),
        ("unsubscribe", &["unsubscribed"], json!({"session_id": session})),
        ("watch", &["watching", "event"], json!({"topic": "SIGNALS"})),
        ("unwatch", &["unwatched"], json!({"topic": "SIGNALS"})),
        ("call", &["result"], json!({"method": "GetSession", "request": {"session_id": session}})),
        ("ping", &["pong"], json!({})),
    ]
}

/// What the server says without being asked.
const UNASKED: [&str; 6] = ["welcome", "envelope", "synced", "ended", "event", "draining"];

/// The document.
pub(crate) fn of(schemas: &Schemas) -> Result<Value, String> {
    let (client, server) = (schemas.bodies(CLIENT)?, schemas.bodies(SERVER)?);
    let exchanges = exchanges();
    if let Some(body) = client.iter().find(|body| !exchanges.iter().any(|(name, ..)| *name == body.name)) {
        return Err(format!("{}: say in document.rs what answers it", body.name));
    }
    let said = |body: &&Body| {
        UNASKED.contains(&body.name.as_str())
            || body.name == "error"
            || exchanges.iter().any(|(_, answers, _)| answers.contains(&body.name.as_str()))
    };
    if let Some(body) = server.iter().find(|body| !said(body)) {
        return Err(format!("{}: say in document.rs when the server sends it", body.name));
    }

    let mut messages = Map::new();
    let mut channel = Map::new();
    for (side, bodies) in [("client", &client), ("server", &server)] {
        for body in bodies {
            let key = key(side, &body.name);
            let example = exchanges.iter().find(|(name, ..)| side == "client" && *name == body.name);
            messages.insert(key.clone(), message(body, side, example.map(|(_, _, example)| example)));
            channel.insert(key.clone(), json!({"$ref": format!("#/components/messages/{key}")}));
        }
    }
    let roots: Vec<String> = client.iter().chain(&server).map(|body| body.message.clone()).collect();
    let mut components = schemas.closure(&roots)?;
    components.insert("ClientFrame".into(), any_of("client", &client));
    components.insert("ServerFrame".into(), any_of("server", &server));

    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "macp.transport.websocket.v1",
            "version": "1.0.0",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:8080",
                "protocol": "ws",
                "description": "A gateway with its default settings",
                "security": [
                    {"$ref": "#/components/securitySchemes/bearer"},
                    {"$ref": "#/components/securitySchemes/ticket"},
                ],
            },
        },
        "channels": {
            "socket": {
                "address": "/macp/v1/ws",
                "title": "The connection",
                "description": CONNECTING,
                "messages": channel,
                "bindings": {"ws": {
                    "method": "GET",
                    "query": {"type": "object", "properties": {
                        "ticket": {"type": "string", "description": "A ticket of POST /macp/ticket"},
                    }},
                    "headers": {"type": "object", "properties": {
                        "Authorization": {"type": "string", "description": "Bearer TOKEN"},
                        "Sec-WebSocket-Protocol": {"type": "string", "examples": ["macp.v1.json"]},
                    }},
                    "bindingVersion": "0.1.0",
                }},
                "x-close-codes": CLOSING.iter().map(|(code, why)| ((*code).to_owned(), json!(why))).collect::<Map<_, _>>(),
            },
        },
        "operations": operations(&exchanges),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "ticket": {"type": "httpApiKey", "name": "ticket", "in": "query"},
            },
            "messages": messages,
            "schemas": components,
        },
    }))
}

fn operations(exchanges: &[(&str, &[&str], Value)]) -> Map<String, Value> {
    let channel = json!({"$ref": "#/channels/socket"});
    let of =
        |side: &str, name: &str| json!({"$ref": format!("#/channels/socket/messages/{}", key(side, name))});
    let mut operations = Map::new();
    for (name, answers, _) in exchanges {
        let replies: Vec<Value> =
            answers.iter().chain(&["error"]).map(|answer| of("server", answer)).collect();
        operations.insert(
            (*name).to_owned(),
            json!({
                "action": "receive",
                "channel": channel,
                "messages": [of("client", name)],
                "reply": {"channel": channel, "messages": replies},
            }),
        );
    }
    operations.insert(
        "push".into(),
        json!({
            "action": "send",
            "channel": channel,
            "summary": "What the server says without being asked",
            "messages": UNASKED.iter().chain(&["error"]).map(|name| of("server", name)).collect::<Vec<_>>(),
        }),
    );
    operations
}

/// The message of a frame with this body.
fn message(body: &Body, side: &str, example: Option<&Value>) -> Value {
    let mut message = json!({
        "name": body.name,
        "title": format!("{} ({side})", body.name),
        "payload": frame(body),
        "correlationId": {"location": "$message.payload#/id"},
    });
    if !body.comment.is_empty() {
        message["summary"] = json!(body.comment);
    }
    if let Some(example) = example {
        let mut payload = Map::from_iter([("id".to_owned(), json!("7"))]);
        payload.insert(body.name.clone(), example.clone());
        message["examples"] = json!([{ "payload": payload }]);
    }
    message
}

/// The object of a frame with this body and no other.
fn frame(body: &Body) -> Value {
    let mut properties = Map::new();
    properties.insert(
        "id".into(),
        json!({"type": "string", "description": "At most 64 bytes; empty if nothing is answered."}),
    );
    properties
        .insert(body.name.clone(), json!({"$ref": format!("#/components/schemas/{}", short(&body.message))}));
    json!({
        "type": "object",
        "properties": properties,
        "required": [body.name],
        "additionalProperties": false,
    })
}

/// A frame with any of these bodies.
fn any_of(side: &str, bodies: &[Body]) -> Value {
    let frames = bodies
        .iter()
        .map(|body| json!({"$ref": format!("#/components/messages/{}/payload", key(side, &body.name))}));
    json!({"description": format!("Any frame of the {side}"), "oneOf": frames.collect::<Vec<_>>()})
}

/// `client` and `send` are `clientSend`.
fn key(side: &str, name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase()).unwrap_or_default();
    format!("{side}{first}{}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_frame() {
        for (name, _, example) in exchanges() {
            let mut frame = json!({"id": "7"});
            frame[name] = example;
            let decoded = macp_wire::json::decode_client_frame(frame.to_string().as_bytes());
            assert!(decoded.is_ok(), "{frame}");
        }
    }
}
