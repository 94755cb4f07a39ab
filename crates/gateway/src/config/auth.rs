//! Settings of authentication: JWTs, static tokens, or development identities (RFC-MACP-0004 §3).

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use macp_auth::{Authenticator, JwtAlgorithm, JwtRules, KeySet, Keyring, StaticTokens};

use super::Reader;

const ISSUER: &str = "MACP_AUTH_ISSUER";
const AUDIENCE: &str = "MACP_AUTH_AUDIENCE";
const JWKS_JSON: &str = "MACP_AUTH_JWKS_JSON";
const JWKS_URL: &str = "MACP_AUTH_JWKS_URL";
const JWKS_TTL: &str = "MACP_AUTH_JWKS_TTL_SECS";
const ALGS: &str = "MACP_AUTH_JWT_ALGS";

/// Who is accepted, and what has to be fetched for that.
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    /// Resolves credentials.
    pub(crate) authenticator: Authenticator,
    /// Where the keys of JWTs are fetched from, unless they are given.
    pub(crate) jwks: Option<JwksSource>,
}

/// A key set to be fetched and kept up to date.
#[derive(Clone, Debug)]
pub(crate) struct JwksSource {
    /// `MACP_AUTH_JWKS_URL`
    pub(crate) url: Uri,
    /// How long a fetched set is good (`MACP_AUTH_JWKS_TTL_SECS`).
    pub(crate) lifetime: Duration,
    /// Where fetched keys go.
    pub(crate) keyring: Arc<Keyring>,
}

/// Reads the settings; `None` when they are at fault.
pub(super) fn read(reader: &mut Reader<'_>, insecure: bool, certificates: bool) -> Option<Auth> {
    let before = reader.errors.len();
    let tokens = tokens(reader);
    let jwt = jwt(reader, insecure);
    if reader.errors.len() > before {
        return None;
    }
    let (authenticator, jwks) = match (jwt, tokens) {
        (Some((rules, keyring, jwks)), tokens) => {
            let authenticator = Authenticator::jwt(rules, keyring);
            (tokens.into_iter().fold(authenticator, Authenticator::and_tokens), jwks)
        }
        (None, Some(tokens)) => (Authenticator::tokens(tokens), None),
        (None, None) if certificates => (Authenticator::certificates(), None),
        (None, None) if insecure => (Authenticator::dev(), None),
        (None, None) => {
            reader.errors.push(
                "nobody can authenticate; set MACP_AUTH_TOKENS_FILE or MACP_AUTH_TOKENS_JSON, or MACP_AUTH_ISSUER \
                 with MACP_AUTH_JWKS_URL or MACP_AUTH_JWKS_JSON, or MACP_TLS_CLIENT_CA_PATH, or MACP_ALLOW_INSECURE=1 to accept any bearer as its \
                 own sender"
                    .into(),
            );
            return None;
        }
    };
    Some(Auth { authenticator, jwks })
}

/// The static tokens, if any are configured.
pub(super) fn tokens(reader: &mut Reader<'_>) -> Option<StaticTokens> {
    let (source, text) = if let Some(text) = reader.text("MACP_AUTH_TOKENS_JSON") {
        ("MACP_AUTH_TOKENS_JSON".to_owned(), text)
    } else {
        let path = reader.text("MACP_AUTH_TOKENS_FILE")?;
        match std::fs::read_to_string(&path) {
            Ok(text) => (format!("MACP_AUTH_TOKENS_FILE={path:?}"), text),
            Err(error) => {
                reader.errors.push(format!("MACP_AUTH_TOKENS_FILE={path:?} cannot be read: {error}"));
                return None;
            }
        }
    };
    match StaticTokens::from_json(&text) {
        Ok(tokens) if tokens.is_empty() => {
            reader.errors.push(format!("{source}: no token is listed; nobody can authenticate with it"));
            None
        }
        Ok(tokens) => Some(tokens),
        Err(error) => {
            reader.errors.push(format!("{source}: {error}"));
            None
        }
    }
}

