//! `ListSessions`: stable pages in order of session id (RFC-MACP-0006 §3.8).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use macp_kernel::summary::Summary;
use macp_kernel::{Refusal, RefusalCode};
use macp_store::{LogStore, SummaryFilter};
use macp_wire::v1::{ListSessionsRequest, ListSessionsResponse};

use crate::filter::SessionFilter;
use crate::options::Limits;
use crate::visibility::Shown;

/// Longest page token that is looked at, in characters.
const MAX_TOKEN: usize = 1024;
/// Summaries that one call looks at for sessions to show; a call that finds few among many returns a short page.
const SCAN: usize = 10_000;
/// First bytes of a decoded token: its format.
const TOKEN_PREFIX: &[u8] = b"v1:";

/// One page of the sessions that may be shown and are asked for. The token names the last id that was read, which need not exist any
/// more. A page may be short although more follows: only an empty token ends the listing.
pub(crate) async fn page(
    store: &dyn LogStore,
    limits: &Limits,
    request: &ListSessionsRequest,
    shown: &Shown,
    filter: &SessionFilter,
) -> Result<ListSessionsResponse, Refusal> {
    let size = match usize::try_from(request.page_size) {
        Ok(0) => limits.list_default_page_size,
        Ok(size) => size.min(limits.list_max_page_size),
        Err(_) => return Err(Refusal::invalid_request("page_size is negative")),
    };
    let mut after = read_token(&request.page_token)?;
    let mut sessions = Vec::new();
    let mut scanned = 0;
    while scanned < SCAN {
        // One more than is missing tells whether anything follows.
        let want = size - sessions.len() + 1;
        let listed =
            store.list(SummaryFilter::All, after.as_ref(), want).await.map_err(|error| unreadable(&error))?;
        let last = listed.len() < want;
        scanned += listed.len();
        for summarized in listed {
            if sessions.len() == size {
                return Ok(ListSessionsResponse { sessions, next_page_token: write_token(after.as_deref()) });
            }
            let summary =
                Summary::from_bytes(summarized.summary.bytes).map_err(|error| unreadable(&error))?;
            after = Some(summarized.stream);
            if shown.includes(&summary.metadata) && filter.admits(&summary.metadata) {
                sessions.push(summary.metadata);
            }
        }
        if last {
            return Ok(ListSessionsResponse { sessions, next_page_token: String::new() });
        }
    }
    Ok(ListSessionsResponse { sessions, next_page_token: write_token(after.as_deref()) })
}

fn write_token(last: Option<&[u8]>) -> String {
    last.map_or_else(String::new, |last| URL_SAFE_NO_PAD.encode([TOKEN_PREFIX, last].concat()))
}

fn read_token(token: &str) -> Result<Option<Bytes>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let decoded = if token.len() <= MAX_TOKEN { URL_SAFE_NO_PAD.decode(token).ok() } else { None };
    match decoded.as_deref().and_then(|bytes| bytes.strip_prefix(TOKEN_PREFIX)) {
        Some(id) if !id.is_empty() => Ok(Some(Bytes::copy_from_slice(id))),
        _ => Err(Refusal::invalid_request(
            "page_token is not one that this server gave; start from the first page",
        )),
    }
}

pub(crate) fn unreadable(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "the session index cannot be read");
    Refusal::new(RefusalCode::InternalError, "the session index cannot be read now; retry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_invert_and_every_other_text_is_one_refusal() {
        assert_eq!(read_token(""), Ok(None));
        assert_eq!(read_token(&write_token(Some(b"abc"))), Ok(Some(Bytes::from_static(b"abc"))));
        let refusal = read_token("?").unwrap_err();
        assert_eq!(refusal.code, RefusalCode::InvalidRequest);
        let long = "A".repeat(MAX_TOKEN + 1);
        for token in ["djE", "djE6", "djI6YQ", "djE6YQ==", "a b", &long] {
            assert_eq!(read_token(token), Err(refusal.clone()), "{token:?}");
        }
    }
}
