//! What the operator lists in files, which are read at the start and again while the gateway runs: roots, agents' manifests,
//! policies, static tokens and origins.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use macp_auth::{Origins, StaticTokens};
use macp_engine::{Agents, Roots};
use macp_kernel::policy::Policy;
use macp_wire::json;
use macp_wire::v1::{AgentManifest, Root};
use serde::Deserialize;
use serde_json::Value;

use super::{Lookup, Reader, auth, cors_origins, policies};

pub(super) const ROOTS_FILE: &str = "MACP_ROOTS_FILE";
pub(super) const MANIFESTS_DIR: &str = "MACP_AGENT_MANIFESTS_DIR";

/// Largest roots file and manifest, in bytes.
const MAX_DOCUMENT: u64 = 1 << 20;
/// Most manifests.
const MAX_MANIFESTS: usize = 10_000;

/// The settings that name or hold the lists; what they say holds at once when it changes.
pub(crate) const SETTINGS: [&str; 6] = [
    ROOTS_FILE,
    MANIFESTS_DIR,
    "MACP_POLICIES_DIR",
    "MACP_AUTH_TOKENS_FILE",
    "MACP_AUTH_TOKENS_JSON",
    "MACP_HTTP_CORS_ORIGINS",
];

/// Each list as it is now, or everything that is wrong with it.
#[derive(Debug)]
pub(crate) struct Lists {
    /// `MACP_ROOTS_FILE`
    pub(crate) roots: Result<Roots, Vec<String>>,
    /// `MACP_AGENT_MANIFESTS_DIR`
    pub(crate) agents: Result<Agents, Vec<String>>,
    /// `MACP_POLICIES_DIR`, if it is set.
    pub(crate) policies: Result<Option<Vec<Policy>>, Vec<String>>,
    /// `MACP_AUTH_TOKENS_FILE` or `MACP_AUTH_TOKENS_JSON`, if one is set.
    pub(crate) tokens: Result<Option<StaticTokens>, Vec<String>>,
    /// `MACP_HTTP_CORS_ORIGINS`
    pub(crate) origins: Result<Origins, Vec<String>>,
}

impl Lists {
    /// Reads all of them.
    pub(crate) fn read(lookup: Lookup<'_>) -> Self {
        Self {
            roots: alone(lookup, roots),
            agents: alone(lookup, agents),
            policies: alone(lookup, policies),
            tokens: alone(lookup, auth::tokens),
            origins: alone(lookup, cors_origins),
        }
    }
}

/// The files and directories that the lists are in.
pub(crate) fn files(lookup: Lookup<'_>) -> Vec<PathBuf> {
    let named = SETTINGS.iter().filter(|name| name.ends_with("_FILE") || name.ends_with("_DIR"));
    named.filter_map(|name| lookup(name)).filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

/// What one list is, without regard to the others.
fn alone<T>(lookup: Lookup<'_>, read: impl FnOnce(&mut Reader<'_>) -> T) -> Result<T, Vec<String>> {
    let mut reader = Reader { lookup, errors: Vec::new() };
    let list = read(&mut reader);
    if reader.errors.is_empty() { Ok(list) } else { Err(reader.errors) }
}

pub(super) fn roots(reader: &mut Reader<'_>) -> Roots {
    let Some(path) = reader.text(ROOTS_FILE) else { return Roots::default() };
    let roots = document(path.as_ref()).and_then(|text| parse_roots(&text));
    roots.unwrap_or_else(|why| {
        reader.errors.push(format!("{ROOTS_FILE}={path:?} {why}"));
        Roots::default()
    })
}

/// An array of roots, or the answer of `ListRoots`.
fn parse_roots(text: &[u8]) -> Result<Roots, String> {
    /// As the message, but that a misspelt member is a mistake.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        uri: String,
        #[serde(default)]
        name: String,
    }
    let list = match serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))? {
        list @ Value::Array(_) => list,
        Value::Object(mut object) if object.len() == 1 && object.contains_key("roots") => {
            object.remove("roots").unwrap_or_default()
        }
        _ => return Err("is not an array of objects with uri and name".into()),
    };
    let entries: Vec<Entry> = serde_json::from_value(list)
        .map_err(|error| format!("is not an array of objects with uri and name: {error}"))?;
    let root = |entry: Entry| Root { uri: entry.uri, name: entry.name };
    Roots::new(entries.into_iter().map(root).collect()).map_err(|error| format!("cannot be served: {error}"))
}

