//! The WebSocket binding `macp.transport.websocket.v1` of a running gateway, in its JSON form.
//!
//! One connection for each sender, since a connection speaks for one identity; each fixture has connections of its own.
//! Requests are written here by hand, with payloads as `payload_b64`, so that the gateway is not tested against its own
//! encoder; payloads of delivered envelopes come as JSON and are encoded again by the runner.

mod connection;

use std::collections::HashMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use macp_conform::encode::encode_payload;
use macp_conform::{
    Capabilities, ConformanceTarget, HistoryEntry, Observation, Profile, Submission, TargetError,
};
use macp_core::PolicyDefinition;
use macp_pb::pb::Envelope;
use serde_json::{Value, json};

use connection::{Connection, Endpoint, Frame};

/// Who registers the fixtures' policies. In development mode everyone may.
const REGISTRAR: &str = "agent://registrar";

/// A gateway's WebSocket endpoint as a target.
pub(crate) struct WebSocket {
    endpoint: Endpoint,
    /// Open connections by sender.
    connections: HashMap<String, Connection>,
}

impl WebSocket {
    /// A target at `ws://host:port`, with or without a path prefix.
    ///
    /// # Errors
    /// When the URL is none of these.
    pub(crate) fn at(url: &str) -> Result<Self, TargetError> {
        Ok(Self { endpoint: Endpoint::parse(url)?, connections: HashMap::new() })
    }

    /// Name and version of the server.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer as the contract says.
    pub(crate) async fn runtime_info(&mut self) -> Result<(String, String), TargetError> {
        let request = json!({
            "supported_protocol_versions": ["1.0"],
            "client_info": { "name": "conformance", "version": env!("CARGO_PKG_VERSION") },
        });
        let response = self.of(REGISTRAR).await?.call("Initialize", request).await?;
        let info = &response["runtime_info"];
        Ok((text(info, "name")?.to_owned(), text(info, "version")?.to_owned()))
    }

    /// The connection of a sender. In development mode the token is the sender's name.
    async fn of(&mut self, sender: &str) -> Result<&mut Connection, TargetError> {
        if !self.connections.contains_key(sender) {
            let connection = Connection::open(&self.endpoint, sender).await?;
            self.connections.insert(sender.to_owned(), connection);
        }
        self.connections.get_mut(sender).ok_or_else(|| TargetError("no connection".to_owned()))
    }
}

