//! An issuer of JWTs: its key, the set that publishes it, tokens, and a server for the set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::wait::soon;

/// By so much a token is good after its `exp`.
const LEEWAY_SECS: i64 = 60;

/// One signing key.
pub(crate) struct Issuer {
    key: EncodingKey,
    kid: String,
}

impl Issuer {
    pub(crate) const NAME: &str = "https://id.example";

    pub(crate) fn new(kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        Self { key: EncodingKey::from_ec_der(&pair.serialize_der()), kid: kid.to_owned() }
    }

    /// The key set that publishes the key.
    pub(crate) fn jwks(&self) -> String {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.kid);
        json!({ "keys": [jwk] }).to_string()
    }

    /// A token that is good for so many seconds from now; good no more when that is negative.
    pub(crate) fn token(&self, sender: &str, seconds: i64) -> String {
        self.scoped(sender, seconds, json!({}))
    }

    /// The same with these `macp_scopes`.
    pub(crate) fn scoped(&self, sender: &str, seconds: i64, scopes: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": Self::NAME, "aud": "macp-runtime", "sub": sender, "macp_scopes": scopes,
            "exp": i64::try_from(now).unwrap() + seconds - LEEWAY_SECS,
        });
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

/// Publishes a key set over HTTP, or does not answer with one.
pub(crate) struct KeyServer {
    addr: SocketAddr,
    /// Status and body of every answer.
    answer: watch::Sender<(u16, String)>,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    pub(crate) async fn serving(status: u16, body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (answer, answers) = watch::channel((status, body));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(soon("a request for keys", socket.read_u8()).await.unwrap());
                }
                count.fetch_add(1, Ordering::SeqCst);
                let (status, body) = answers.borrow().clone();
                let answer = format!(
                    "HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { addr, answer, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/.well-known/jwks.json", self.addr)
    }

    pub(crate) fn answer(&self, status: u16, body: String) {
        self.answer.send_replace((status, body));
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
