//! Which keys rules may have: the closed levels of the five trees, annotations and vendor extensions
//! (RFC-MACP-0012 §4).

use serde_json::{Map, Value};

use super::json::sorted;

/// The rule tree of one standards-track mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Decision,
    Proposal,
    Task,
    Handoff,
    Quorum,
}

/// The trees that the rules of a policy for `mode` must satisfy; none for an extension mode, whose rules are opaque.
pub(super) fn trees(mode: &str) -> &'static [Tree] {
    match mode {
        "*" => &[Tree::Decision, Tree::Proposal, Tree::Task, Tree::Handoff, Tree::Quorum],
        "macp.mode.decision.v1" => &[Tree::Decision],
        "macp.mode.proposal.v1" => &[Tree::Proposal],
        "macp.mode.task.v1" => &[Tree::Task],
        "macp.mode.handoff.v1" => &[Tree::Handoff],
        "macp.mode.quorum.v1" => &[Tree::Quorum],
        _ => &[],
    }
}

/// What stands at a defined key.
#[derive(Clone, Copy, Debug)]
enum Node {
    /// A value without keys of its own.
    Plain,
    /// One of a list of names.
    Name,
    /// An object whose keys are data.
    OpenMap,
    /// An object with these keys.
    Level(Level),
}

type Level = &'static [(&'static str, Node)];

const COMMITMENT: Node = Node::Level(&[("authority", Node::Name), ("designated_roles", Node::Plain)]);

impl Tree {
    fn level(self) -> Level {
        match self {
            Self::Decision => &[
                (
                    "voting",
                    Node::Level(&[
                        ("algorithm", Node::Name),
                        ("threshold", Node::Plain),
                        ("quorum", Node::Level(&[("type", Node::Name), ("value", Node::Plain)])),
                        ("weights", Node::OpenMap),
                    ]),
                ),
                (
                    "objection_handling",
                    Node::Level(&[
                        ("critical_severity_vetoes", Node::Plain),
                        ("veto_threshold", Node::Plain),
                        ("critical_objection_action", Node::Name),
                    ]),
                ),
                (
                    "evaluation",
                    Node::Level(&[
                        ("minimum_confidence", Node::Plain),
                        ("required_before_voting", Node::Plain),
                    ]),
                ),
                (
                    "commitment",
                    Node::Level(&[
                        ("authority", Node::Name),
                        ("designated_roles", Node::Plain),
                        ("require_vote_quorum", Node::Plain),
                        ("allow_decline_over_approval", Node::Plain),
                    ]),
                ),
            ],
            Self::Proposal => &[
                ("acceptance", Node::Level(&[("criterion", Node::Name)])),
                ("counter_proposal", Node::Level(&[("max_rounds", Node::Plain)])),
                ("rejection", Node::Level(&[("terminal_on_any_reject", Node::Plain)])),
                ("commitment", COMMITMENT),
            ],
            Self::Task => &[
                ("assignment", Node::Level(&[("allow_reassignment_on_reject", Node::Plain)])),
                ("completion", Node::Level(&[("require_output", Node::Plain)])),
                ("commitment", COMMITMENT),
            ],
            Self::Handoff => &[
                ("acceptance", Node::Level(&[("implicit_accept_timeout_ms", Node::Plain)])),
                ("commitment", COMMITMENT),
            ],
            Self::Quorum => &[
                ("threshold", Node::Level(&[("type", Node::Name), ("value", Node::Plain)])),
                (
                    "abstention",
                    Node::Level(&[("counts_toward_quorum", Node::Plain), ("interpretation", Node::Name)]),
                ),
                ("commitment", COMMITMENT),
            ],
        }
    }
}

/// One position of the union of several trees: a policy for `*` is closed over all of them at once.
#[derive(Clone, Debug)]
struct Levels(Vec<Level>);

impl Levels {
    fn top(trees: &[Tree]) -> Self {
        Self(trees.iter().map(|tree| tree.level()).collect())
    }

    /// What stands at `key`; the trees agree wherever they share a key.
    fn node(&self, key: &str) -> Option<Node> {
        self.0.iter().copied().flatten().find(|(name, _)| *name == key).map(|(_, node)| *node)
    }

    /// The closed levels below `key`.
    fn below(&self, key: &str) -> Self {
        let below = |(name, node): &(&str, Node)| match node {
            Node::Level(level) if *name == key => Some(*level),
            _ => None,
        };
        Self(self.0.iter().copied().flatten().filter_map(below).collect())
    }
}