fn jwt(reader: &mut Reader<'_>, insecure: bool) -> Option<(JwtRules, Arc<Keyring>, Option<JwksSource>)> {
    let issuer = reader.text(ISSUER);
    let audience = reader.text(AUDIENCE).unwrap_or_else(|| "macp-runtime".to_owned());
    let algorithms = algorithms(reader);
    let lifetime = Duration::from_secs(reader.count(JWKS_TTL, 300));
    let keys = if let Some(text) = reader.text(JWKS_JSON) {
        let keys = KeySet::from_json(&text);
        let keys = keys.map_err(|error| reader.errors.push(format!("{JWKS_JSON} {error}"))).ok();
        keys.map(|keys| (Arc::new(Keyring::fixed(keys)), None))
    } else if let Some(url) = reader.text(JWKS_URL) {
        let parsed = jwks_url(&url, insecure);
        let url = parsed.map_err(|why| reader.errors.push(format!("{JWKS_URL}={url:?} {why}"))).ok();
        url.map(|url| {
            let keyring = Arc::new(Keyring::fetched(lifetime));
            (Arc::clone(&keyring), Some(JwksSource { url, lifetime, keyring }))
        })
    } else {
        if issuer.is_some() {
            reader.errors.push(format!(
                "{ISSUER} is set and there are no keys to verify its JWTs with; set {JWKS_URL} or {JWKS_JSON}"
            ));
        }
        return None;
    };
    let Some(issuer) = issuer else {
        reader.errors.push(format!(
            "{JWKS_URL} or {JWKS_JSON} is set without {ISSUER}; set it to the iss of the JWTs to accept"
        ));
        return None;
    };
    let (keyring, source) = keys?;
    Some((JwtRules { issuer, audience, algorithms }, keyring, source))
}

/// The secret algorithm has to be asked for: with it, whoever can verify can also sign.
fn algorithms(reader: &mut Reader<'_>) -> Vec<JwtAlgorithm> {
    let text = reader.text(ALGS).unwrap_or_else(|| "RS256,ES256".to_owned());
    let mut algorithms = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match JwtAlgorithm::from_name(name) {
            Some(algorithm) => algorithms.push(algorithm),
            None => reader.errors.push(format!("{ALGS}: {name:?} is none of RS256, ES256 and HS256")),
        }
    }
    if algorithms.is_empty() { vec![JwtAlgorithm::Rs256, JwtAlgorithm::Es256] } else { algorithms }
}

