//! What a request says about the web page that makes it, for tickets.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, request};
use macp_auth::Page;
use macp_kernel::Refusal;

/// Set by browsers, and not by pages; left out in the clear, except on loopback.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The page behind a request.
///
/// # Errors
/// `INVALID_REQUEST` for more than one `Origin`, or one that is not text.
pub(crate) fn of(head: &request::Parts) -> Result<Page<'_>, Refusal> {
    let origin = single(&head.headers, &ORIGIN)
        .map_err(|()| Refusal::invalid_request("send at most one Origin header"))?;
    let own = match single(&head.headers, &SEC_FETCH_SITE) {
        Ok(Some("same-origin")) => Some(true),
        Ok(Some("cross-site" | "same-site")) => Some(false),
        _ => origin.map(|origin| has_authority(origin, authority(head))),
    };
    Ok(Page { origin, own })
}

/// How the client addressed the server. HTTP/2 and absolute-form requests carry it in the target.
fn authority(head: &request::Parts) -> Option<&str> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => single(&head.headers, &HOST).ok().flatten(),
    }
}

/// Browsers leave a default port out of both. The scheme is not compared: a proxy in front may have another.
fn has_authority(origin: &str, authority: Option<&str>) -> bool {
    let host = origin.split_once("://").map(|(_, host)| host);
    host.zip(authority).is_some_and(|(host, authority)| host.eq_ignore_ascii_case(authority))
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let app = "https://app.example";
        for (uri, headers, own) in [
            ("/", &[("host", "app.example")][..], None),
            ("/", &[("host", "app.example"), ("origin", app)], Some(true)),
            ("/", &[("host", "APP.example"), ("origin", app)], Some(true)),
            ("/", &[("host", "app.example:8080"), ("origin", app)], Some(false)),
            ("/", &[("host", "a.example"), ("origin", app)], Some(false)),
            ("/", &[("origin", "null"), ("host", "null")], Some(false)),
            ("http://app.example/", &[("host", "x"), ("origin", app)], Some(true)),
            // Behind a proxy the host may be another; the browser knows.
            (
                "/",
                &[("host", "127.0.0.1:8080"), ("origin", app), ("sec-fetch-site", "same-origin")],
                Some(true),
            ),
            ("/", &[("host", "x"), ("sec-fetch-site", "same-origin")], Some(true)),
            ("/", &[("host", "app.example"), ("origin", app), ("sec-fetch-site", "cross-site")], Some(false)),
            ("/", &[("host", "x"), ("sec-fetch-site", "same-site")], Some(false)),
            ("/", &[("host", "x"), ("sec-fetch-site", "none")], None),
        ] {
            let mut request = http::Request::get(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(of(&head).unwrap().own, own, "{uri} {headers:?}");
        }
        let two = http::Request::get("/").header("origin", app).header("origin", app).body(()).unwrap();
        assert!(of(&two.into_parts().0).is_err());
    }
}
