//! Who is let in: connections in all, and connections, new ones and bytes of each peer, on all listeners together.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::HeaderMap;
use macp_kernel::{Refusal, RefusalCode};
use macp_limits::{Place, Places, Quota, Rates};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::peers::{Networks, Peer, forwarded};
use crate::presence::Presence;

/// When to come back to a peer's or the server's full house.
const RETRY_MS: u64 = 1_000;
/// How long a new connection waits for one that was asked to leave.
const LEAVING: Duration = Duration::from_millis(500);
/// Connections that are looked at for one that may be asked to leave.
const LOOKS: usize = 64;
/// Connections that are told at a time why they are refused; beyond it they are closed without a word.
const REFUSING: usize = 64;

/// The limits on peers, as the settings have them.
#[derive(Clone, Debug)]
pub(crate) struct PeerLimits {
    /// Connections of one peer, WebSockets among them (`MACP_MAX_CONNECTIONS_PER_PEER`).
    pub(crate) connections: u64,
    /// New connections of one peer in a second (`MACP_NEW_CONNECTIONS_PER_SECOND_PER_PEER`).
    pub(crate) arrivals: u64,
    /// Bytes that are read from one peer in a second (`MACP_BYTES_PER_SECOND_PER_PEER`).
    pub(crate) bytes: u64,
    /// Peers without limits (`MACP_UNLIMITED_PEERS`).
    pub(crate) unlimited: Networks,
    /// Proxies that say whom they were called by (`MACP_TRUSTED_PROXIES`).
    pub(crate) proxies: Networks,
}

/// What holds for all listeners together.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: PeerLimits,
    held: Arc<Places>,
    arrivals: Rates,
    bytes: Rates,
    began: Instant,
    refusing: Arc<Semaphore>,
}

/// What a connection holds of its peer's limits for as long as it lasts.
pub(crate) type Held = Option<Arc<Place>>;

impl Gate {
    pub(crate) fn new(limits: PeerLimits) -> Self {
        let second = |amount| Rates::new(Quota { amount, window_ms: 1_000 });
        Self {
            arrivals: second(limits.arrivals),
            bytes: second(limits.bytes),
            held: Arc::default(),
            began: Instant::now(),
            refusing: Arc::new(Semaphore::new(REFUSING)),
            limits,
        }
    }

    /// Lets a connection of this address in, or says why not. A proxy's own connections are not limited: those whom it
    /// speaks for are.
    pub(crate) fn enter(&self, address: IpAddr) -> Result<Held, Refusal> {
        if self.limits.proxies.contains(address) || self.limits.unlimited.contains(address) {
            return Ok(None);
        }
        self.arrive(address)?;
        self.hold(address)
    }

    /// Whom a request on a connection of `direct` comes from, if a trusted proxy says so and the limits hold for them.
    pub(crate) fn behind_proxy(&self, headers: &HeaderMap, direct: IpAddr) -> Option<IpAddr> {
        if self.limits.proxies.is_empty() {
            return None;
        }
        let address = forwarded(headers, &self.limits.proxies, direct);
        let limited = address != direct && !self.limits.unlimited.contains(address);
        limited.then_some(address)
    }

    /// A request by way of a proxy takes up what a connection does, and one that becomes a WebSocket is a new one.
    pub(crate) fn enter_behind_proxy(&self, address: IpAddr, upgrades: bool) -> Result<Held, Refusal> {
        if upgrades {
            self.arrive(address)?;
        }
        self.hold(address)
    }

    /// The meter of what is read from a connection, if its peer has a limit.
    pub(crate) fn meter(self: &Arc<Self>, address: IpAddr, held: &Held) -> Option<Meter> {
        held.is_some().then(|| Meter { gate: Arc::clone(self), peer: address.into(), unpaid: 0 })
    }

