//! Single-use tickets: the credential for requests in which a browser can set no header.
//!
//! A WebSocket upgrade and an `EventSource` carry their credential in the URL, and URLs are logged. A ticket is good
//! for one request within 30 s and from one page origin, so that a logged one is worth nothing.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use macp_kernel::{Caller, Identity, ParticipantId, Refusal, RefusalCode, UnixMillis};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// How long a ticket can be redeemed, in milliseconds.
const LIFETIME_MS: i64 = 30_000;
/// Tickets that one identity may be given within one lifetime.
const PER_IDENTITY: usize = 64;
/// Tickets that all identities together may be given within one lifetime: the bound on memory.
const IN_ALL: usize = 16_384;
/// Bytes of a ticket, as many as its digest has.
const SECRET_BYTES: usize = 32;

/// What a request says about the web page that makes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page<'a> {
    /// The `Origin` as sent. Programs that are no browser send none, nor do browsers with a `GET` to the page's own
    /// origin.
    pub origin: Option<&'a str>,
    /// Whether the page is of the server's own origin, where that can be told.
    pub own: Option<bool>,
}

/// A new ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What the client shows; made of `A-Z a-z 0-9 _ -`, so it needs no escaping in a URL.
    pub text: String,
    /// When it stops being good.
    pub expires_at: UnixMillis,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("text", &"redacted").field("expires_at", &self.expires_at).finish()
    }
}

/// The tickets that are out. The transports of one process share one.
#[derive(Default)]
pub struct Tickets(Mutex<Table>);

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tickets({} issued)", self.0.lock().issued.len())
    }
}

impl Tickets {
    /// None are out.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives this caller a ticket for requests of this page.
    ///
    /// # Errors
    /// `RATE_LIMITED` when the caller, `UNAVAILABLE` when all callers together have been given too many within the
    /// last 30 s; `INTERNAL_ERROR` when the operating system has no randomness.
    pub fn issue(&self, caller: &Caller, page: Page<'_>, now: UnixMillis) -> Result<Ticket, Refusal> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(|error| {
            tracing::error!(%error, "no random bytes for a ticket");
            Refusal::new(RefusalCode::InternalError, "no ticket can be made now; retry")
        })?;
        let text = URL_SAFE_NO_PAD.encode(secret);
        let expires_at = self.0.lock().insert(digest(&text), caller, page, now)?;
        Ok(Ticket { text, expires_at })
    }

    /// Uses up a ticket: the identity that it was issued to, or why it is not good. A ticket that is shown from another
    /// page is used up, too: somebody else has it.
    pub fn redeem(&self, ticket: &str, page: Page<'_>, now: UnixMillis) -> Identity {
        match self.0.lock().take(&digest(ticket), page, now) {
            Some(caller) => Identity::Known(caller),
            // One text for every cause: who tries tickets learns nothing.
            None => Identity::Rejected(
                "the ticket is not good: it was used, is older than 30 s, or was issued to another origin; get a \
                 new one from POST /macp/ticket"
                    .into(),
            ),
        }
    }
}

type Key = [u8; SECRET_BYTES];

/// Only the digest is kept. Finding it by a map leaks no more time than is good for a guess at a digest.
fn digest(ticket: &str) -> Key {
    Sha256::digest(ticket.as_bytes()).into()
}

#[derive(Default)]
struct Table {
    open: HashMap<Key, Entry>,
    /// Everything that was issued within the last lifetime, used or not, oldest first.
    issued: VecDeque<(UnixMillis, Key, ParticipantId)>,
    /// How many of those each identity has been given.
    given: HashMap<ParticipantId, usize>,
}

struct Entry {
    caller: Caller,
    origin: Option<Box<str>>,
    own: bool,
    expires_at: UnixMillis,
}

impl Table {
    fn insert(
        &mut self,
        key: Key,
        caller: &Caller,
        page: Page<'_>,
        now: UnixMillis,
    ) -> Result<UnixMillis, Refusal> {
        self.forget_expired(now);
        let given = self.given.get(&caller.sender).copied().unwrap_or(0);
        if given >= PER_IDENTITY {
            return Err(Refusal::new(
                RefusalCode::RateLimited,
                format!(
                    "this identity was given {PER_IDENTITY} tickets within 30 s, which is the most; retry"
                ),
            ));
        }
        if self.issued.len() >= IN_ALL {
            return Err(Refusal::new(
                RefusalCode::Unavailable,
                format!("this server has given out {IN_ALL} tickets within 30 s, which is the most; retry"),
            ));
        }
        let expires_at = UnixMillis(now.0.saturating_add(LIFETIME_MS));
        *self.given.entry(caller.sender.clone()).or_default() += 1;
        self.issued.push_back((expires_at, key, caller.sender.clone()));
        let entry = Entry {
            caller: caller.clone(),
            origin: page.origin.map(Into::into),
            own: page.own == Some(true),
            expires_at,
        };
        self.open.insert(key, entry);
        Ok(expires_at)
    }

    fn take(&mut self, key: &Key, page: Page<'_>, now: UnixMillis) -> Option<Caller> {
        let entry = self.open.remove(key)?;
        (now < entry.expires_at && entry.is_for(page)).then_some(entry.caller)
    }

    fn forget_expired(&mut self, now: UnixMillis) {
        while let Some((_, key, sender)) = self.issued.pop_front_if(|(expires_at, ..)| *expires_at <= now) {
            self.open.remove(&key);
            if let Some(given) = self.given.get_mut(&sender) {
                *given -= 1;
                if *given == 0 {
                    self.given.remove(&sender);
                }
            }
        }
    }
}

