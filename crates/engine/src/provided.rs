//! What the operator provides beside policies: resource roots and the manifests of agents. Each list is replaced as a
//! whole while the server runs, so that a reader sees the old one or the new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use macp_kernel::{Refusal, RefusalCode};
use macp_wire::v1::{AgentManifest, Root};
use parking_lot::RwLock;
use tokio::sync::watch;

/// The transports that the specification registers (`registries/transports.md`).
const TRANSPORTS: [&str; 4] = [
    "macp.transport.grpc.v1",
    "macp.transport.http.v1",
    "macp.transport.websocket.v1",
    "macp.transport.messagebus.v1",
];

/// Most roots: they are one answer.
pub const MAX_ROOTS: usize = 1000;

/// Roots that were found to be good.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roots(Arc<[Root]>);

/// Why a list of roots is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// A root that nobody could refer to; its place counts from 1.
    #[error("root {number} has an empty uri or one without a scheme; write it like file:///srv/data")]
    NoUri {
        /// Its place in the list.
        number: usize,
    },
    /// One resource under two names.
    #[error("root {number} has the uri of an earlier one, {uri:?}")]
    Twice {
        /// Its place in the list, from 1.
        number: usize,
        /// The uri.
        uri: String,
    },
    /// More than fit into an answer.
    #[error("there are {0} roots; the most is {MAX_ROOTS}")]
    TooMany(usize),
}

