//! `log export`: sessions as JSON lines on standard output, each record checked on its way.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use bytes::Bytes;
use macp_engine::RECEIPTS;
use macp_store::{EmbeddedStore, LogStore, SummaryFilter};
use tokio::runtime::Runtime;

use crate::cli::RunError;
use crate::log::lines::{self, End, Line, hex};

/// Records and sessions read at a time.
const PAGE: usize = 256;

/// Writes the named sessions, or all of them.
pub(crate) fn run(
    runtime: &Runtime,
    store: &EmbeddedStore,
    sessions: Option<&[String]>,
) -> Result<ExitCode, RunError> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut export = |id: &Bytes| {
        session(runtime, store, id, &mut out)
            .map_err(|why| RunError::start(format!("session {:?}", String::from_utf8_lossy(id)), why))
    };
    match sessions {
        Some(ids) => ids.iter().try_for_each(|id| export(&Bytes::copy_from_slice(id.as_bytes())))?,
        None => {
            let mut after: Option<Bytes> = None;
            loop {
                let page = runtime.block_on(store.list(SummaryFilter::All, after.as_ref(), PAGE));
                let page = page.map_err(|error| RunError::start("the sessions cannot be listed", error))?;
                for summarized in &page {
                    export(&summarized.stream)?;
                }
                match page.last() {
                    Some(last) => after = Some(last.stream.clone()),
                    None => break,
                }
            }
        }
    }
    out.flush().map_err(|error| RunError::start("standard output", error))?;
    Ok(ExitCode::SUCCESS)
}

fn session(
    runtime: &Runtime,
    store: &EmbeddedStore,
    stream: &Bytes,
    out: &mut impl Write,
) -> Result<(), String> {
    let id = std::str::from_utf8(stream).map_err(|error| error.to_string())?;
    let mut end = None;
    loop {
        let after = end.as_ref().map(|(position, _)| *position);
        let page = store.export(stream, after, PAGE).map_err(|error| error.to_string())?;
        if page.is_empty() {
            break;
        }
        for exported in &page {
            if end.is_none() {
                write(out, &lines::first(id))?;
            }
            for line in lines::of_record(id, exported)? {
                write(out, &line)?;
            }
            end = Some((exported.position, exported.link));
        }
    }
    let (position, link) = end.ok_or("it is not stored here")?;
    let receipt = runtime.block_on(store.get_side(RECEIPTS, stream)).map_err(|error| error.to_string())?;
    if let Some(receipt) = receipt {
        let receipt = String::from_utf8(receipt.into()).map_err(|error| error.to_string())?;
        write(out, &lines::receipt(id, receipt))?;
    }
    let end = End { position: position.to_engine(), link: hex(&link) };
    write(out, &lines::end(id, end))
}

fn write(out: &mut impl Write, line: &Line) -> Result<(), String> {
    serde_json::to_writer(&mut *out, line).map_err(|error| error.to_string())?;
    out.write_all(b"\n").map_err(|error| error.to_string())
}
