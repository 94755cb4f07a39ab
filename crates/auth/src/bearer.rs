//! What a request may carry as its credential.

use std::fmt;

use crate::certificate::ClientCertificate;

/// The credentials found on a request or connection, untouched.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The value after `Bearer ` in `authorization`.
    pub bearer: Option<&'a str>,
    /// The value of `x-macp-token`; gRPC metadata only, for static tokens and development identities, and
    /// ignored beside a bearer.
    pub token: Option<&'a str>,
    /// The certificate that the connection has shown.
    pub certificate: Option<&'a ClientCertificate>,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: Option<&str>| value.map(|_| "redacted");
        f.debug_struct("Credentials")
            .field("bearer", &shown(self.bearer))
            .field("token", &shown(self.token))
            .field("certificate", &self.certificate)
            .finish()
    }
}

/// The token of an `authorization` header value; the scheme is matched with its case and one space.
#[must_use]
pub fn bearer(header: &str) -> Option<&str> {
    header.strip_prefix("Bearer ").filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_is_one_scheme_one_space() {
        for (header, token) in [
            ("Bearer t", Some("t")),
            ("Bearer agent://a", Some("agent://a")),
            ("Bearer  t", Some(" t")),
            ("bearer t", None),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic t", None),
            ("", None),
        ] {
            assert_eq!(bearer(header), token, "{header:?}");
        }
    }

    #[test]
    fn debug_output_has_no_secret() {
        let credentials = Credentials { bearer: Some("s3cret"), token: Some("s3cret"), certificate: None };
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }
}