pub(super) fn agents(reader: &mut Reader<'_>) -> Agents {
    let Some(directory) = reader.text(MANIFESTS_DIR) else { return Agents::default() };
    let agents = load_agents(directory.as_ref());
    agents.unwrap_or_else(|why| {
        reader.errors.push(format!("{MANIFESTS_DIR}={directory:?}: {why}"));
        Agents::default()
    })
}

/// Every `*.json` of the directory is a manifest, as agents serve it themselves.
fn load_agents(directory: &Path) -> Result<Agents, String> {
    let files = crate::policies::files(directory)?;
    if files.len() > MAX_MANIFESTS {
        return Err(format!("there are {} manifests; the most is {MAX_MANIFESTS}", files.len()));
    }
    let mut agents = Agents::default();
    for file in files {
        let add = |text: Vec<u8>| {
            let manifest: AgentManifest =
                json::from_slice(&text).map_err(|error| format!("is not an agent's manifest: {error}"))?;
            agents.with(manifest).map_err(|error| format!("cannot be served: {error}"))
        };
        document(&file).and_then(add).map_err(|why| format!("{} {why}", file.display()))?;
    }
    Ok(agents)
}

fn document(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(MAX_DOCUMENT + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_DOCUMENT {
        return Err(format!("has more than {MAX_DOCUMENT} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_an_array_or_the_answer_of_the_call() {
        for text in [
            r#"[{"uri":"file:///a","name":"A"},{"uri":"urn:b"}]"#,
            r#"{"roots":[{"uri":"file:///a","name":"A"},{"uri":"urn:b"}]}"#,
        ] {
            assert_eq!(parse_roots(text.as_bytes()).unwrap().len(), 2);
        }
        assert!(parse_roots(b"[]").unwrap().is_empty());
        for (text, part) in [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("{}", "is not an array"),
            ("5", "is not an array"),
            (r#"{"roots":{}}"#, "is not an array"),
            (r#"[{"url":"file:///a"}]"#, "unknown field `url`"),
            (r#"[{"name":"a"}]"#, "missing field `uri`"),
            (r#"[{"uri":"/a"}]"#, "root 1 has an empty uri or one without a scheme"),
        ] {
            let error = parse_roots(text.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn manifests_are_those_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let manifest = |id: &str| {
            format!(
                r#"{{"agent_id":"{id}","description":"d","supported_modes":["m"],"input_content_types":["a/b"],
                    "output_content_types":["a/b"],"something_new":1}}"#
            )
        };
        write("a.json", &manifest("agent://a"));
        write("b.json", &manifest("agent://b"));
        write("notes.txt", "none");
        let agents = load_agents(directory.path()).unwrap();
        assert!(agents.len() == 2 && agents.contains("agent://a"));
        for (text, part) in [
            ("{", "c.json is not an agent's manifest"),
            (r#"{"agent_id":"agent://c"}"#, "c.json cannot be served: description is missing"),
            (&manifest("agent://a"), "c.json cannot be served: agent_id \"agent://a\" has another manifest"),
            (&"x".repeat(1 << 21), "c.json has more than 1048576 bytes"),
        ] {
            write("c.json", text);
            let error = load_agents(directory.path()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn one_bad_list_is_no_fault_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let roots = directory.path().join("roots.json");
        std::fs::write(&roots, "[]").unwrap();
        let roots = roots.to_str().unwrap().to_owned();
        let lookup = |name: &str| match name {
            ROOTS_FILE => Some(roots.clone()),
            MANIFESTS_DIR => Some("/nonexistent".to_owned()),
            "MACP_AUTH_TOKENS_FILE" => Some("/nonexistent/tokens".to_owned()),
            "MACP_HTTP_CORS_ORIGINS" => Some("*".to_owned()),
            _ => None,
        };
        let lists = Lists::read(&lookup);
        assert!(lists.roots.is_ok() && matches!(lists.policies, Ok(None)));
        for (name, error) in [
            (MANIFESTS_DIR, lists.agents.unwrap_err()),
            ("MACP_AUTH_TOKENS_FILE", lists.tokens.unwrap_err()),
            ("MACP_HTTP_CORS_ORIGINS", lists.origins.unwrap_err()),
        ] {
            assert!(error.len() == 1 && error[0].contains(name), "{error:?}");
        }
        assert_eq!(files(&lookup).len(), 3);
    }
}
