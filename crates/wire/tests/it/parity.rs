//! Our protos against those of the published package `macp-proto`: every fact that reaches the wire is equal.

use std::collections::BTreeSet;
use std::path::Path;

use prost_reflect::{DescriptorPool, EnumDescriptor, MessageDescriptor};

const FILES: [&str; 9] = [
    "macp/v1/envelope.proto",
    "macp/v1/policy.proto",
    "macp/v1/core.proto",
    "macp/modes/decision/v1/decision.proto",
    "macp/modes/proposal/v1/proposal.proto",
    "macp/modes/task/v1/task.proto",
    "macp/modes/handoff/v1/handoff.proto",
    "macp/modes/quorum/v1/quorum.proto",
    "macp/modes/multi_round/v1/multi_round.proto",
];

#[test]
fn protos_are_wire_identical_to_the_published_package() {
    let published = facts(&macp_proto::proto_dir());
    let ours = facts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto"));
    assert!(published.len() > 400, "only {} facts were read", published.len());
    let missing: Vec<_> = published.difference(&ours).collect();
    let added: Vec<_> = ours.difference(&published).collect();
    assert!(missing.is_empty() && added.is_empty(), "missing: {missing:#?}\nadded: {added:#?}");
}

/// The published package has no proto file that ours leaves out.
#[test]
fn every_published_file_is_compared() {
    let mut found = BTreeSet::new();
    let mut folders = vec![macp_proto::proto_dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                let relative = path.strip_prefix(macp_proto::proto_dir()).unwrap();
                found.insert(relative.to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    assert_eq!(found, FILES.into_iter().map(str::to_owned).collect());
}

/// The embedded descriptors are those of the proto files.
#[test]
fn the_embedded_descriptors_are_current() {
    let files = [&FILES[..], &["macp/gateway/v1/websocket.proto"]].concat();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    assert_eq!(facts_of(&compile(&files, &folder)), facts_of(&crate::types::POOL));
}

fn compile(files: &[&str], folder: &Path) -> DescriptorPool {
    DescriptorPool::from_file_descriptor_set(protox::compile(files, [folder]).unwrap()).unwrap()
}

fn facts(folder: &Path) -> BTreeSet<String> {
    facts_of(&compile(&FILES, folder))
}

/// One line for each package, message, field, enum value and method.
fn facts_of(pool: &DescriptorPool) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for file in pool.files() {
        facts.insert(format!("file {} package {} {:?}", file.name(), file.package_name(), file.syntax()));
    }
    for message in pool.all_messages() {
        facts.extend(message_facts(&message));
    }
    for kind in pool.all_enums() {
        facts.extend(enum_facts(&kind));
    }
    for service in pool.services() {
        for method in service.methods() {
            facts.insert(format!(
                "rpc {} ({} {}) -> ({} {})",
                method.full_name(),
                method.is_client_streaming(),
                method.input().full_name(),
                method.is_server_streaming(),
                method.output().full_name(),
            ));
        }
    }
    facts
}

fn message_facts(message: &MessageDescriptor) -> Vec<String> {
    let fields = message.fields().map(|field| {
        format!(
            "field {} = {} {:?} {:?} {} presence {} packed {} oneof {:?}",
            field.full_name(),
            field.number(),
            field.kind(),
            field.cardinality(),
            field.json_name(),
            field.supports_presence(),
            field.is_packed(),
            field.containing_oneof().map(|oneof| oneof.full_name().to_owned()),
        )
    });
    std::iter::once(format!("message {}", message.full_name())).chain(fields).collect()
}

fn enum_facts(kind: &EnumDescriptor) -> Vec<String> {
    let values = kind.values().map(|value| format!("value {} = {}", value.full_name(), value.number()));
    std::iter::once(format!("enum {}", kind.full_name())).chain(values).collect()
}
