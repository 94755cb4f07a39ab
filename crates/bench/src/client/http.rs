//! HTTP/1.1 with JSON: one connection that takes one request at a time.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use macp_wire::json;
use macp_wire::v1::{Ack, Envelope, SendRequest, SendResponse};

use super::{Failure, Target};
use crate::traffic::{Cast, Sender};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An open connection.
pub(crate) struct Connection {
    requests: http1::SendRequest<Full<Bytes>>,
    host: HeaderValue,
    /// For each sender, its credential.
    credentials: Vec<HeaderValue>,
}

impl Connection {
    pub(crate) async fn open(target: &Target, cast: &Cast) -> Result<Self, Failure> {
        Self::with(target, &cast.senders).await
    }

    pub(crate) async fn with(target: &Target, senders: &[Sender]) -> Result<Self, Failure> {
        let socket = TokioIo::new(target.connect().await?);
        let (requests, connection) = http1::handshake(socket).await.map_err(Failure::connection)?;
        // Ends with the connection; what was wrong shows in the requests on it.
        tokio::spawn(connection);
        let header = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| {
                Failure::new("usage", "a token or an address has characters that no header may hold")
            })
        };
        let credentials = senders.iter().map(|sender| header(&format!("Bearer {}", sender.token)));
        Ok(Self {
            requests,
            host: header(&target.authority)?,
            credentials: credentials.collect::<Result<_, _>>()?,
        })
    }

    async fn post(
        &mut self,
        path: &str,
        sender: usize,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, Failure> {
        let request = Request::post(path)
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, JSON)
            .header(AUTHORIZATION, self.credentials[sender].clone())
            .body(Full::from(body));
        let request = request.map_err(Failure::connection)?;
        self.requests.ready().await.map_err(Failure::connection)?;
        let response = self.requests.send_request(request).await.map_err(Failure::connection)?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(refused(status, response).await),
        }
    }

    pub(crate) async fn send(&mut self, sender: usize, envelope: Envelope) -> Result<Ack, Failure> {
        let body = json::to_vec(&SendRequest { envelope: Some(envelope) });
        let response = self.post("/macp/v1/Send", sender, body).await?;
        let body = response.into_body().collect().await.map_err(Failure::connection)?.to_bytes();
        let response: SendResponse = json::from_slice(&body).map_err(|error| {
            Failure::answer(format!("the response of Send is not canonical JSON: {error}"))
        })?;
        response.ack.ok_or_else(|| Failure::answer("no Ack in the response of Send"))
    }

    /// Opens a stream of a session's envelopes behind `after`, on which the connection is spent.
    pub(crate) async fn follow(
        mut self,
        sender: usize,
        session: &str,
        after: u64,
    ) -> Result<Incoming, Failure> {
        // Written by hand: a canonical request would say `"envelope": null` as well, which some servers take for an envelope.
        let body = format!(r#"{{"subscribe_session_id":"{session}","after_sequence":{after}}}"#);
        Ok(self.post("/macp/v1/StreamSession", sender, body.into_bytes()).await?.into_body())
    }
}

async fn refused(status: StatusCode, response: Response<Incoming>) -> Failure {
    let code = response
        .headers()
        .get("macp-error-code")
        .and_then(|code| code.to_str().ok())
        .map_or_else(|| format!("http-{}", status.as_u16()), str::to_owned);
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    Failure::new(code, String::from_utf8_lossy(&body.unwrap_or_default()))
}
