//! Decide and apply, and the records of what came of it.

use std::hint::black_box;

use macp_kernel::command::Submission;
use macp_kernel::replay::Replay;
use macp_kernel::summary::Summary;
use macp_kernel::{Command, UnixMillis, process, record};

use crate::inputs::{Input, inputs};
use crate::{MOST, Step};

const NOW: UnixMillis = UnixMillis(200);
const APPEND_ID: [u8; 16] = [7; 16];

pub(crate) fn steps() -> Vec<Step> {
    let decides = inputs().into_iter().map(decide);
    let vote = || inputs().into_iter().find(|input| input.name == "decision-vote").unwrap();
    decides
        .chain([
            Step::new("record/encode", move || {
                let mut script = vote().script;
                let before = script.entries.len();
                script.submit(vote().envelope(0)).unwrap();
                let entries = script.entries.split_off(before);
                move |_| drop(black_box(record::encode(APPEND_ID, &entries)))
            }),
            Step::new("record/decode", move || {
                let record = recorded(&vote());
                move |_| drop(black_box(record::decode(&record)))
            }),
            Step::new("record/replay", move || {
                let input = vote();
                let record = recorded(&input);
                let sessions = vec![input.script.session; MOST];
                let mut replays: Vec<_> = sessions.into_iter().map(Replay::resume).collect();
                move |number| drop(black_box(replays[number].record(&record).unwrap()))
            }),
            Step::new("summary/encode", move || {
                let script = vote().script;
                move |_| drop(black_box(Summary::bytes_of(script.session())))
            }),
        ])
        .collect()
}

/// Every time with a session that is as it was the first time.
fn decide(input: Input) -> Step {
    Step::new(format!("decide/{}", input.name), move || {
        let catalog = input.script.catalog.clone();
        let mut sessions = vec![input.script.session.clone(); MOST];
        let commands: Vec<_> = (0..MOST)
            .map(|number| {
                let envelope = input.envelope(number).into();
                Command::Submit(Submission { envelope, within_open_sessions: true })
            })
            .collect();
        move |number| {
            let mut entries = Vec::new();
            process(&mut sessions[number], &commands[number], &catalog, NOW, &mut entries).unwrap();
            drop(black_box(entries));
        }
    })
}

fn recorded(input: &Input) -> bytes::Bytes {
    let mut script = input.script.clone();
    let before = script.entries.len();
    script.submit(input.envelope(0)).unwrap();
    record::encode(APPEND_ID, &script.entries[before..])
}
