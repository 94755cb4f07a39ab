//! What a stream reads from: a session's history, or one of the five watches.

use std::sync::Arc;

use macp_engine::{
    Delivery, Engine, Event, ModeRegistryWatch, PolicyWatch, RootsWatch, SessionWatch, Signal, SignalWatch,
    Subscription,
};
use macp_kernel::{Identity, Refusal};
use macp_wire::gateway::v1::Topic;
use macp_wire::gateway::v1::event::Update;
use macp_wire::v1::SessionState;

pub(crate) enum Source {
    Session(Box<Subscription>),
    Sessions(Box<SessionWatch>),
    Signals(SignalWatch),
    Policies(PolicyWatch),
    ModeRegistry(ModeRegistryWatch),
    Roots(RootsWatch),
}

/// What comes out of a source.
pub(crate) enum Item {
    Envelope(Arc<Delivery>),
    Ended { state: SessionState, last_sequence: u64 },
    Signal(Signal),
    Update(Topic, Box<Update>),
}

impl Source {
    /// Opens the watch of a topic.
    pub(crate) async fn watch(engine: &Engine, identity: &Identity, topic: Topic) -> Result<Self, Refusal> {
        Ok(match topic {
            Topic::Sessions => Self::Sessions(Box::new(engine.watch_sessions(identity).await?)),
            Topic::Signals => Self::Signals(engine.watch_signals(identity).await?),
            Topic::Policies => Self::Policies(engine.watch_policies(identity).await?),
            Topic::ModeRegistry => Self::ModeRegistry(engine.watch_mode_registry(identity).await?),
            Topic::Roots => Self::Roots(engine.watch_roots(identity).await?),
            Topic::Unspecified => return Err(Refusal::invalid_request("topic: required")),
        })
    }

    /// The next item. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Item, Refusal> {
        Ok(match self {
            Self::Session(subscription) => match subscription.next().await? {
                Event::Envelope(delivery) => Item::Envelope(delivery),
                Event::Ended { state, last_sequence } => Item::Ended { state, last_sequence },
            },
            Self::Signals(watch) => Item::Signal(watch.next().await?),
            Self::Sessions(watch) => {
                Item::Update(Topic::Sessions, Box::new(Update::Session(watch.next().await?)))
            }
            Self::Policies(watch) => {
                Item::Update(Topic::Policies, Box::new(Update::Policies(watch.next().await?)))
            }
            Self::ModeRegistry(watch) => {
                Item::Update(Topic::ModeRegistry, Box::new(Update::ModeRegistry(watch.next().await?)))
            }
            Self::Roots(watch) => Item::Update(Topic::Roots, Box::new(Update::Roots(watch.next().await?))),
        })
    }

    /// Whether there certainly is nothing to deliver now.
    pub(crate) fn is_caught_up(&self) -> bool {
        match self {
            Self::Session(subscription) => subscription.is_caught_up(),
            _ => false,
        }
    }

    /// The session's id; empty for a watch.
    pub(crate) fn session_id(&self) -> String {
        match self {
            Self::Session(subscription) => subscription.session_id().to_string(),
            _ => String::new(),
        }
    }

    /// Where a subscription begins.
    pub(crate) fn after_sequence(&self) -> u64 {
        match self {
            Self::Session(subscription) => subscription.after_sequence(),
            _ => 0,
        }
    }
}
