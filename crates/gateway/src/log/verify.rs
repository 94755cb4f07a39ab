//! `log verify`: checksums and chains by the store, and for each session that its replay gives its stored state.
#![allow(clippy::print_stdout, reason = "the findings are the command's output")]

use std::process::ExitCode;

use bytes::Bytes;
use macp_kernel::replay::Replay;
use macp_kernel::summary::Summary;
use macp_store::{EmbeddedStore, LogStore};
use tokio::runtime::Runtime;

use crate::cli::RunError;
use crate::log::lines::hex;

/// Records read at a time.
const PAGE: usize = 256;
/// Sessions between two lines about the progress.
const PROGRESS: u64 = 100_000;

/// Checks everything in the store and prints what is wrong.
pub(crate) fn run(runtime: &Runtime, store: &EmbeddedStore, links: bool) -> Result<ExitCode, RunError> {
    let (mut sessions, mut records, mut findings) = (0_u64, 0, 0_u64);
    for found in store.verify() {
        let verified = match found {
            Ok(verified) => verified,
            Err(finding) => {
                findings += 1;
                println!("{finding}");
                continue;
            }
        };
        sessions += 1;
        records += verified.records;
        if let Err(why) = replays(runtime, store, &verified.stream) {
            findings += 1;
            println!("session {:?}: {why}", String::from_utf8_lossy(&verified.stream));
        }
        if links {
            let stream = String::from_utf8_lossy(&verified.stream).into_owned();
            println!("{stream} {} {}", verified.records, hex(&verified.link));
        }
        if sessions % PROGRESS == 0 {
            tracing::info!(sessions, records, findings, "verifying");
        }
    }
    let verdict = if findings == 0 { "nothing is wrong".to_owned() } else { format!("{findings} findings") };
    println!("{sessions} sessions, {records} records: {verdict}");
    Ok(if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the rules, applied to the stored records, give the stored summary.
fn replays(runtime: &Runtime, store: &EmbeddedStore, stream: &Bytes) -> Result<(), String> {
    let mut replay = Replay::default();
    let mut after = None;
    loop {
        let page = store.export(stream, after, PAGE).map_err(|error| error.to_string())?;
        let short = page.len() < PAGE;
        for exported in page {
            after = Some(exported.position);
            replay
                .record(&exported.record)
                .map_err(|error| format!("record {}: {error}", exported.position.to_engine()))?;
        }
        if short {
            break;
        }
    }
    let session = replay.into_session().ok_or("it has no records")?;
    if session.id.as_bytes() != &stream[..] {
        return Err(format!("its records are those of session {:?}", session.id.as_str()));
    }
    let stored = runtime.block_on(store.summary(stream)).map_err(|error| error.to_string())?;
    let stored = stored.ok_or("its summary is missing")?;
    if stored.live == session.lifecycle.is_terminal() {
        return Err(format!("it is {}, and not listed as such", session.lifecycle.name()));
    }
    let summary =
        Summary::from_bytes(stored.bytes).map_err(|error| format!("its summary does not decode: {error}"))?;
    if !Summary::of(&session).agrees_with(&summary) {
        return Err("its summary is not what its records lead to".to_owned());
    }
    Ok(())
}
