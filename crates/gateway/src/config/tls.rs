//! Settings of TLS: the files of certificates and keys, and whether clients show one, too.

use super::Reader;
use crate::tls::{ClientCertificates, TlsFiles};

const CERT: &str = "MACP_TLS_CERT_PATH";
const KEY: &str = "MACP_TLS_KEY_PATH";
const CLIENT_CA: &str = "MACP_TLS_CLIENT_CA_PATH";
const CLIENT_AUTH: &str = "MACP_TLS_CLIENT_AUTH";

/// Reads the settings, and the files for what is wrong with them. Plaintext needs consent.
pub(super) fn read(reader: &mut Reader<'_>, insecure: bool) -> Option<TlsFiles> {
    let clients = clients(reader);
    match (reader.text(CERT), reader.text(KEY)) {
        (Some(cert), Some(key)) => {
            let files = TlsFiles { cert: cert.into(), key: key.into(), clients };
            match files.load() {
                Ok(_) => return Some(files),
                Err(errors) => reader.errors.extend(errors),
            }
        }
        (None, None) => {
            if clients.is_some() {
                reader.errors.push(format!(
                    "{CLIENT_CA} is set without TLS, by which clients show certificates; set {CERT} and {KEY}"
                ));
            } else if !insecure {
                reader.errors.push(format!(
                    "no TLS is configured: set {CERT} and {KEY}, or set MACP_ALLOW_INSECURE=1 to serve plaintext, on \
                     loopback or behind a proxy that terminates TLS"
                ));
            }
        }
        // Never plaintext instead: whoever sets one of them means TLS.
        (Some(_), None) => reader.errors.push(half(CERT, KEY)),
        (None, Some(_)) => reader.errors.push(half(KEY, CERT)),
    }
    None
}

fn half(set: &str, missing: &str) -> String {
    format!("{set} is set without {missing}; TLS needs both, and plaintext neither")
}

fn clients(reader: &mut Reader<'_>) -> Option<ClientCertificates> {
    let required = match reader.text(CLIENT_AUTH).as_deref() {
        None | Some("required") => true,
        Some("optional") => false,
        Some(other) => {
            reader.errors.push(format!("{CLIENT_AUTH}={other:?} is neither required nor optional"));
            true
        }
    };
    let authorities = reader.text(CLIENT_CA);
    if authorities.is_none() && reader.text(CLIENT_AUTH).is_some() {
        reader
            .errors
            .push(format!("{CLIENT_AUTH} is set without {CLIENT_CA}, whose certificates clients show"));
    }
    Some(ClientCertificates { authorities: authorities?.into(), required })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    /// Files of one pair, of another key, and of what is neither.
    fn files() -> TempDir {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        write("cert.pem", &cert.pem());
        write("key.pem", &key.serialize_pem());
        write("both.pem", &(cert.pem() + &key.serialize_pem()));
        write("other.pem", &KeyPair::generate().unwrap().serialize_pem());
        write("text", "s3cret");
        write("half.pem", "-----BEGIN CERTIFICATE-----\ns3cret");
        write("empty.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        write(
            "locked.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        directory
    }

    fn read(directory: &Path, settings: &[(&str, &str)], insecure: bool) -> (Option<TlsFiles>, Vec<String>) {
        let lookup = |name: &str| {
            let value = settings.iter().find(|(found, _)| *found == name)?.1;
            let is_file = name.ends_with("_PATH");
            Some(if is_file { directory.join(value).to_str().unwrap().to_owned() } else { value.to_owned() })
        };
        let mut reader = Reader { lookup: &lookup, errors: Vec::new() };
        (super::read(&mut reader, insecure), reader.errors)
    }

    #[test]
    fn a_pair_is_tls() {
        let directory = files();
        for (cert, key) in [("cert.pem", "key.pem"), ("both.pem", "both.pem")] {
            for insecure in [false, true] {
                let (files, errors) = read(directory.path(), &[(CERT, cert), (KEY, key)], insecure);
                assert!(files.unwrap().clients.is_none() && errors.is_empty(), "{errors:?}");
            }
        }
        let pair = [(CERT, "cert.pem"), (KEY, "key.pem"), (CLIENT_CA, "cert.pem")];
        for (mode, required) in [("", true), ("required", true), ("optional", false)] {
            let (files, errors) =
                read(directory.path(), &[&pair[..], &[(CLIENT_AUTH, mode)]].concat(), false);
            assert_eq!(files.unwrap().clients.unwrap().required, required, "{errors:?}");
        }
    }

    #[test]
    fn plaintext_needs_consent_and_nothing_of_tls() {
        let directory = files();
        assert_eq!(read(directory.path(), &[], true), (None, vec![]));
        let (_, errors) = read(directory.path(), &[], false);
        assert!(errors.len() == 1 && errors[0].contains("plaintext"), "{errors:?}");
    }

    #[test]
    fn mistakes_name_their_file_and_show_nothing_of_it() {
        let directory = files();
        let pair = |cert, key| [(CERT, cert), (KEY, key)];
        for (settings, parts) in [
            (&[(CERT, "cert.pem")][..], &["MACP_TLS_CERT_PATH is set without MACP_TLS_KEY_PATH"][..]),
            (&[(KEY, "key.pem")], &["MACP_TLS_KEY_PATH is set without MACP_TLS_CERT_PATH"]),
            (&pair("cert.pem", "other.pem"), &["other.pem\" is not the key of the certificate in"]),
            (&pair("no.pem", "no.pem"), &["MACP_TLS_CERT_PATH=", "MACP_TLS_KEY_PATH="]),
            (&pair("text", "text"), &["holds no certificate", "holds no private key"]),
            (&pair("key.pem", "cert.pem"), &["holds no certificate", "holds no private key"]),
            (&pair("half.pem", "key.pem"), &["half.pem\" is not PEM"]),
            (&pair("empty.pem", "key.pem"), &["empty.pem\"", "cannot be used"]),
            (&pair("cert.pem", "locked.pem"), &["without a passphrase"]),
            (&[(CLIENT_CA, "cert.pem")], &["MACP_TLS_CLIENT_CA_PATH is set without TLS"]),
            (&[(CLIENT_AUTH, "optional")], &["MACP_TLS_CLIENT_AUTH is set without"]),
            (&[(CLIENT_CA, "cert.pem"), (CLIENT_AUTH, "no")], &["neither required nor optional"]),
            (
                &[(CERT, "cert.pem"), (KEY, "text"), (CLIENT_CA, "text")],
                &["MACP_TLS_CLIENT_CA_PATH=", "holds no private key"],
            ),
        ] {
            let (files, errors) = read(directory.path(), settings, true);
            let text = errors.join("\n");
            assert!(files.is_none(), "{settings:?}");
            for part in parts {
                assert!(text.contains(part), "{part} is missing in {text}");
            }
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
