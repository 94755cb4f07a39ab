//! The AsyncAPI document of the WebSocket binding: written from the frame definitions, and compared with what is
//! checked in.
//!
//! Which frames there are and what is in them comes from `proto/`, comments included. What a definition cannot say,
//! which frame answers which and how a connection begins and ends, is in `document.rs`.

mod document;
mod schema;
mod yaml;

use std::fs;
use std::path::Path;

/// Where the document is kept.
const FILE: &str = "openapi/macp-websocket.v1.yaml";
/// What writes it.
const COMMAND: &str = "cargo run -p xtask -- asyncapi";

/// Writes the document, or only compares it.
pub(crate) fn run(check: bool) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join(FILE);
    let schemas = schema::Schemas::read(&root.join("proto"))?;
    let text = format!("# Written by `{COMMAND}`.\n{}", yaml::text(&document::of(&schemas)?));
    if fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
        return Ok(format!("{FILE} is what the frame definitions give"));
    }
    if check {
        return Err(format!("{FILE} is stale; run: {COMMAND}"));
    }
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("{FILE} is written"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_is_fresh() {
        if let Err(why) = super::run(true) {
            panic!("{why}");
        }
    }
}
