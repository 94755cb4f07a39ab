//! Requests that the gateway itself makes, for keys and with traces: TLS by the machine's certificate authorities.

use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::cli::RunError;

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(3);

/// A client for requests with bodies of this kind.
pub(crate) type Client<B> = legacy::Client<HttpsConnector<HttpConnector>, B>;

/// A client for the address that `setting` names. It reads the list of certificate authorities if it needs it.
pub(crate) fn client<B>(to: &Uri, setting: &str) -> Result<Client<B>, RunError>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT));
    let builder = HttpsConnectorBuilder::new();
    let builder = if to.scheme_str() == Some("https") {
        builder.with_native_roots().map_err(|error| {
            RunError::start(
                format!("{setting} needs the machine's certificate authorities (SSL_CERT_FILE)"),
                error,
            )
        })?
    } else {
        // Nothing is trusted where nothing is to be verified.
        builder.with_tls_config(
            rustls::ClientConfig::builder()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth(),
        )
    };
    let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
    // Requests are seconds or minutes apart, and none depends on a connection that the other side has let go of.
    Ok(legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}

/// An error with its causes: hyper's own text says only which step failed.
pub(crate) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
