//! Policies preloaded from `MACP_POLICIES_DIR`, and their dry run (RFC-MACP-0012 §9).
#![allow(clippy::print_stdout, reason = "the dry run reports on standard output")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use macp_kernel::UnixMillis;
use macp_kernel::policy::Policy;
use macp_wire::v1::PolicyDescriptor;
use serde_json::{Map, Value};

/// Reads every `*.json` of the directory, sorted by path; the first that is not admitted ends it.
pub(crate) fn load(directory: &Path) -> Result<Vec<Policy>, String> {
    let mut policies: Vec<Policy> = Vec::new();
    for path in files(directory)? {
        let policy = admit(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        if policies.iter().any(|known| known.id() == policy.id()) {
            return Err(format!("{}: policy_id {:?} is defined by two files", path.display(), policy.id()));
        }
        policies.push(policy);
    }
    Ok(policies)
}

/// Checks every file without starting anything; exits with 1 if one is not admitted.
pub(crate) fn dry_run(directory: &Path) -> Result<ExitCode, String> {
    let files = files(directory)?;
    if files.is_empty() {
        println!("WARNING  {}: no *.json file", directory.display());
    }
    let mut rejected = 0;
    for path in &files {
        match admit(path) {
            Ok(policy) => println!("OK       {} ({})", path.display(), policy.id()),
            Err(why) => {
                rejected += 1;
                println!("REJECTED {}: {why}", path.display());
            }
        }
    }
    println!("{} of {} policies are admitted", files.len() - rejected, files.len());
    Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The `*.json` of a directory, sorted by path.
pub(crate) fn files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn admit(path: &Path) -> Result<Policy, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let document: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| format!("is not a JSON object: {error}"))?;
    let string = |name: &str| match document.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("has no string member {name:?}")),
    };
    let rules = match document.get("rules") {
        Some(rules @ Value::Object(_)) => rules.to_string(),
        _ => return Err("has no object member \"rules\"".into()),
    };
    let schema_version = document
        .get("schema_version")
        .and_then(Value::as_u64)
        .and_then(|version| u32::try_from(version).ok())
        .ok_or("has no member \"schema_version\" that is a small whole number")?;
    let descriptor = PolicyDescriptor {
        policy_id: string("policy_id")?,
        mode: string("mode")?,
        description: string("description")?,
        rules,
        schema_version,
        registered_at_unix_ms: 0,
    };
    Policy::admit(descriptor, UnixMillis(0)).map_err(|invalid| invalid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("macp-policies-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (file, text) in files {
            std::fs::write(directory.join(file), text).unwrap();
        }
        directory
    }

    fn document(id: &str) -> String {
        format!(
            r#"{{"_comment":"x","policy_id":"{id}","mode":"*","description":"d","schema_version":1,"rules":{{}}}}"#
        )
    }

    #[test]
    fn files_load_in_order_and_others_are_left_alone() {
        let (b, a) = (document("policy.b"), document("policy.a"));
        let directory = directory("good", &[("2.json", &b), ("1.json", &a), ("notes.txt", "no policy")]);
        let ids: Vec<_> = load(&directory).unwrap().iter().map(|policy| policy.id().to_owned()).collect();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(ids, ["policy.a", "policy.b"]);
    }

    #[test]
    fn a_bad_file_is_named() {
        for (name, text, part) in [
            ("syntax", "{", "not a JSON object"),
            ("missing", r#"{"policy_id":"p"}"#, "rules"),
            ("reserved", &document("policy.default"), "INVALID_POLICY_DEFINITION"),
        ] {
            let directory = directory(name, &[("bad.json", text)]);
            let error = load(&directory).unwrap_err();
            std::fs::remove_dir_all(&directory).unwrap();
            assert!(error.contains("bad.json") && error.contains(part), "{error}");
        }
        assert!(load(Path::new("/nonexistent")).is_err());
    }
}
