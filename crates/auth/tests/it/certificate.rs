//! Which sender a client's certificate names, and what may be shown beside it.

use macp_auth::{Authenticator, ClientCertificate, Credentials};
use macp_kernel::{Caller, Identity, UnixMillis};
use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

use crate::now;

const EARLY: UnixMillis = UnixMillis(1_700_000_000_000);
/// 1 January 2040.
const END: UnixMillis = UnixMillis(2_208_988_800_000);

fn certificate(common_names: &[&str], names: &[&str]) -> ClientCertificate {
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(2040, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    for name in common_names {
        params.distinguished_name.push(DnType::CommonName, *name);
    }
    let name = |name: &&str| match name.split_once(':') {
        Some(("mail", mail)) => SanType::Rfc822Name(mail.try_into().unwrap()),
        Some(_) => SanType::URI((*name).try_into().unwrap()),
        None => SanType::DnsName((*name).try_into().unwrap()),
    };
    params.subject_alt_names = names.iter().map(name).collect();
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    ClientCertificate::from_der(certificate.der())
}

fn alone(certificate: &ClientCertificate) -> Result<Caller, String> {
    match certificate.beside(Identity::Anonymous, EARLY) {
        Identity::Known(caller) => Ok(caller),
        Identity::Rejected(refusal) => Err(refusal.message),
        Identity::Anonymous => panic!("a certificate is a credential"),
    }
}

#[test]
fn the_sender_is_a_uri_else_a_dns_name_else_the_common_name() {
    for (common_names, names, sender) in [
        (&["cn"][..], &["agent://a"][..], Ok("agent://a")),
        (&[], &["b.example", "agent://a", "https://x.example"], Ok("agent://a")),
        (&["cn"], &["B.Example", "c.example"], Ok("b.example")),
        (&["cn"], &["spiffe://x/y", "b.example"], Ok("b.example")),
        (&["cn"], &[], Ok("cn")),
        (&["cn"], &["mail:a@b.example"], Ok("cn")),
        (&[], &["agent://a", "agent://b"], Err("more than one")),
        (&["cn"], &["*.example"], Err("pattern")),
        (&[], &["spiffe://x/y"], Err("names no sender")),
        (&[], &[], Err("names no sender")),
        // Which an authority may let anybody write.
        (&["agent://admin"], &[], Err("with a scheme")),
        (&["two words"], &[], Err("blanks")),
        (&[""], &[], Err("empty")),
        (&[], &["agent://a b"], Err("blanks")),
    ] {
        let found = alone(&certificate(common_names, names));
        match sender {
            Ok(sender) => assert_eq!(found, Ok(Caller { expires_at: Some(END), ..Caller::new(sender) })),
            Err(part) => assert!(found.as_ref().is_err_and(|why| why.contains(part)), "{names:?}: {found:?}"),
        }
    }
    assert!(alone(&ClientCertificate::from_der(b"no certificate")).is_err());
}

#[test]
fn a_certificate_ends() {
    let certificate = certificate(&[], &["agent://a"]);
    for (now, good) in [(UnixMillis(END.0 - 1), true), (END, false)] {
        let identity = certificate.beside(Identity::Anonymous, now);
        assert_eq!(matches!(identity, Identity::Known(_)), good, "{identity:?}");
    }
}

#[test]
fn a_credential_beside_it_is_of_the_same_sender_and_says_what_it_may() {
    let own = certificate(&[], &["agent://a"]);
    let mut shown = Caller { verified: false, ..Caller::new("agent://a") };
    shown.capabilities.is_observer = true;
    for (expires_at, end) in
        [(None, END), (Some(UnixMillis(END.0 + 1)), END), (Some(UnixMillis(5)), UnixMillis(5))]
    {
        let shown = Caller { expires_at, ..shown.clone() };
        let expected = Caller { verified: true, expires_at: Some(end), ..shown.clone() };
        assert_eq!(own.beside(Identity::Known(shown), EARLY), Identity::Known(expected));
    }
    for other in [Identity::Known(Caller::new("agent://b")), Identity::rejected("no")] {
        assert!(matches!(own.beside(other, EARLY), Identity::Rejected(_)));
    }
    let nobody = certificate(&[], &[]);
    assert!(matches!(nobody.beside(Identity::Known(shown), EARLY), Identity::Rejected(_)), "no way around");
}

#[test]
fn it_is_a_credential_in_every_chain() {
    let tokens = r#"[{"token":"ta","sender":"agent://a"},{"token":"tb","sender":"agent://b"}]"#;
    let tokens = Authenticator::from_tokens_json(tokens).unwrap();
    let own = certificate(&[], &["agent://a"]);
    let sender = |authenticator: &Authenticator, bearer| {
        let credentials = Credentials { bearer, token: None, certificate: Some(&own) };
        match now(authenticator.authenticate(&credentials)) {
            Identity::Known(caller) => Some(caller.sender.to_string()),
            _ => None,
        }
    };
    let a = Some("agent://a".to_owned());
    for (authenticator, same, other) in [
        (&tokens, Some("ta"), Some("tb")),
        (&Authenticator::dev(), Some("agent://a"), Some("agent://b")),
        (&Authenticator::certificates(), None, Some("ta")),
    ] {
        assert_eq!(sender(authenticator, None), a);
        assert_eq!(sender(authenticator, same), a);
        assert_eq!(sender(authenticator, other), None);
    }
    let without = now(Authenticator::certificates().authenticate(&Credentials::default()));
    assert_eq!(without, Identity::Anonymous);
}
