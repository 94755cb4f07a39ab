//! Settings of decision receipts: who issues them and under which keys (RFC-MACP-0013 §13).

use macp_engine::{ReceiptKeys, ReceiptOptions, ReceiptSigner};

use super::Reader;

const KEY: &str = "MACP_RECEIPT_SIGNING_KEY";
const KEY_PATH: &str = "MACP_RECEIPT_SIGNING_KEY_PATH";
const KID: &str = "MACP_RECEIPT_SIGNING_KID";
const PUBLIC_KEYS_PATH: &str = "MACP_RECEIPT_PUBLIC_KEYS_PATH";
const RUNTIME_ID: &str = "MACP_RUNTIME_ID";

/// Reads the settings. No error repeats the text of a key.
pub(super) fn read(reader: &mut Reader<'_>) -> ReceiptOptions {
    let defaults = ReceiptOptions::default();
    let signer = signer(reader);
    let runtime_id = reader.text(RUNTIME_ID).filter(|id| !id.trim().is_empty());
    if signer.is_some() && runtime_id.is_none() {
        reader.errors.push(format!(
            "{RUNTIME_ID} is not set and receipts are to be signed; give the deployment a name of its own and keep it"
        ));
    }
    let retired = reader.text(PUBLIC_KEYS_PATH).and_then(|path| file(reader, PUBLIC_KEYS_PATH, &path));
    let keys = ReceiptKeys::new(signer, retired.as_deref()).unwrap_or_else(|error| {
        reader.errors.push(format!("the content of {PUBLIC_KEYS_PATH} {error}"));
        ReceiptKeys::default()
    });
    ReceiptOptions { runtime_id: runtime_id.unwrap_or(defaults.runtime_id), keys }
}

fn signer(reader: &mut Reader<'_>) -> Option<ReceiptSigner> {
    let kid = reader.text(KID);
    let (source, text) = match (reader.text(KEY), reader.text(KEY_PATH)) {
        (Some(_), Some(_)) => {
            reader.errors.push(format!("{KEY} and {KEY_PATH} are both set; give the key once"));
            return None;
        }
        (Some(text), None) => (KEY, text),
        (None, Some(path)) => (KEY_PATH, file(reader, KEY_PATH, &path)?),
        (None, None) => {
            if kid.is_some() {
                reader.errors.push(format!("{KID} is set without a key; set {KEY_PATH} or {KEY}"));
            }
            return None;
        }
    };
    ReceiptSigner::parse(&text, kid.as_deref())
        .map_err(|error| reader.errors.push(format!("the key of {source} {error} (kid: {KID})")))
        .ok()
}

fn file(reader: &mut Reader<'_>, name: &str, path: &str) -> Option<String> {
    std::fs::read_to_string(path)
        .map_err(|error| reader.errors.push(format!("{name}={path:?} cannot be read: {error}")))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}"#;

    fn read(variables: &[(&str, &str)]) -> Result<(String, String), String> {
        let lookup = |name: &str| {
            let given = variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            given.or_else(|| (name == "MACP_ALLOW_INSECURE").then(|| "1".to_owned()))
        };
        let config = Config::read(&lookup).map_err(|error| error.to_string())?;
        Ok((config.receipts.runtime_id.clone(), config.receipts.keys.jwks()))
    }

    #[test]
    fn unsigned_by_default() {
        let nothing = r#"{"keys":[]}"#.to_owned();
        assert_eq!(read(&[]), Ok(("macp-gateway".into(), nothing.clone())));
        let empty = [
            ("MACP_RUNTIME_ID", ""),
            ("MACP_RECEIPT_SIGNING_KEY", ""),
            ("MACP_RECEIPT_SIGNING_KEY_PATH", ""),
            ("MACP_RECEIPT_SIGNING_KID", ""),
            ("MACP_RECEIPT_PUBLIC_KEYS_PATH", ""),
        ];
        assert_eq!(read(&empty), Ok(("macp-gateway".into(), nothing.clone())));
        assert_eq!(read(&[("MACP_RUNTIME_ID", "eu-1")]), Ok(("eu-1".into(), nothing)));
    }

    #[test]
    fn a_key_inline_or_in_a_file() {
        let path = std::env::temp_dir().join(format!("macp-receipt-key-{}", std::process::id()));
        std::fs::write(&path, KEY).unwrap();
        let path = path.to_str().unwrap();
        for source in [("MACP_RECEIPT_SIGNING_KEY", KEY), ("MACP_RECEIPT_SIGNING_KEY_PATH", path)] {
            let settings = [("MACP_RUNTIME_ID", "eu-1"), ("MACP_RECEIPT_SIGNING_KID", "k1"), source];
            let (runtime_id, jwks) = read(&settings).unwrap();
            assert!(runtime_id == "eu-1" && jwks.contains(r#""kid":"k1""#), "{jwks}");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn mistakes_name_their_variable_and_no_key() {
        let (id, kid) = (("MACP_RUNTIME_ID", "eu-1"), ("MACP_RECEIPT_SIGNING_KID", "k1"));
        let key = ("MACP_RECEIPT_SIGNING_KEY", KEY);
        let nowhere = "/nonexistent/keys";
        for (settings, part) in [
            (&[key, kid][..], "MACP_RUNTIME_ID is not set"),
            (&[key, kid, ("MACP_RUNTIME_ID", " ")], "MACP_RUNTIME_ID is not set"),
            (&[key, id], "MACP_RECEIPT_SIGNING_KID"),
            (&[kid, id], "MACP_RECEIPT_SIGNING_KID is set without a key"),
            (&[key, kid, id, ("MACP_RECEIPT_SIGNING_KEY_PATH", nowhere)], "both set"),
            (
                &[kid, id, ("MACP_RECEIPT_SIGNING_KEY_PATH", nowhere)],
                "MACP_RECEIPT_SIGNING_KEY_PATH=\"/nonexistent",
            ),
            (
                &[kid, id, ("MACP_RECEIPT_SIGNING_KEY", &KEY[1..])],
                "the key of MACP_RECEIPT_SIGNING_KEY is neither",
            ),
            (&[("MACP_RECEIPT_PUBLIC_KEYS_PATH", nowhere)], "MACP_RECEIPT_PUBLIC_KEYS_PATH=\"/nonexistent"),
        ] {
            let error = read(settings).unwrap_err();
            assert!(error.contains(part), "{part} is missing in {error}");
            assert!(!error.contains("AAEC") && !error.contains("A6EH"), "{error}");
        }
    }

    #[test]
    fn retired_keys_are_checked() {
        let path = std::env::temp_dir().join(format!("macp-receipt-set-{}", std::process::id()));
        std::fs::write(&path, format!(r#"{{"keys":[{KEY}]}}"#)).unwrap();
        let error = read(&[("MACP_RECEIPT_PUBLIC_KEYS_PATH", path.to_str().unwrap())]).unwrap_err();
        std::fs::remove_file(path).unwrap();
        assert!(error.contains("MACP_RECEIPT_PUBLIC_KEYS_PATH key number 1 has a private"), "{error}");
    }
}
