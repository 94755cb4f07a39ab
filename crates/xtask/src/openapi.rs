//! The OpenAPI document: written from the code, and compared with what is checked in.

use std::fs;
use std::path::Path;

use macp_openapi::{COMMAND, FILE};

/// Writes the document, or only compares it.
pub(crate) fn run(check: bool) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let text = runtime.block_on(macp_openapi::text()).map_err(|error| error.to_string())?;
    if fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
        return Ok(format!("{FILE} is what the code gives"));
    }
    if check {
        return Err(format!("{FILE} is stale; run: {COMMAND}"));
    }
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("{FILE} is written"))
}
