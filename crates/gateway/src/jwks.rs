//! Fetches the issuer's key set and keeps it up to date, in the background.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use macp_auth::KeySet;
use macp_engine::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;

use crate::cli::RunError;
use crate::config::JwksSource;
use crate::outgoing::{self, Client, reasons};

/// Time for a whole attempt.
const ATTEMPT: Duration = Duration::from_secs(5);
/// First and longest pause after an attempt that failed; it doubles in between.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// Largest document; an issuer's keys are a few kilobytes.
const MAX_BYTES: usize = 1 << 20;

/// Fetches one key set.
pub(crate) struct Fetcher {
    source: JwksSource,
    client: Client<Empty<Bytes>>,
}

impl Fetcher {
    /// Reads the machine's list of certificate authorities.
    pub(crate) fn new(source: JwksSource) -> Result<Self, RunError> {
        let client = outgoing::client(&source.url, "MACP_AUTH_JWKS_URL")?;
        Ok(Self { source, client })
    }

    /// Fetches now, when the keys' lifetime is over, and when a token has a key that is not known; until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_fetching() => {}
        }
    }

    async fn keep_fetching(&self) {
        let JwksSource { url, lifetime, keyring } = &self.source;
        let mut retry = RETRY_FIRST;
        loop {
            keyring.begin(SystemClock.now());
            let fetched = tokio::time::timeout(ATTEMPT, self.fetch()).await;
            let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {ATTEMPT:?}")));
            let pause = match &fetched {
                Ok(keys) => {
                    tracing::info!(%url, keys = keys.len(), "keys of the JWT issuer fetched");
                    retry = RETRY_FIRST;
                    *lifetime
                }
                Err(why) => {
                    tracing::warn!(
                        %url, why,
                        "keys of the JWT issuer cannot be fetched (MACP_AUTH_JWKS_URL); earlier ones stay in use for an hour"
                    );
                    let pause = retry.min(*lifetime);
                    retry = (retry * 2).min(RETRY_LAST);
                    pause
                }
            };
            keyring.end(fetched.ok(), SystemClock.now());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = keyring.wanted() => {}
            }
        }
    }

    /// One attempt. Redirects are not followed: the address is the operator's word.
    async fn fetch(&self) -> Result<KeySet, String> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::clone(&self.source.url);
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
        let response = self.client.request(request).await.map_err(|error| reasons(&error))?;
        if response.status() != 200 {
            return Err(format!("the answer is HTTP {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| format!("the body cannot be read: {error}"))?.to_bytes();
        let text = std::str::from_utf8(&body).map_err(|_| "the answer is not UTF-8".to_owned())?;
        KeySet::from_json(text).map_err(|error| format!("the answer {error}"))
    }
}
