//! What of a request is a credential.

use http::Extensions;
use macp_auth::{Authenticator, Credentials};
use macp_engine::Method;
use macp_kernel::Identity;
use tonic::metadata::MetadataMap;

/// Resolves the caller of a call. Nothing is read for an open call, so a stale credential cannot fail one.
pub(crate) async fn identify(
    authenticator: &Authenticator,
    method: Method,
    metadata: &MetadataMap,
    extensions: &Extensions,
) -> Identity {
    if method.is_open() {
        return Identity::Anonymous;
    }
    let credentials = Credentials { certificate: extensions.get(), ..credentials(metadata) };
    authenticator.authenticate(&credentials).await
}

/// The credentials of a request: the bearer in `authorization`, and `x-macp-token`. Which of them counts is the
/// authenticator's choice. A value that is not visible ASCII is no credential.
fn credentials(metadata: &MetadataMap) -> Credentials<'_> {
    let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
    Credentials {
        bearer: text("authorization").and_then(macp_auth::bearer),
        token: text("x-macp-token"),
        certificate: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_two_headers() {
        for (authorization, token, expected) in [
            (Some("Bearer a"), None, (Some("a"), None)),
            (Some("bearer a"), Some("t"), (None, Some("t"))),
            (Some("Basic a"), None, (None, None)),
            (Some("Bearer a"), Some("t"), (Some("a"), Some("t"))),
            (None, Some("t"), (None, Some("t"))),
            (None, None, (None, None)),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert("x-macp-agent-id", "agent://z".parse().unwrap());
            if let Some(value) = authorization {
                metadata.insert("authorization", value.parse().unwrap());
            }
            if let Some(value) = token {
                metadata.insert("x-macp-token", value.parse().unwrap());
            }
            let found = credentials(&metadata);
            assert_eq!((found.bearer, found.token), expected);
        }
    }

    #[tokio::test]
    async fn open_calls_read_no_credential() {
        let tokens = Authenticator::from_tokens_json("[]").unwrap();
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", "Bearer stale".parse().unwrap());
        for method in Method::ALL {
            let identity = identify(&tokens, *method, &metadata, &Extensions::new()).await;
            assert_eq!(identity == Identity::Anonymous, method.is_open(), "{method:?}: {identity:?}");
        }
    }
}