impl Roots {
    /// Checks a list of roots: each has a uri of its own, with a scheme.
    ///
    /// # Errors
    /// The first fault.
    pub fn new(roots: Vec<Root>) -> Result<Self, RootsError> {
        if roots.len() > MAX_ROOTS {
            return Err(RootsError::TooMany(roots.len()));
        }
        for (at, root) in roots.iter().enumerate() {
            let number = at + 1;
            let scheme = root.uri.split_once(':').map_or("", |(scheme, _)| scheme);
            let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
            if !begins || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
                return Err(RootsError::NoUri { number });
            }
            if roots[..at].iter().any(|earlier| earlier.uri == root.uri) {
                return Err(RootsError::Twice { number, uri: root.uri.clone() });
            }
        }
        Ok(Self(roots.into()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The roots, in the operator's order.
    pub(crate) fn list(&self) -> Vec<Root> {
        self.0.to_vec()
    }
}

/// Manifests of agents other than the server itself, by their id (RFC-MACP-0005 §3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agents(Arc<BTreeMap<String, AgentManifest>>);

/// Why a manifest is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A member that every manifest has.
    #[error("{0} is missing or empty")]
    Missing(&'static str),
    /// Two manifests of one agent.
    #[error("agent_id {0:?} has another manifest already")]
    Twice(String),
    /// An endpoint that no client could use; its place counts from 1.
    #[error("transport endpoint {number} {why}")]
    Endpoint {
        /// Its place in the list.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Agents {
    /// The same with one manifest more.
    ///
    /// # Errors
    /// [`ManifestError`] when it lacks what every manifest has (RFC-MACP-0005 §3), or its agent has one already.
    pub fn with(&mut self, manifest: AgentManifest) -> Result<(), ManifestError> {
        for (name, empty) in [
            ("agent_id", manifest.agent_id.trim().is_empty()),
            ("description", manifest.description.trim().is_empty()),
            ("supported_modes", manifest.supported_modes.is_empty()),
            ("input_content_types", manifest.input_content_types.is_empty()),
            ("output_content_types", manifest.output_content_types.is_empty()),
        ] {
            if empty {
                return Err(ManifestError::Missing(name));
            }
        }
        for (at, endpoint) in manifest.transport_endpoints.iter().enumerate() {
            let wrong = |why| Err(ManifestError::Endpoint { number: at + 1, why });
            if !TRANSPORTS.contains(&endpoint.transport.as_str()) {
                return wrong(
                    "names a transport that is not registered; one of them is macp.transport.grpc.v1",
                );
            }
            if !endpoint.uri.contains(':') {
                return wrong("has no uri like https://agent.example");
            }
            if endpoint.content_types.is_empty() {
                return wrong("has no content_types");
            }
        }
        if self.0.contains_key(&manifest.agent_id) {
            return Err(ManifestError::Twice(manifest.agent_id));
        }
        Arc::make_mut(&mut self.0).insert(manifest.agent_id.clone(), manifest);
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this agent has a manifest here.
    #[must_use]
    pub fn contains(&self, agent_id: &str) -> bool {
        self.0.contains_key(agent_id)
    }
}

/// The lists in use.
pub(crate) struct Provided {
    roots: watch::Sender<Roots>,
    agents: RwLock<Agents>,
}

impl Provided {
    pub(crate) fn new(roots: Roots, agents: Agents) -> Self {
        Self { roots: watch::Sender::new(roots), agents: RwLock::new(agents) }
    }

    pub(crate) fn roots(&self) -> Roots {
        self.roots.borrow().clone()
    }

    /// Changes of the roots.
    pub(crate) fn root_changes(&self) -> watch::Receiver<Roots> {
        self.roots.subscribe()
    }

    /// Puts other roots in place; tells whether they differ.
    pub(crate) fn replace_roots(&self, roots: Roots) -> bool {
        self.roots.send_if_modified(|current| {
            let differs = *current != roots;
            *current = roots;
            differs
        })
    }

    /// Puts other manifests in place; tells whether they differ.
    pub(crate) fn replace_agents(&self, agents: Agents) -> bool {
        let mut current = self.agents.write();
        let differs = *current != agents;
        *current = agents;
        differs
    }

    /// The manifest of an agent.
    pub(crate) fn manifest(&self, agent_id: &str) -> Result<AgentManifest, Refusal> {
        self.agents.read().0.get(agent_id).cloned().ok_or_else(|| {
            Refusal::new(RefusalCode::AgentNotFound, "no agent with this agent_id is hosted here")
        })
    }
}

#[cfg(test)]
mod tests {
    use macp_wire::v1::TransportEndpoint;

    use super::*;

    fn root(uri: &str) -> Root {
        Root { uri: uri.into(), name: String::new() }
    }

    #[test]
    fn roots_have_uris_of_their_own() {
        let good = Roots::new(vec![root("file:///a"), root("https://b.example/c"), root("urn:x")]).unwrap();
        assert_eq!(good.len(), 3);
        for uri in ["", "/srv/data", ":x", "1a:b", "a b:c", "file"] {
            let error = Roots::new(vec![root("urn:x"), root(uri)]).unwrap_err();
            assert_eq!(error, RootsError::NoUri { number: 2 }, "{uri:?}");
        }
        let twice = Roots::new(vec![root("urn:x"), root("urn:y"), root("urn:x")]).unwrap_err();
        assert_eq!(twice, RootsError::Twice { number: 3, uri: "urn:x".into() });
        let many = (0..=MAX_ROOTS).map(|n| root(&format!("urn:{n}"))).collect();
        assert_eq!(Roots::new(many).unwrap_err(), RootsError::TooMany(MAX_ROOTS + 1));
    }

    fn manifest() -> AgentManifest {
        AgentManifest {
            agent_id: "agent://a".into(),
            description: "plans".into(),
            supported_modes: vec!["macp.mode.decision.v1".into()],
            input_content_types: vec!["application/json".into()],
            output_content_types: vec!["application/json".into()],
            transport_endpoints: vec![TransportEndpoint {
                transport: "macp.transport.http.v1".into(),
                uri: "https://a.example".into(),
                content_types: vec!["application/json".into()],
                metadata: Default::default(),
            }],
            ..AgentManifest::default()
        }
    }

    #[test]
    fn a_manifest_has_what_the_specification_asks_for() {
        let mut agents = Agents::default();
        agents.with(manifest()).unwrap();
        assert_eq!(agents.with(manifest()), Err(ManifestError::Twice("agent://a".into())));
        type Spoil = fn(&mut AgentManifest);
        let faults: [(Spoil, &str); 8] = [
            (|m| m.agent_id.clear(), "agent_id is missing"),
            (|m| m.description = " ".into(), "description is missing"),
            (|m| m.supported_modes.clear(), "supported_modes is missing"),
            (|m| m.input_content_types.clear(), "input_content_types is missing"),
            (|m| m.output_content_types.clear(), "output_content_types is missing"),
            (|m| m.transport_endpoints[0].transport = "http".into(), "endpoint 1 names a transport"),
            (|m| m.transport_endpoints[0].uri.clear(), "endpoint 1 has no uri"),
            (|m| m.transport_endpoints[0].content_types.clear(), "endpoint 1 has no content_types"),
        ];
        for (spoil, part) in faults {
            let mut bad = manifest();
            spoil(&mut bad);
            let error = Agents::default().with(bad).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(agents.len(), 1);
    }
}
