//! What is read from request headers: credential, content type, accepted types, and the position to resume at.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use macp_auth::{Authenticator, Credentials, bearer};
use macp_kernel::{Identity, Refusal, RefusalCode};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Who is calling, from `Authorization: Bearer` alone: neither cookies nor other headers are credentials here.
pub(crate) async fn identity(
    headers: &HeaderMap,
    authenticator: &Authenticator,
) -> Result<Identity, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let header = match (values.next(), values.next()) {
        (None, _) => return Ok(Identity::Anonymous),
        (Some(value), None) => std::str::from_utf8(value.as_bytes()).ok(),
        (Some(_), Some(_)) => None,
    };
    let Some(header) = header else {
        return Err(Refusal::new(RefusalCode::Unauthenticated, "send one Authorization header, in UTF-8"));
    };
    Ok(authenticator.authenticate(&Credentials { bearer: bearer(header), token: None }).await)
}

/// Whether the body is declared as JSON: exactly one `Content-Type`, and no charset but UTF-8.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = unquoted_split(value, ';');
    if !parts.next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return false;
    }
    parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

/// Whether an event stream may be the answer: no `Accept` at all, or one whose most specific matching range does
/// not refuse it.
pub(crate) fn accepts_events(headers: &HeaderMap) -> bool {
    if !headers.contains_key(ACCEPT) {
        return true;
    }
    let mut best: Option<(u8, bool)> = None;
    for value in headers.get_all(ACCEPT) {
        let Ok(value) = value.to_str() else { continue };
        for range in unquoted_split(value, ',') {
            let mut parts = unquoted_split(range, ';');
            let specificity = match parts.next().map(|media| media.trim().to_ascii_lowercase()).as_deref() {
                Some("text/event-stream") => 3,
                Some("text/*") => 2,
                Some("*/*") => 1,
                _ => continue,
            };
            // Of equally specific ranges one that admits is enough.
            best = best.max(Some((specificity, !parts.any(is_zero_weight))));
        }
    }
    best.is_some_and(|(_, admitted)| admitted)
}

fn is_zero_weight(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, weight)| {
        name.trim().eq_ignore_ascii_case("q")
            && weight.trim().parse::<f32>().is_ok_and(|weight| weight == 0.0)
    })
}

/// Splits a header value at a separator outside of quoted strings.
fn unquoted_split(value: &str, separator: char) -> impl Iterator<Item = &str> {
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
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let header = match (values.next(), values.next()) {
        (None, _) => return Ok(after_sequence),
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => return Err(Refusal::invalid_request("send one Last-Event-ID header")),
    };
    // Parsing alone would take a sign.
    let digits = std::str::from_utf8(header).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let Some(last) = digits.and_then(|digits| digits.parse::<u64>().ok()) else {
        return Err(Refusal::invalid_request(
            "Last-Event-ID must be the decimal id of an event of this stream, at most 2^64-1",
        ));
    };
    if after_sequence != 0 && after_sequence != last {
        return Err(Refusal::invalid_request("Last-Event-ID and after_sequence name different positions"));
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn accept() {
        for (values, admitted) in [
            (&[][..], true),
            (&["text/event-stream"], true),
            (&["TEXT/Event-Stream"], true),
            (&["text/*"], true),
            (&["*/*"], true),
            (&["application/json, text/event-stream"], true),
            (&["application/json", "text/event-stream;q=0.1"], true),
            (&["text/event-stream;q=0"], false),
            (&["text/event-stream; Q=0.000, */*"], false),
            (&["text/*;q=0, */*"], false),
            (&["text/*;q=0, text/event-stream"], true),
            (&["*/*;q=0"], false),
            (&["text/event-stream;q=0, text/event-stream"], true),
            (&["application/json"], false),
            (&["text/html"], false),
            (&["application/json;x=\"a,text/event-stream\""], false),
            (&[""], false),
        ] {
            assert_eq!(accepts_events(&headers(ACCEPT, values)), admitted, "{values:?}");
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
        let dev = Authenticator::dev();
        for (values, known) in [
            (&["Bearer agent://a"][..], true),
            (&["Basic eDp5"], false),
            (&["Bearer"], false),
            (&["Bearer a", "Bearer a"], false),
            (&[], false),
        ] {
            let identity = identity(&headers(AUTHORIZATION, values), &dev).await;
            assert_eq!(matches!(identity, Ok(Identity::Known(_))), known, "{values:?}");
        }
        let token = headers(HeaderName::from_static("x-macp-token"), &["agent://a"]);
        assert_eq!(identity(&token, &dev).await, Ok(Identity::Anonymous));
    }
}