#[async_trait]
impl ConformanceTarget for WebSocket {
    fn profile(&self) -> Profile {
        Profile::Server
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn describe(&self) -> String {
        format!("WebSocket {}", self.endpoint)
    }

    async fn begin_fixture(&mut self, _: Option<i64>) -> Result<(), TargetError> {
        for (_, connection) in self.connections.drain() {
            connection.close().await;
        }
        Ok(())
    }

    async fn register_policy(&mut self, definition: PolicyDefinition) -> Result<(), TargetError> {
        let connection = self.of(REGISTRAR).await?;
        // An id that is taken is refused, and an earlier run may have taken it; one that is not there is refused too.
        connection.call("UnregisterPolicy", json!({ "policy_id": definition.policy_id })).await?;
        let descriptor = json!({
            "policy_id": definition.policy_id,
            "mode": definition.mode,
            "description": definition.description,
            "rules": definition.rules,
            "schema_version": definition.schema_version,
        });
        let answer = connection.call("RegisterPolicy", json!({ "policy_descriptor": descriptor })).await?;
        if answer["ok"] == true { Ok(()) } else { Err(TargetError(format!("RegisterPolicy: {answer}"))) }
    }

    async fn submit(&mut self, envelope: Envelope) -> Result<Submission, TargetError> {
        let connection = self.of(&envelope.sender).await?;
        let ack = connection.send(envelope_json(&envelope)?).await?;
        for (name, sent) in [("message_id", &envelope.message_id), ("session_id", &envelope.session_id)] {
            if ack[name] != sent.as_str() {
                return Err(TargetError(format!("the ack is of another envelope: {ack}")));
            }
        }
        if ack["ok"] == true {
            return Ok(Submission::Accepted { duplicate: ack["duplicate"] == true });
        }
        Ok(Submission::Rejected { code: text(&ack["error"], "code")?.to_owned() })
    }

    async fn observe(&mut self, session_id: &str, initiator: &str) -> Result<Observation, TargetError> {
        let connection = self.of(initiator).await?;
        let got = connection.call("GetSession", json!({ "session_id": session_id })).await?;
        let subscribed = connection.subscribe(session_id).await?;
        let state = text(&got["metadata"], "state")?;
        if subscribed["metadata"]["state"] != state {
            return Err(TargetError(format!("GetSession says {state}, the snapshot {subscribed}")));
        }
        let history = accepted(connection, session_id, &subscribed).await?;
        // On the wire a session's resolution is its last accepted envelope.
        let resolution = match history.last() {
            Some(last) if state == "SESSION_STATE_RESOLVED" => Some(last.payload.clone()),
            _ => None,
        };
        let history = history.into_iter().skip(1).collect();
        Ok(Observation::new(state_name(state)?).with_resolution(resolution).with_history(history))
    }
}

/// Reads a subscription up to where it is live or over; the frames must be those of the session, without a gap.
async fn accepted(
    connection: &mut Connection,
    session_id: &str,
    subscribed: &Value,
) -> Result<Vec<HistoryEntry>, TargetError> {
    let mut history = Vec::new();
    loop {
        let Frame { kind, body } = connection.next().await?;
        let (wanted, number) = match kind.as_str() {
            "envelope" => (history.len() + 1, "sequence"),
            "synced" => (history.len(), "sequence"),
            "ended" => (history.len(), "last_sequence"),
            _ => return Err(TargetError(format!("{kind} in a subscription: {body}"))),
        };
        if body["session_id"] != session_id || body[number] != wanted {
            return Err(TargetError(format!("{kind} out of turn, wanted {wanted}: {body}")));
        }
        match kind.as_str() {
            "envelope" => history.push(history_entry(&body["envelope"])?),
            "synced" if open(subscribed) => {
                connection.unsubscribe(session_id).await?;
                break;
            }
            "synced" => {}
            _ => break,
        }
    }
    if subscribed["high_water_sequence"] == history.len() {
        return Ok(history);
    }
    Err(TargetError(format!("{} envelopes were delivered after {subscribed}", history.len())))
}

/// Whether more may come after the replay.
fn open(subscribed: &Value) -> bool {
    matches!(subscribed["metadata"]["state"].as_str(), Some("SESSION_STATE_OPEN" | "SESSION_STATE_SUSPENDED"))
}

fn state_name(state: &str) -> Result<&'static str, TargetError> {
    match state {
        "SESSION_STATE_OPEN" => Ok("Open"),
        "SESSION_STATE_SUSPENDED" => Ok("Suspended"),
        "SESSION_STATE_RESOLVED" => Ok("Resolved"),
        "SESSION_STATE_EXPIRED" => Ok("Expired"),
        "SESSION_STATE_CANCELLED" => Ok("Cancelled"),
        other => Err(TargetError(format!("state {other:?}"))),
    }
}

/// The canonical JSON of an envelope, with the payload as it is.
fn envelope_json(envelope: &Envelope) -> Result<Value, TargetError> {
    Ok(json!({
        "macp_version": envelope.macp_version,
        "mode": envelope.mode,
        "message_type": envelope.message_type,
        "message_id": envelope.message_id,
        "session_id": envelope.session_id,
        "sender": envelope.sender,
        "timestamp_unix_ms": envelope.timestamp_unix_ms,
        "payload_b64": STANDARD.encode(&envelope.payload),
    }))
}

/// A delivered envelope as the runner compares it.
fn history_entry(envelope: &Value) -> Result<HistoryEntry, TargetError> {
    let message_type = text(envelope, "message_type")?;
    let payload = match envelope.get("payload_b64").and_then(Value::as_str) {
        Some(encoded) => STANDARD.decode(encoded).map_err(|error| error.to_string()),
        None => {
            let payload_type = payload_type(text(envelope, "mode")?, message_type);
            encode_payload(&payload_type, message_type, &envelope["payload"])
        }
    };
    Ok(HistoryEntry::new(
        message_type.to_owned(),
        text(envelope, "sender")?.to_owned(),
        text(envelope, "message_id")?.to_owned(),
        payload.map_err(|error| TargetError(format!("{error} in {envelope}")))?,
    ))
}

/// The full name of the payload that a mode's message carries.
fn payload_type(mode: &str, message_type: &str) -> String {
    match mode.rsplit('.').nth(1) {
        Some(name) if !matches!(message_type, "SessionStart" | "Commitment") => {
            format!("macp.modes.{name}.v1.{message_type}Payload")
        }
        _ => format!("macp.v1.{message_type}Payload"),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, TargetError> {
    value[name].as_str().ok_or_else(|| TargetError(format!("no {name} in {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_full_names() {
        for (mode, message_type, name) in [
            ("macp.mode.task.v1", "TaskFail", "macp.modes.task.v1.TaskFailPayload"),
            ("ext.multi_round.v1", "Contribute", "macp.modes.multi_round.v1.ContributePayload"),
            ("macp.mode.task.v1", "Commitment", "macp.v1.CommitmentPayload"),
        ] {
            assert_eq!(payload_type(mode, message_type), name);
        }
    }
}