/// `^[_$]`: a note that evaluation and equality pass over.
fn is_annotation(key: &str) -> bool {
    key.starts_with(['_', '$'])
}

/// `^x-[a-z0-9]+(\.[a-z0-9-]+)+$`
fn is_vendor(key: &str) -> bool {
    let lower = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let Some((owner, rest)) = key.strip_prefix("x-").and_then(|name| name.split_once('.')) else {
        return false;
    };
    !owner.is_empty()
        && owner.as_bytes().iter().all(lower)
        && rest
            .split('.')
            .all(|part| !part.is_empty() && part.as_bytes().iter().all(|b| *b == b'-' || lower(b)))
}

/// Checks that every key at every closed level has a meaning here, depth first in key order.
pub(super) fn check_keys(trees: &[Tree], rules: &Map<String, Value>) -> Result<(), String> {
    if trees.is_empty() {
        return Ok(());
    }
    walk_keys(&Levels::top(trees), rules, None)?;
    // No vendor extension is implemented by this server.
    match sorted(rules).into_iter().find(|(key, _)| is_vendor(key)) {
        Some((key, _)) => Err(format!("this server does not implement the vendor extension {key:?}")),
        None => Ok(()),
    }
}

fn walk_keys(levels: &Levels, object: &Map<String, Value>, path: Option<&str>) -> Result<(), String> {
    for (key, value) in sorted(object) {
        if is_annotation(key) {
            continue;
        }
        if is_vendor(key) {
            match path {
                Some(path) => {
                    return Err(format!(
                        "the vendor extension {key:?} may only stand at the top of rules, not in {path}"
                    ));
                }
                None if value.is_object() => continue,
                None => return Err(format!("the vendor extension {key:?} must be an object")),
            }
        }
        match (levels.node(key), value) {
            (None, _) => {
                return Err(format!("{key:?} is not a key of {}", path.unwrap_or("these rules")));
            }
            (Some(Node::Level(_)), Value::Object(below)) => {
                walk_keys(&levels.below(key), below, Some(&join(path, key)))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks that objects and names stand where they must.
pub(super) fn check_shape(trees: &[Tree], rules: &Map<String, Value>) -> Result<(), String> {
    walk_shape(&Levels::top(trees), rules, None)
}

fn walk_shape(levels: &Levels, object: &Map<String, Value>, path: Option<&str>) -> Result<(), String> {
    for (key, value) in sorted(object) {
        match (levels.node(key), value) {
            (Some(Node::Level(_)), Value::Object(below)) => {
                walk_shape(&levels.below(key), below, Some(&join(path, key)))?;
            }
            (Some(Node::OpenMap), Value::Object(_)) | (Some(Node::Name), Value::String(_)) => {}
            (Some(Node::Level(_) | Node::OpenMap), _) => {
                return Err(format!("{} must be an object", join(path, key)));
            }
            (Some(Node::Name), _) => return Err(format!("{} must be a string", join(path, key))),
            (Some(Node::Plain) | None, _) => {}
        }
    }
    Ok(())
}

fn join(path: Option<&str>, key: &str) -> String {
    path.map_or_else(|| key.to_owned(), |path| format!("{path}.{key}"))
}

/// The rules without the annotations at closed levels. Elsewhere such keys are data and stay.
pub(super) fn without_annotations(trees: &[Tree], rules: Value) -> Value {
    strip(&Levels::top(trees), rules)
}

fn strip(levels: &Levels, value: Value) -> Value {
    match value {
        Value::Object(object) if !levels.0.is_empty() => Value::Object(
            object
                .into_iter()
                .filter(|(key, _)| !is_annotation(key))
                .map(|(key, below)| {
                    let below = strip(&levels.below(&key), below);
                    (key, below)
                })
                .collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_keys() {
        for key in ["x-acme.limits", "x-9.a", "x-acme.a-b.c", "x-acme.-"] {
            assert!(is_vendor(key), "{key}");
        }
        for key in
            ["x-acme", "x-.a", "x-acme.", "x-acme..a", "x-Acme.a", "x-a-b.c", "X-acme.a", "x_acme.a", "x-é.a"]
        {
            assert!(!is_vendor(key), "{key}");
        }
    }

    #[test]
    fn trees_agree_wherever_they_share_a_key() {
        let all = trees("*");
        for tree in all {
            for (key, node) in tree.level() {
                let union = Levels::top(all).node(key).unwrap();
                assert_eq!(std::mem::discriminant(node), std::mem::discriminant(&union), "{key}");
            }
        }
    }
}
