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

use crate::page::{Bound, Page};
use crate::passes::{Key, Passes};

/// How long a ticket can be redeemed, in milliseconds.
const LIFETIME_MS: i64 = 30_000;
/// Tickets that one identity may be given within [`Tickets::WINDOW_SECS`].
const PER_IDENTITY: usize = 64;
/// Tickets that all identities together may be given within one lifetime: the bound on memory.
const IN_ALL: usize = 16_384;
/// Bytes of a ticket, as many as its digest has.
const SECRET_BYTES: usize = 32;

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

/// The tickets that are out, and the passes of the streams that were opened with one. The transports of one process
/// share it.
#[derive(Default)]
pub struct Tickets {
    table: Mutex<Table>,
    passes: Mutex<Passes>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tickets({} issued)", self.table.lock().issued.len())
    }
}

impl Tickets {
    /// Tickets that one identity may be given within [`Tickets::WINDOW_SECS`].
    pub const PER_IDENTITY: usize = PER_IDENTITY;
    /// Seconds after which a ticket no longer counts, used or not.
    pub const WINDOW_SECS: u64 = LIFETIME_MS.unsigned_abs() / 1000;

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
        let text = secret()?;
        let expires_at = self.table.lock().insert(digest(&text), caller, page, now)?;
        Ok(Ticket { text, expires_at })
    }

    /// Uses up a ticket: the identity that it was issued to, or why it is not good. A ticket that is shown from another
    /// page is used up, too: somebody else has it.
    pub fn redeem(&self, ticket: &str, page: Page<'_>, now: UnixMillis) -> Identity {
        match self.table.lock().take(&digest(ticket), page, now) {
            Some(caller) if !caller.has_expired(now) => Identity::Known(caller),
            // One text for every cause: who tries tickets learns nothing.
            _ => Identity::rejected(
                "the ticket is not good: it was used, is older than 30 s, or was issued to another origin; get a \
                 new one from POST /macp/ticket",
            ),
        }
    }

    /// A pass for a stream that this page has opened on a session: with it the page comes back when it is cut.
    /// It is held until [`Tickets::release`].
    ///
    /// # Errors
    /// `INTERNAL_ERROR` when the operating system has no randomness.
    pub fn pass(&self, caller: &Caller, page: Page<'_>, session_id: &str) -> Result<String, Refusal> {
        let text = secret()?;
        self.passes.lock().insert(digest(&text), caller, page, session_id);
        Ok(text)
    }

    /// Holds a pass once more, if it is good for this page and session: the identity that it was made for.
    pub fn resume(&self, pass: &str, page: Page<'_>, session_id: &str, now: UnixMillis) -> Option<Caller> {
        self.passes.lock().hold(&digest(pass), page, session_id, now)
    }

    /// A stream with this pass is gone. The pass is good for 5 minutes more.
    pub fn release(&self, pass: &str, now: UnixMillis) {
        self.passes.lock().release(&digest(pass), now);
    }
}

fn secret() -> Result<String, Refusal> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| {
        tracing::error!(%error, "no random bytes for a ticket");
        Refusal::new(RefusalCode::InternalError, "no ticket can be made now; retry")
    })?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

/// Only the digest is kept. Finding it by a map leaks no more time than is good for a guess at a digest.
fn digest(ticket: &str) -> Key {
    Sha256::digest(ticket.as_bytes()).into()
}

#[derive(Default)]
struct Table {
    open: HashMap<Key, Entry>,
    /// Everything that was issued within the last lifetime, used or not, oldest first.
    issued: VecDeque<(UnixMillis, Key, ParticipantId)>,
    /// When each identity may be given one more for every one of those.
    given: HashMap<ParticipantId, VecDeque<UnixMillis>>,
}

struct Entry {
    caller: Caller,
    bound: Bound,
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
        if let Some(given) = self.given.get(&caller.sender)
            && given.len() >= PER_IDENTITY
        {
            let room_at = given.front().copied().unwrap_or(now);
            let wait_ms = room_at.0.abs_diff(now.0);
            return Err(Refusal::rate_limited(
                format!(
                    "this identity was given {PER_IDENTITY} tickets within 30 s, which is the most; retry in {wait_ms} ms"
                ),
                wait_ms,
            ));
        }
        if self.issued.len() >= IN_ALL {
            return Err(Refusal::new(
                RefusalCode::Unavailable,
                format!("this server has given out {IN_ALL} tickets within 30 s, which is the most; retry"),
            ));
        }
        let expires_at = UnixMillis(now.0.saturating_add(LIFETIME_MS));
        self.given.entry(caller.sender.clone()).or_default().push_back(expires_at);
        self.issued.push_back((expires_at, key, caller.sender.clone()));
        self.open.insert(key, Entry { caller: caller.clone(), bound: Bound::to(page), expires_at });
        Ok(expires_at)
    }

    fn take(&mut self, key: &Key, page: Page<'_>, now: UnixMillis) -> Option<Caller> {
        let entry = self.open.remove(key)?;
        (now < entry.expires_at && entry.bound.admits(page)).then_some(entry.caller)
    }

    fn forget_expired(&mut self, now: UnixMillis) {
        while let Some((_, key, sender)) = self.issued.pop_front_if(|(expires_at, ..)| *expires_at <= now) {
            self.open.remove(&key);
            if let Some(given) = self.given.get_mut(&sender) {
                given.pop_front();
                if given.is_empty() {
                    self.given.remove(&sender);
                }
            }
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
        let refused = issue("agent://a", later(10_000)).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (RefusalCode::RateLimited, Some(20_000)));
        for n in 0..IN_ALL - PER_IDENTITY {
            issue(&format!("agent://{n}"), NOW).unwrap();
        }
        assert_eq!(issue("agent://late", later(29_999)).unwrap_err().code, RefusalCode::Unavailable);
        issue("agent://a", later(30_000)).unwrap();
        let table = tickets.table.lock();
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

    #[test]
    fn a_pass_is_good_while_it_is_held_and_for_5_minutes() {
        let tickets = Tickets::new();
        let page = Page::default();
        let pass = tickets.pass(&caller(), page, "s").unwrap();
        assert_eq!(tickets.resume(&pass, page, "s", later(1_000_000)), Some(caller()));
        tickets.release(&pass, NOW);
        tickets.release(&pass, NOW);
        assert_eq!(tickets.resume(&pass, page, "s", later(299_999)), Some(caller()));
        tickets.release(&pass, NOW);
        assert_eq!(tickets.resume(&pass, page, "s", later(300_000)), None);
        assert!(matches!(tickets.redeem(&pass, page, NOW), Identity::Rejected(_)), "no ticket");
    }

    #[test]
    fn neither_outlives_the_credential_that_it_stands_for() {
        let tickets = Tickets::new();
        let page = Page::default();
        let caller = Caller { expires_at: Some(later(10)), ..caller() };
        for (now, good) in [(later(9), true), (later(10), false)] {
            let ticket = tickets.issue(&caller, page, NOW).unwrap();
            let redeemed = tickets.redeem(&ticket.text, page, now);
            assert_eq!(redeemed == Identity::Known(caller.clone()), good, "{redeemed:?}");
            let pass = tickets.pass(&caller, page, "s").unwrap();
            assert_eq!(tickets.resume(&pass, page, "s", now).is_some(), good);
        }
    }
}
