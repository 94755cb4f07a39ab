//! Whole sends through the engine on a store in memory, alone and before an audience.

use std::sync::Arc;

use macp_engine::testing::{ManualClock, generous_limits};
use macp_engine::{Engine, Options, Subscription};
use macp_kernel::testing::{B, INITIATOR, Message, SESSION, message};
use macp_kernel::{Identity, UnixMillis};
use macp_store::MemoryStore;
use tokio::runtime::{Builder, Runtime};

use crate::Step;

/// Subscribers of the session.
const AUDIENCE: usize = 100;
const MODE: &str = "macp.mode.task.v1";

pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new("engine/send", || {
            let (runtime, engine, who, updates) = session();
            move |number| send(&runtime, &engine, &who, &updates, number)
        }),
        Step::new("engine/send-to-100-subscribers", || {
            let (runtime, engine, who, updates) = session();
            let mut audience = audience(&runtime, &engine);
            move |number| {
                send(&runtime, &engine, &who, &updates, number);
                runtime.block_on(async {
                    for subscription in &mut audience {
                        std::hint::black_box(subscription.next().await.unwrap());
                    }
                });
            }
        }),
    ]
}

/// An engine with a Task session in which any number of updates can be sent.
fn session() -> (Runtime, Engine, Identity, Message) {
    let runtime = Builder::new_current_thread().build().unwrap();
    let options = Options { limits: generous_limits(), ..Options::default() };
    let clock = Arc::new(ManualClock::at(UnixMillis(1_790_000_000_000).0));
    let opened = Engine::open(Arc::new(MemoryStore::new()), clock, options);
    let engine = runtime.block_on(opened).unwrap();
    let initiator = identity(INITIATOR);
    let who = identity(B);
    let begin = [
        (&initiator, INITIATOR, message::start(&message::start_payload())),
        (&initiator, INITIATOR, message::task::request("t1", B)),
        (&who, B, message::task::accept("t1", B)),
    ];
    for (number, (identity, sender, message)) in begin.into_iter().enumerate() {
        let envelope = message.envelope(MODE, sender, &format!("begin-{number}"));
        runtime.block_on(engine.submit(identity, envelope)).unwrap();
    }
    (runtime, engine, who, message::task::update("t1", 0.5))
}

fn send(runtime: &Runtime, engine: &Engine, who: &Identity, update: &Message, number: usize) {
    let envelope = update.envelope(MODE, B, &format!("7f1d2c3e-{number:012}"));
    assert!(runtime.block_on(engine.send_envelope(who, envelope)).ok);
}

fn audience(runtime: &Runtime, engine: &Engine) -> Vec<Subscription> {
    let subscribe = async |_| {
        let mut subscription = engine.subscribe(&identity(INITIATOR), SESSION, 0).await.unwrap();
        // What has been sent before.
        for _ in 0..3 {
            subscription.next().await.unwrap();
        }
        subscription
    };
    (0..AUDIENCE).map(|number| runtime.block_on(subscribe(number))).collect()
}

fn identity(sender: &str) -> Identity {
    Identity::Known(macp_kernel::testing::caller(sender))
}