impl Entry {
    fn is_for(&self, page: Page<'_>) -> bool {
        match (&self.origin, page.origin) {
            (Some(own), Some(other)) => own.eq_ignore_ascii_case(other),
            (None, Some(_)) => false,
            // A browser leaves the header out of a GET to the page's own origin, and only there.
            (Some(_), None) => self.own && page.own != Some(false),
            (None, None) => page.own != Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn caller() -> Caller {
        Caller::new("agent://a")
    }

    fn later(ms: i64) -> UnixMillis {
        UnixMillis(NOW.0 + ms)
    }

    fn is_good(tickets: &Tickets, ticket: &Ticket, page: Page<'_>, now: UnixMillis) -> bool {
        tickets.redeem(&ticket.text, page, now) == Identity::Known(caller())
    }

    #[test]
    fn a_ticket_is_good_once_and_until_it_expires() {
        let tickets = Tickets::new();
        let page = Page::default();
        let one = tickets.issue(&caller(), page, NOW).unwrap();
        assert_eq!(one.expires_at, later(30_000));
        assert!(is_good(&tickets, &one, page, later(29_999)));
        assert!(!is_good(&tickets, &one, page, NOW), "once");
        let late = tickets.issue(&caller(), page, NOW).unwrap();
        assert!(!is_good(&tickets, &late, page, later(30_000)), "too late");
        for wrong in ["", "x", &one.text.to_uppercase(), &"A".repeat(10_000)] {
            assert!(matches!(tickets.redeem(wrong, page, NOW), Identity::Rejected(_)), "{wrong:?}");
        }
    }

    #[test]
    fn a_ticket_carries_everything_its_identity_may() {
        let tickets = Tickets::new();
        let mut observer = caller();
        observer.verified = false;
        observer.capabilities.is_observer = true;
        observer.capabilities.allowed_modes = Some(["m".to_owned()].into());
        let ticket = tickets.issue(&observer, Page::default(), NOW).unwrap();
        assert_eq!(tickets.redeem(&ticket.text, Page::default(), NOW), Identity::Known(observer));
    }

    #[test]
    fn tickets_are_unlike_each_other_and_need_no_escaping() {
        let tickets = Tickets::new();
        let texts: std::collections::BTreeSet<_> =
            (0..50).map(|_| tickets.issue(&caller(), Page::default(), NOW).unwrap().text).collect();
        assert_eq!(texts.len(), 50);
        for text in texts {
            assert_eq!(text.len(), 43, "32 bytes");
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        }
    }

    #[test]
    fn a_ticket_is_bound_to_its_origin() {
        let page = |origin, own| Page { origin, own };
        let app = Some("https://app.example");
        let unknown = page(None, None);
        for (issued, redeemed, good) in [
            (page(app, Some(false)), page(app, None), true),
            (page(app, Some(false)), page(Some("HTTPS://App.example"), None), true),
            (page(app, Some(false)), page(Some("https://app.example:444"), None), false),
            (page(app, Some(false)), page(Some("https://evil.example"), None), false),
            (page(app, Some(false)), page(Some("null"), None), false),
            (page(app, Some(false)), unknown, false),
            (page(app, None), unknown, false),
            // Same-origin GETs have no Origin.
            (page(app, Some(true)), page(None, Some(true)), true),
            (page(app, Some(true)), unknown, true),
            (page(app, Some(true)), page(None, Some(false)), false),
            (page(app, Some(true)), page(app, None), true),
            (page(app, Some(true)), page(Some("https://evil.example"), None), false),
            // No browser.
            (unknown, unknown, true),
            (unknown, page(app, None), false),
            (unknown, page(None, Some(false)), false),
        ] {
            let tickets = Tickets::new();
            let ticket = tickets.issue(&caller(), issued, NOW).unwrap();
            assert_eq!(is_good(&tickets, &ticket, redeemed, NOW), good, "{issued:?} {redeemed:?}");
            assert!(!is_good(&tickets, &ticket, issued, NOW), "used up all the same: {redeemed:?}");
        }
    }

    #[test]
    fn how_many_are_given_out_is_bounded() {
        let tickets = Tickets::new();
        let issue = |sender: &str, now| tickets.issue(&Caller::new(sender), Page::default(), now);
        for _ in 0..PER_IDENTITY {
            // Redeeming them gives no room: that is what bounds the work.
            let ticket = issue("agent://a", NOW).unwrap();
            tickets.redeem(&ticket.text, Page::default(), NOW);
        }
        assert_eq!(issue("agent://a", later(29_999)).unwrap_err().code, RefusalCode::RateLimited);
        for n in 0..IN_ALL - PER_IDENTITY {
            issue(&format!("agent://{n}"), NOW).unwrap();
        }
        assert_eq!(issue("agent://late", later(29_999)).unwrap_err().code, RefusalCode::Unavailable);
        issue("agent://a", later(30_000)).unwrap();
        let table = tickets.0.lock();
        assert_eq!(
            (table.open.len(), table.issued.len(), table.given.len()),
            (1, 1, 1),
            "what expired is forgotten"
        );
    }

    #[test]
    fn debug_output_has_no_secret() {
        let tickets = Tickets::new();
        let ticket = tickets.issue(&caller(), Page::default(), NOW).unwrap();
        assert!(!format!("{ticket:?} {tickets:?}").contains(&ticket.text));
    }
}
