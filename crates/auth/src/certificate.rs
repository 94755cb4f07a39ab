//! Certificates of clients that TLS has verified: which sender one names, and what else may be shown beside it.

use std::sync::Arc;

use macp_kernel::{Caller, Identity, UnixMillis};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// Scheme of the senders that a certificate names best.
const AGENT: &str = "agent://";
/// `id-at-commonName` (RFC 5280 A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A client's certificate and the identity that comes of it. Clones share it; transports find it among the extensions of
/// a request, where whoever did the handshake has put it.
///
/// The sender is, in this order:
/// 1. the `agent://…` URI of its subject alternative names, if there is exactly one;
/// 2. the first DNS name of these, in lower case;
/// 3. the common name, if there are no such names, and unless it has a scheme: what anybody may have had written there
///    must not be taken for an `agent://…` that an authority has looked at.
///
/// It has the capabilities of a JWT without scopes, and is good until the certificate's end.
#[derive(Clone, Debug)]
pub struct ClientCertificate(Arc<Identity>);

impl ClientCertificate {
    /// Reads a certificate whose chain and use TLS has verified.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Self {
        let identity = match read(der) {
            Ok(caller) => Identity::Known(caller),
            Err(why) => Identity::rejected(why),
        };
        if let Identity::Rejected(refusal) = &identity {
            tracing::debug!(why = %refusal.message, "a client certificate is no credential");
        }
        Self(Arc::new(identity))
    }

    /// Who calls, with this certificate and what else was shown: a credential beside it must be good and of the same
    /// sender, and then says what the caller may do.
    #[must_use]
    pub fn beside(&self, shown: Identity, now: UnixMillis) -> Identity {
        let own = match &*self.0 {
            Identity::Known(own) if own.has_expired(now) => {
                return Identity::rejected("the client certificate has expired");
            }
            Identity::Known(own) => own,
            other => return other.clone(),
        };
        match shown {
            Identity::Anonymous => Identity::Known(own.clone()),
            Identity::Known(shown) if shown.sender == own.sender => {
                let expires_at = shown.expires_at.into_iter().chain(own.expires_at).min();
                Identity::Known(Caller { expires_at, verified: true, ..shown })
            }
            Identity::Known(_) => {
                Identity::rejected("the credential is of another sender than the client certificate")
            }
            rejected @ Identity::Rejected(_) => rejected,
        }
    }
}

fn read(der: &[u8]) -> Result<Caller, &'static str> {
    let certificate = Certificate::from_der(der).map_err(|_| "the client certificate cannot be read")?;
    let certificate = certificate.tbs_certificate();
    let until = certificate.validity().not_after.to_unix_duration().as_millis();
    let expires_at = Some(UnixMillis(i64::try_from(until).unwrap_or(i64::MAX)));
    let names = certificate.get_extension::<SubjectAltName>();
    let names = names.map_err(|_| "the names of the client certificate cannot be read")?;
    let names = names.map_or_else(Vec::new, |(_, names)| names.0);
    let sender = match alternative(&names)? {
        Some(sender) => sender,
        None => common(certificate.subject())?,
    };
    if sender.is_empty() || sender.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("the name in the client certificate is no sender: it is empty, or has blanks");
    }
    Ok(Caller { expires_at, ..Caller::new(sender) })
}

fn alternative(names: &[GeneralName]) -> Result<Option<String>, &'static str> {
    let mut agents = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => {
            Some(uri.as_str()).filter(|uri| uri.starts_with(AGENT))
        }
        _ => None,
    });
    match (agents.next(), agents.next()) {
        (Some(agent), None) => return Ok(Some(agent.to_owned())),
        (Some(_), Some(_)) => return Err("the client certificate names more than one agent:// URI"),
        (None, _) => {}
    }
    let name = names.iter().find_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str()),
        _ => None,
    });
    match name {
        Some(name) if name.contains('*') => Err("the DNS name of the client certificate is a pattern"),
        name => Ok(name.map(str::to_ascii_lowercase)),
    }
}

fn common(subject: &x509_cert::name::Name) -> Result<String, &'static str> {
    let mut names = subject.iter().filter(|attribute| attribute.oid == COMMON_NAME);
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(
            "the client certificate names no sender: it needs an agent:// URI or a DNS name among its subject \
             alternative names, or one common name",
        );
    };
    let name = DirectoryString::try_from(&name.value).map_err(|_| "the common name cannot be read")?;
    let name = name.value().into_owned();
    if name.contains("://") {
        return Err(
            "a common name with a scheme is no sender; have the URI among the subject alternative names",
        );
    }
    Ok(name)
}
