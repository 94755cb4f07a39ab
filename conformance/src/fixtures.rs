//! Loading fixtures: one folder, the files asked for, and older editions brought up to date.

use std::path::Path;

use macp_conform::fixture::Fixture;
use macp_conform::{FixtureSet, LoadError};

/// The fixtures of a folder, or those of `names` (without `.json`), with full payload-type names.
///
/// # Errors
/// When the folder cannot be read, a file is no fixture, or a name is not there.
pub(crate) fn load(folder: &Path, names: &[String]) -> Result<FixtureSet, LoadError> {
    let mut set = FixtureSet::from_dir(folder)?;
    if !names.is_empty() {
        if let Some(missing) = names.iter().find(|name| !has(&set, name)) {
            return Err(LoadError(format!("{} has no fixture {missing:?}", folder.display())));
        }
        let wanted = |file: &str| names.iter().any(|name| name == stem(file));
        set.fixtures.retain(|fixture| wanted(&fixture.name));
        set.vectors.retain(|vector| wanted(&vector.name));
    }
    for named in &mut set.fixtures {
        modernise(&mut named.fixture, &named.name);
    }
    Ok(set)
}

/// Brings a fixture from before the payload types had full names to what it says today; leaves all others alone.
fn modernise(fixture: &mut Fixture, file: &str) {
    if fixture.messages.iter().all(|message| message.payload_type.starts_with("macp.")) {
        return;
    }
    for message in &mut fixture.messages {
        message.payload_type = full_payload_type(&message.payload_type);
    }
    if stem(file) == "multi_round_happy_path" {
        // Agreement takes every participant. This one listed a coordinator that contributes nothing, and lists it no
        // longer.
        fixture.participants.retain(|participant| *participant != fixture.initiator);
    }
}

/// A fixture's name: that of its file, without folder and `.json`.
pub(crate) fn stem(file: &str) -> &str {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.strip_suffix(".json").unwrap_or(file)
}

fn has(set: &FixtureSet, name: &str) -> bool {
    let files = set.fixtures.iter().map(|fixture| &fixture.name);
    files.chain(set.vectors.iter().map(|vector| &vector.name)).any(|file| stem(file) == name)
}

/// `decision.Proposal` and `Commitment`, as older fixtures write them, in the full names that the runner reads.
fn full_payload_type(name: &str) -> String {
    if name.starts_with("macp.") {
        return name.to_owned();
    }
    match name.split_once('.') {
        Some((mode, message)) => format!("macp.modes.{mode}.v1.{message}Payload"),
        None => format!("macp.v1.{name}Payload"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_full_and_full_names_stay() {
        for (name, full) in [
            ("decision.Proposal", "macp.modes.decision.v1.ProposalPayload"),
            ("multi_round.Contribute", "macp.modes.multi_round.v1.ContributePayload"),
            ("Commitment", "macp.v1.CommitmentPayload"),
            ("macp.modes.task.v1.TaskRequestPayload", "macp.modes.task.v1.TaskRequestPayload"),
        ] {
            assert_eq!(full_payload_type(name), full);
        }
    }
}