/// Who can change the answer can make every identity, so it comes by TLS or from this machine.
fn jwks_url(text: &str, insecure: bool) -> Result<Uri, &'static str> {
    let url: Uri = text.trim().parse().map_err(|_| "is not an absolute URL")?;
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err("is not an absolute URL");
    };
    if authority.as_str().contains('@') {
        return Err("must not hold a user or password");
    }
    let host = authority.host().trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match scheme {
        "https" => Ok(url),
        "http" if is_local || insecure => Ok(url),
        _ => Err("must begin with https:// (http:// is for this machine's own addresses, or with \
                  MACP_ALLOW_INSECURE=1)"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const TOKENS: (&str, &str) = ("MACP_AUTH_TOKENS_JSON", r#"[{"token":"s3cret","sender":"agent://a"}]"#);
    const SECRET_SET: (&str, &str) = (
        JWKS_JSON,
        r#"{"keys":[{"kty":"oct","kid":"a","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#,
    );

    fn read(variables: &[(&str, &str)]) -> Result<Auth, String> {
        let lookup = |name: &str| {
            let given = variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            given.or_else(|| (name == "MACP_ALLOW_INSECURE").then(|| "1".to_owned()))
        };
        Config::read(&lookup).map(|config| config.auth).map_err(|error| error.to_string())
    }

    #[test]
    fn jwts_and_tokens_end_development_identities() {
        assert!(read(&[]).unwrap().authenticator.is_dev());
        assert!(!read(&[TOKENS]).unwrap().authenticator.is_dev());
        for tokens in [&[][..], &[TOKENS]] {
            let auth = read(&[&[(ISSUER, "https://id.example"), SECRET_SET], tokens].concat()).unwrap();
            assert!(!auth.authenticator.is_dev() && auth.jwks.is_none());
        }
    }

    #[test]
    fn a_key_set_is_given_or_fetched() {
        let issuer = (ISSUER, "https://id.example");
        let url = (JWKS_URL, "https://id.example/jwks.json");
        let fetched = read(&[issuer, url]).unwrap().jwks.unwrap();
        assert_eq!((fetched.url.path(), fetched.lifetime), ("/jwks.json", Duration::from_secs(300)));
        let fetched = read(&[issuer, url, (JWKS_TTL, "7")]).unwrap().jwks.unwrap();
        assert_eq!(fetched.lifetime, Duration::from_secs(7));
        assert!(read(&[issuer, url, SECRET_SET]).unwrap().jwks.is_none(), "what is given wins");
    }

    #[test]
    fn mistakes_stop_the_start() {
        let issuer = (ISSUER, "https://id.example");
        for (settings, part) in [
            (&[issuer][..], "set MACP_AUTH_JWKS_URL or MACP_AUTH_JWKS_JSON"),
            (&[SECRET_SET], "without MACP_AUTH_ISSUER"),
            (&[(JWKS_URL, "https://id.example/jwks.json")], "without MACP_AUTH_ISSUER"),
            (&[issuer, (JWKS_JSON, "nope")], "MACP_AUTH_JWKS_JSON is not a JWK set"),
            (&[issuer, (JWKS_JSON, r#"{"keys":[]}"#)], "MACP_AUTH_JWKS_JSON has no usable key"),
            (&[issuer, (JWKS_URL, "id.example")], "is not an absolute URL"),
            (&[issuer, (JWKS_URL, "https://u:p@id.example")], "user or password"),
            (&[issuer, SECRET_SET, (ALGS, "RS256,none")], "\"none\" is none of"),
            (&[issuer, SECRET_SET, (JWKS_TTL, "0")], "MACP_AUTH_JWKS_TTL_SECS"),
            (&[TOKENS, issuer], "set MACP_AUTH_JWKS_URL"),
        ] {
            let error = read(settings).unwrap_err();
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }

    #[test]
    fn keys_come_by_tls_or_from_this_machine() {
        for (url, strict, insecure) in [
            ("https://id.example/keys", true, true),
            ("http://id.example/keys", false, true),
            ("http://127.0.0.1:8000/keys", true, true),
            ("http://[::1]/keys", true, true),
            ("http://localhost/keys", true, true),
            ("http://localhost.example/keys", false, true),
            ("file:///keys", false, false),
            ("ftp://id.example/keys", false, false),
        ] {
            assert_eq!(
                (jwks_url(url, false).is_ok(), jwks_url(url, true).is_ok()),
                (strict, insecure),
                "{url}"
            );
        }
    }

    #[test]
    fn algorithms_are_an_allowlist() {
        let algorithms = |text: &str| {
            let lookup = |name: &str| (name == ALGS && !text.is_empty()).then(|| text.to_owned());
            let mut reader = Reader { lookup: &lookup, errors: Vec::new() };
            (algorithms(&mut reader), reader.errors.len())
        };
        let defaults = vec![JwtAlgorithm::Rs256, JwtAlgorithm::Es256];
        assert_eq!(algorithms(""), (defaults.clone(), 0));
        assert_eq!(algorithms(" , "), (defaults, 0));
        assert_eq!(algorithms("HS256, ES256"), (vec![JwtAlgorithm::Hs256, JwtAlgorithm::Es256], 0));
        assert_eq!(algorithms("rs256").1, 1);
    }
}
