//! What is read from request headers: credential, content type, and the position to resume at.

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use macp_auth::{ClientCertificate, Credentials, bearer};
use macp_engine::observe;
use macp_kernel::{Identity, Refusal, RefusalCode};

use crate::page;
use crate::routes::App;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Who is calling, from `Authorization: Bearer` and the certificate of the connection: neither cookies nor other headers
/// are credentials here.
pub(crate) async fn identity(head: &Parts, app: &App) -> Result<Identity, Refusal> {
    let certificate = certificate(head, app)?;
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let bearer = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => match std::str::from_utf8(value.as_bytes()) {
            Ok(header) => bearer(header),
            Err(_) => return Err(one_header()),
        },
        (Some(_), Some(_)) => return Err(one_header()),
    };
    let identity = app.authenticator.authenticate(&Credentials { bearer, token: None, certificate }).await;
    observe::identified(&identity);
    Ok(identity)
}

fn one_header() -> Refusal {
    Refusal::new(RefusalCode::Unauthenticated, "send one Authorization header, in UTF-8")
}

/// The certificate of the connection. A browser shows it for whatever page makes the request, so a page of another
/// origin must be one of those that may call.
pub(crate) fn certificate<'h>(head: &'h Parts, app: &App) -> Result<Option<&'h ClientCertificate>, Refusal> {
    let Some(certificate) = head.extensions.get() else { return Ok(None) };
    let page = page::of(head)?;
    let listed = || page.origin.is_some_and(|origin| app.options.cors_origins.allows(origin));
    if page.own == Some(false) && !listed() {
        return Err(Refusal::forbidden(
            "a page of this origin may not call with its visitor's certificate; the server's list of origins does not \
             have it (MACP_HTTP_CORS_ORIGINS)",
        ));
    }
    Ok(Some(certificate))
}

/// Whether the body is declared as JSON: exactly one `Content-Type`, and no charset but UTF-8.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers).as_deref() == Some("application/json")
}

/// Whether the body has no coding, such as a compression, on top of its media type.
pub(crate) fn is_as_it_is(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The media type of the body in lower case, if there is exactly one `Content-Type` and it has no charset but UTF-8.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let mut parts = unquoted_split(value.to_str().ok()?, ';');
    let media = parts.next()?.trim().to_ascii_lowercase();
    let is_utf8 = parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    is_utf8.then_some(media)
}

/// Splits a header value at a separator outside of quoted strings.
pub(crate) fn unquoted_split(value: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    value.split(move |c| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' if quoted && !was_escaped => escaped = true,
            '"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        c == separator && !quoted
    })
}

/// The position to resume a subscription after: `Last-Event-ID`, the body's `after_sequence`, or both if they agree.
pub(crate) fn resume_after(headers: &HeaderMap, after_sequence: u64) -> Result<u64, Refusal> {
    let Some(header) = last_event_id(headers)? else { return Ok(after_sequence) };
    let last = position(header)?;
    if after_sequence != 0 && after_sequence != last {
        return Err(Refusal::invalid_request("Last-Event-ID and after_sequence name different positions"));
    }
    Ok(last)
}

/// The one `Last-Event-ID`.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| no_position()),
        (Some(_), Some(_)) => Err(Refusal::invalid_request("send one Last-Event-ID header")),
    }
}

/// An ordinal in decimal digits.
pub(crate) fn position(text: &str) -> Result<u64, Refusal> {
    // Parsing alone would take a sign.
    let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(no_position)
}

fn no_position() -> Refusal {
    Refusal::invalid_request("Last-Event-ID must be the id of an event of this stream, at most 2^64-1")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use macp_auth::Authenticator;
    use macp_engine::testing::memory_engine;

    use super::*;
    use crate::options::Options;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn content_types() {
        for (values, json) in [
            (&["application/json"][..], true),
            (&["Application/JSON"], true),
            (&["application/json;"], true),
            (&[" application/json ; charset=UTF-8"], true),
            (&["application/json; charset=\"utf-8\""], true),
            (&["application/json; profile=x"], true),
            (&["application/json; profile=\"a;charset=latin1\""], true),
            (&["application/json; charset=latin1"], false),
            (&["application/json; charset"], false),
            (&["application/json; charset="], false),
            (&["application/json; charset=utf-8; charset=latin1"], false),
            (&["application/json", "application/json"], false),
            (&["application/macp-envelope+json"], false),
            (&["application/json, application/json"], false),
            (&["text/plain"], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(is_json(&headers(CONTENT_TYPE, values)), json, "{values:?}");
        }
    }

    #[test]
    fn positions() {
        for (values, body, expected) in [
            (&[][..], 0, Some(0)),
            (&[], 7, Some(7)),
            (&["5"], 0, Some(5)),
            (&["5"], 5, Some(5)),
            (&["005"], 5, Some(5)),
            (&["0"], 0, Some(0)),
            (&["18446744073709551615"], 0, Some(u64::MAX)),
            (&["0"], 5, None),
            (&["5"], 6, None),
            (&["18446744073709551616"], 0, None),
            (&["+5"], 0, None),
            (&["-5"], 0, None),
            (&["5.0"], 0, None),
            (&["x"], 0, None),
            (&[""], 0, None),
            (&["5", "5"], 0, None),
        ] {
            assert_eq!(
                resume_after(&headers(LAST_EVENT_ID, values), body).ok(),
                expected,
                "{values:?} {body}"
            );
        }
    }

    #[tokio::test]
    async fn only_one_bearer_is_a_credential() {
        let app = App {
            engine: memory_engine().await,
            authenticator: Arc::new(Authenticator::dev()),
            options: Options::new(10),
        };
        let head = |headers: HeaderMap| {
            let (mut head, ()) = http::Request::new(()).into_parts();
            head.headers = headers;
            head
        };
        for (values, known) in [
            (&["Bearer agent://a"][..], true),
            (&["Basic eDp5"], false),
            (&["Bearer"], false),
            (&["Bearer a", "Bearer a"], false),
            (&[], false),
        ] {
            let identity = identity(&head(headers(AUTHORIZATION, values)), &app).await;
            assert_eq!(matches!(identity, Ok(Identity::Known(_))), known, "{values:?}");
        }
        let token = headers(HeaderName::from_static("x-macp-token"), &["agent://a"]);
        assert_eq!(identity(&head(token), &app).await, Ok(Identity::Anonymous));
    }
}
