//! Request bodies: read up to a cap, or let go of within bounds.

use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body::Body as _;
use http_body_util::BodyExt;

/// How much of a refused request is read to its end, and for how long. Dropping the body at once would reset an
/// HTTP/2 stream, of which a connection has a limited number, or cost an HTTP/1.1 connection; reading without
/// bounds would let anyone make the server do it.
const DISCARD_BYTES: u64 = 64 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Why a body was not read.
#[derive(Debug)]
pub(crate) enum BodyFault {
    /// More bytes than the cap, declared or sent.
    TooLarge,
    /// The connection or its framing broke.
    Broken,
    /// The end did not come in time.
    Slow,
}

/// Reads the whole body unless it is larger than `cap` or takes longer than `within`.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    cap: usize,
    within: Duration,
) -> Result<Bytes, BodyFault> {
    let mut reading = std::pin::pin!(read_all(headers, body, cap));
    // Most bodies have come with their head: they need no timer.
    if let Poll::Ready(read) = futures_util::poll!(reading.as_mut()) {
        return read;
    }
    tokio::time::timeout(within, reading).await.unwrap_or(Err(BodyFault::Slow))
}

async fn read_all(headers: &HeaderMap, mut body: Body, cap: usize) -> Result<Bytes, BodyFault> {
    if declared(headers).max(body.size_hint().lower()) > cap as u64 {
        discard(headers, body);
        return Err(BodyFault::TooLarge);
    }
    // Most bodies are a single frame, which then needs no copy.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyFault::Broken)?.into_data() else { continue };
        if data.len() > cap - first.len().max(rest.len()) {
            discard(headers, body);
            return Err(BodyFault::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Reads and forgets what is left of a refused request's body, beside the response and within bounds.
pub(crate) fn discard(headers: &HeaderMap, mut body: Body) {
    // A client that waits for `100 Continue` sends nothing unless it is read.
    let waits = headers.contains_key(EXPECT);
    if waits || body.is_end_stream() || declared(headers).max(body.size_hint().lower()) > DISCARD_BYTES {
        return;
    }
    tokio::spawn(tokio::time::timeout(DISCARD_TIME, async move {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(read) {
                Some(still) => left = still,
                None => break,
            }
        }
    }));
}

fn declared(headers: &HeaderMap) -> u64 {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures_util::{StreamExt, stream};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<_> = sizes.iter().map(|size| Ok::<_, Infallible>(vec![b'x'; *size])).collect();
        Body::from_stream(stream::iter(chunks))
    }

    #[tokio::test]
    async fn the_cap_is_exact_however_the_body_is_cut() {
        let headers = HeaderMap::new();
        for sizes in [&[10][..], &[0, 10], &[5, 5], &[1, 2, 3, 4], &[9, 0, 1]] {
            let total = sizes.iter().sum();
            let read_body = read(&headers, chunks(sizes), total, SOON).await.unwrap();
            assert_eq!(read_body.len(), total, "{sizes:?}");
            assert!(matches!(read(&headers, chunks(sizes), total - 1, SOON).await, Err(BodyFault::TooLarge)));
        }
    }

    #[tokio::test]
    async fn a_declared_length_is_judged_before_anything_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, "11".parse().unwrap());
        let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        assert!(matches!(read(&headers, never, 10, SOON).await, Err(BodyFault::TooLarge)));
    }

    #[tokio::test]
    async fn a_broken_body_is_no_short_body() {
        let parts = [Ok(Bytes::from_static(b"{}")), Err(std::io::Error::other("cut"))];
        let body = Body::from_stream(stream::iter(parts));
        assert!(matches!(read(&HeaderMap::new(), body, 10, SOON).await, Err(BodyFault::Broken)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let begun = stream::iter([Ok::<_, Infallible>("{")]).chain(stream::pending());
        let fault = read(&HeaderMap::new(), Body::from_stream(begun), 10, SOON).await;
        assert!(matches!(fault, Err(BodyFault::Slow)), "{fault:?}");
    }

    /// A stream of endless chunks that tells, by its count, whether anyone still holds it.
    fn held(held: &Arc<()>) -> Body {
        let held = Arc::clone(held);
        Body::from_stream(stream::repeat_with(move || {
            let _held = &held;
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1024]))
        }))
    }

    #[tokio::test]
    async fn what_is_discarded_is_let_go_of() {
        let none = HeaderMap::new();
        let expect: HeaderMap = [(EXPECT, "100-continue".parse().unwrap())].into_iter().collect();
        let large: HeaderMap = [(CONTENT_LENGTH, "65537".parse().unwrap())].into_iter().collect();
        for (headers, at_once) in [(none, false), (expect, true), (large, true)] {
            let guard = Arc::new(());
            discard(&headers, held(&guard));
            assert_eq!(Arc::strong_count(&guard) == 1, at_once, "{headers:?}");
            // Reading stops at the bound although the body does not.
            while Arc::strong_count(&guard) > 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}