    /// A place among the connections that are told why they are refused.
    pub(crate) fn refuse(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refusing).try_acquire_owned().ok()
    }

    fn arrive(&self, address: IpAddr) -> Result<(), Refusal> {
        self.arrivals.take(&Peer::from(address), 1, self.now()).map_err(|wait_ms| {
            Refusal::too_many(
                format!(
                    "this address opens more than {} connections in a second \
                     (MACP_NEW_CONNECTIONS_PER_SECOND_PER_PEER); retry in {wait_ms} ms",
                    self.limits.arrivals
                ),
                wait_ms,
            )
        })
    }

    fn hold(&self, address: IpAddr) -> Result<Held, Refusal> {
        let at_most = self.limits.connections;
        let place = self.held.take(&Peer::from(address), at_most).ok_or_else(|| {
            Refusal::too_many(
                format!(
                    "this address has {at_most} connections open, as many as it may (MACP_MAX_CONNECTIONS_PER_PEER); \
                     close one first"
                ),
                RETRY_MS,
            )
        })?;
        Ok(Some(Arc::new(place)))
    }

    fn now(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Counts what is read from one connection towards its peer's rate.
#[derive(Debug)]
pub(crate) struct Meter {
    gate: Arc<Gate>,
    peer: Peer,
    unpaid: u64,
}

impl Meter {
    /// So many bytes were read.
    pub(crate) fn read(&mut self, bytes: usize) {
        self.unpaid += bytes as u64;
    }

    /// Pays for what was read; if it cannot, how long until it may, and nothing is to be read before.
    pub(crate) fn pay(&mut self) -> Result<(), Duration> {
        if self.unpaid == 0 {
            return Ok(());
        }
        self.gate.bytes.take(&self.peer, self.unpaid, self.gate.now()).map_err(Duration::from_millis)?;
        self.unpaid = 0;
        Ok(())
    }
}

/// The places of one listener. When all are taken, connections on which nothing is asked make room: those that never
/// asked first, the oldest before the others.
#[derive(Debug)]
pub(crate) struct House {
    places: Arc<Semaphore>,
    at_most: usize,
    newcomers: Mutex<VecDeque<Weak<Presence>>>,
    residents: Mutex<VecDeque<Weak<Presence>>>,
}

impl House {
    pub(crate) fn of(at_most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(at_most.min(Semaphore::MAX_PERMITS))),
            at_most,
            newcomers: Mutex::default(),
            residents: Mutex::default(),
        }
    }

    /// Takes a place for this connection.
    pub(crate) async fn enter(&self, presence: &Arc<Presence>) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) if self.ask_one_to_leave() => {
                let place = Arc::clone(&self.places).acquire_owned();
                // The semaphore is never closed.
                tokio::time::timeout(LEAVING, place)
                    .await
                    .ok()
                    .and_then(Result::ok)
                    .ok_or_else(|| self.full())?
            }
            Err(_) => return Err(self.full()),
        };
        let (mut newcomers, mut residents) = (self.newcomers.lock(), self.residents.lock());
        // Those that are gone are let go of when as many have come as there can be.
        for some in [&mut *newcomers, &mut *residents] {
            if some.len() > 2 * self.at_most {
                some.retain(|one| one.strong_count() > 0);
            }
        }
        newcomers.push_back(Arc::downgrade(presence));
        Ok(place)
    }

    fn ask_one_to_leave(&self) -> bool {
        let (mut newcomers, mut residents) = (self.newcomers.lock(), self.residents.lock());
        while let Some(one) = newcomers.pop_front() {
            match one.upgrade() {
                Some(present) if present.has_asked() => residents.push_back(one),
                Some(present) => {
                    present.leave();
                    return true;
                }
                None => {}
            }
        }
        for _ in 0..LOOKS.min(residents.len()) {
            let Some(one) = residents.pop_front() else { break };
            let Some(present) = one.upgrade() else { continue };
            if present.is_idle() {
                present.leave();
                return true;
            }
            residents.push_back(one);
        }
        false
    }

    fn full(&self) -> Refusal {
        Refusal::new(
            RefusalCode::Unavailable,
            format!(
                "{} connections are open and busy, as many as this listener takes (MACP_HTTP_MAX_CONNECTIONS); \
                 connect again later",
                self.at_most
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> PeerLimits {
        PeerLimits {
            connections: 2,
            arrivals: 1_000,
            bytes: 1_000,
            unlimited: Networks::parse("127.0.0.0/8").unwrap(),
            proxies: Networks::parse("10.0.0.1").unwrap(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_of_a_peer_are_counted_and_come_back() {
        let gate = Gate::new(limits());
        let first = gate.enter(ip("2001:db8::1")).unwrap();
        let second = gate.enter(ip("2001:db8::2")).unwrap();
        let refusal = gate.enter(ip("2001:db8::3")).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::RateLimited);
        assert!(refusal.message.contains("MACP_MAX_CONNECTIONS_PER_PEER"), "{refusal}");
        assert!(gate.enter(ip("2001:db8:0:1::3")).is_ok(), "another network");
        drop(first);
        assert!(gate.enter(ip("2001:db8::3")).is_ok());
        drop(second);
        for exempt in ["127.0.0.1", "10.0.0.1"] {
            assert!((0..9).all(|_| gate.enter(ip(exempt)).is_ok_and(|held| held.is_none())), "{exempt}");
        }
    }

    #[test]
    fn new_connections_have_a_rate_whether_they_last_or_not() {
        let gate = Gate::new(PeerLimits { arrivals: 3, ..limits() });
        assert!((0..3).all(|_| gate.enter(ip("192.0.2.1")).is_ok()));
        let refusal = gate.enter(ip("192.0.2.1")).unwrap_err();
        assert!(refusal.message.contains("MACP_NEW_CONNECTIONS_PER_SECOND_PER_PEER"), "{refusal}");
        assert!(refusal.retry_after_ms.is_some_and(|wait| wait <= 1_000));
        assert!(gate.enter(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn those_behind_a_proxy_are_limited_and_the_proxy_is_not() {
        let gate = Gate::new(limits());
        let headers = |value: &str| {
            [(http::header::HeaderName::from_static("x-forwarded-for"), value.parse().unwrap())]
        };
        let client =
            |direct: &str, value: &str| gate.behind_proxy(&headers(value).into_iter().collect(), ip(direct));
        assert_eq!(client("10.0.0.1", "192.0.2.9"), Some(ip("192.0.2.9")));
        assert_eq!(client("10.0.0.1", "127.0.0.1"), None, "an unlimited peer");
        assert_eq!(client("10.0.0.2", "192.0.2.9"), None, "nobody's proxy");
        let first = gate.enter_behind_proxy(ip("192.0.2.9"), true).unwrap();
        let _second = gate.enter_behind_proxy(ip("192.0.2.9"), false).unwrap();
        assert!(gate.enter_behind_proxy(ip("192.0.2.9"), false).is_err());
        drop(first);
        assert!(gate.enter_behind_proxy(ip("192.0.2.9"), false).is_ok());
    }

    #[test]
    fn what_was_read_is_paid_for_before_more_is_read() {
        let gate = Arc::new(Gate::new(limits()));
        let address = ip("192.0.2.1");
        let held = gate.enter(address).unwrap();
        let mut meter = gate.meter(address, &held).unwrap();
        let mut other = gate.meter(address, &held).unwrap();
        meter.read(3_000);
        assert_eq!(meter.pay(), Ok(()));
        other.read(1);
        let wait = other.pay().unwrap_err();
        assert!(wait > Duration::from_millis(1_500) && wait < Duration::from_millis(2_100), "{wait:?}");
        assert!(gate.meter(ip("127.0.0.1"), &None).is_none());
    }

    #[tokio::test]
    async fn a_full_house_has_the_silent_leave_first_and_then_the_idle() {
        let house = House::of(3);
        let (busy, idle, silent) = (Presence::new(), Presence::new(), Presence::new());
        let (mut places, mut newcomers) = (Vec::new(), Vec::new());
        for present in [&busy, &idle, &silent] {
            places.push(house.enter(present).await.unwrap());
        }
        busy.began();
        idle.began();
        idle.ended();
        for (leaves, place) in [(&silent, 2), (&idle, 1)] {
            let newcomer = Presence::new();
            newcomer.began();
            let entering = house.enter(&newcomer);
            let place = async {
                leaves.asked_to_leave().await;
                drop(places.remove(place));
            };
            let (entered, ()) = tokio::join!(entering, place);
            places.push(entered.unwrap());
            newcomers.push(newcomer);
        }
        let refusal = house.enter(&Presence::new()).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Unavailable);
        assert!(refusal.message.contains("MACP_HTTP_MAX_CONNECTIONS"), "{refusal}");
    }
}
