//! Changes of the mode and policy registries: refusals, order of listings, and what old catalogs keep.

use macp_kernel::Catalog;
use macp_kernel::catalog::{ModeRegistryError, PolicyRegistryError};
use macp_kernel::mode::ModeKind;
use macp_kernel::policy::Policy;
use macp_wire::v1::{ModeDescriptor, PolicyDescriptor};

use crate::support::{DECISION, TASK, admit, descriptor, policy};

fn named(id: &str, mode: &str) -> Policy {
    admit(PolicyDescriptor { policy_id: id.to_owned(), ..descriptor(mode, 3, "{}") }).unwrap()
}

fn mode(id: &str) -> ModeDescriptor {
    ModeDescriptor {
        mode: id.to_owned(),
        mode_version: "2.1.0".to_owned(),
        message_types: ["SessionStart", "Bid", "Commitment"].map(str::to_owned).to_vec(),
        terminal_message_types: vec!["Commitment".to_owned()],
        schema_uris: [("proto".to_owned(), "x".to_owned())].into(),
        ..ModeDescriptor::default()
    }
}

fn with(catalog: &Catalog, id: &str) -> Catalog {
    catalog.with_mode(mode(id), ModeKind::Decision).unwrap()
}

#[test]
fn policies_come_and_go() {
    let before = Catalog::built_in();
    let after = before.with_policy(named("policy.a", DECISION)).unwrap();
    assert!(after.policy("policy.a").is_some());
    // The old value is as it was: who decides with it sees one moment.
    assert!(before.policy("policy.a").is_none());
    assert_eq!(after.without_policy("policy.a").unwrap(), before);
    assert_eq!(before.policy("").map(Policy::id), Some(Policy::DEFAULT_ID));
}

#[test]
fn a_registered_policy_is_immutable() {
    let catalog = Catalog::built_in().with_policy(named("policy.a", DECISION)).unwrap();
    // Even by the same definition, and even for a canonical profile that passed admission.
    let standard = catalog.policy("policy.std.majority").unwrap().descriptor().clone();
    for policy in [named("policy.a", DECISION), named("policy.a", "*"), admit(standard).unwrap()] {
        let error = catalog.with_policy(policy.clone()).unwrap_err();
        assert_eq!(error, PolicyRegistryError::AlreadyRegistered(policy.id().to_owned()));
        assert!(!error.to_string().starts_with("INVALID_POLICY_DEFINITION"), "{error}");
    }
}

#[test]
fn policies_that_cannot_go() {
    let catalog = Catalog::built_in();
    for provided in Policy::provided() {
        assert_eq!(
            catalog.without_policy(provided.id()),
            Err(PolicyRegistryError::Provided(provided.id().to_owned()))
        );
    }
    for unknown in ["", "policy.a", "policy.std.nothing"] {
        assert_eq!(catalog.without_policy(unknown), Err(PolicyRegistryError::Unknown(unknown.to_owned())));
    }
}

#[test]
fn listed_policies() {
    let mut catalog = Catalog::built_in();
    for (id, mode) in [("policy.z", TASK), ("policy.b", "*"), ("policy.B", DECISION), ("a", "ext.any")] {
        catalog = catalog.with_policy(named(id, mode)).unwrap();
    }
    let listed = |mode: &str| catalog.policies_for(mode).map(Policy::id).collect::<Vec<_>>().join(" ");
    let std = "policy.std.majority policy.std.supermajority policy.std.unanimous";
    assert_eq!(listed(""), format!("a policy.B policy.b policy.default {std} policy.z"));
    assert_eq!(listed(DECISION), format!("policy.B policy.b policy.default {std}"));
    assert_eq!(listed(TASK), "policy.b policy.default policy.z");
    assert_eq!(listed("ext.any"), "a policy.b policy.default");
    assert_eq!(listed("*"), "policy.b policy.default");
    assert_eq!(listed("ext.other"), "policy.b policy.default");
    assert_eq!(catalog.policies().count(), 8);
}

/// Persisted registrations come back without being judged again.
#[test]
fn a_policy_returns_from_storage() {
    let strange = Policy::from_history(descriptor(DECISION, 9, r#"{"voting":{"ranked":1}}"#));
    let catalog = Catalog::built_in().with_policy(strange.clone()).unwrap();
    assert_eq!(catalog.policy(strange.id()), Some(&strange));
    assert_ne!(&strange, &policy(DECISION, 3, "{}"));
}

#[test]
fn mode_registration_checks_in_order() {
    use ModeRegistryError::{
        AlreadyRegistered, BlankId, BlankVersion, NoMessageTypes, NoTerminalType, ReservedId, TerminalType,
    };
    let catalog = with(&Catalog::built_in(), "ext.taken");
    let mut bad = ModeDescriptor { mode: " ".to_owned(), ..ModeDescriptor::default() };
    type Repair = fn(&mut ModeDescriptor);
    let steps: [(ModeRegistryError, Repair); 8] = [
        (BlankId, |it| it.mode = "macp.mode.own.v1".to_owned()),
        (ReservedId("macp.mode.own.v1".to_owned()), |it| it.mode = "ext.taken".to_owned()),
        (NoMessageTypes, |it| it.message_types = vec!["Bid".to_owned()]),
        (BlankVersion, |it| it.mode_version = "1".to_owned()),
        (NoTerminalType, |it| it.terminal_message_types = vec!["Commitment".to_owned(), "Bid".to_owned()]),
        (TerminalType("Commitment".to_owned()), |it| it.message_types.push("Commitment".to_owned())),
        (TerminalType("Bid".to_owned()), |it| it.terminal_message_types.truncate(1)),
        (AlreadyRegistered("ext.taken".to_owned()), |it| it.mode = "ext.free".to_owned()),
    ];
    for (error, repair) in steps {
        assert_eq!(catalog.with_mode(bad.clone(), ModeKind::Decision), Err(error));
        repair(&mut bad);
    }
    let after = catalog.with_mode(bad.clone(), ModeKind::Decision).unwrap();
    let entry = after.mode("ext.free").unwrap();
    assert_eq!(entry.descriptor, bad);
    assert!(!entry.strict && !entry.standards_track && !entry.built_in);
    assert!(catalog.mode("ext.free").is_none());
}

#[test]
fn modes_that_cannot_go() {
    let catalog = with(&with(&Catalog::built_in(), "ext.a"), "ext.b");
    let (catalog, _) = catalog.promote_mode("ext.b", "").unwrap();
    for (id, error) in [
        (DECISION, ModeRegistryError::BuiltIn(DECISION.to_owned())),
        ("ext.b", ModeRegistryError::StandardsTrack("ext.b".to_owned())),
        ("ext.c", ModeRegistryError::Unknown("ext.c".to_owned())),
        ("", ModeRegistryError::Unknown(String::new())),
    ] {
        assert_eq!(catalog.without_mode(id), Err(error));
    }
    assert!(catalog.without_mode("ext.a").unwrap().mode("ext.a").is_none());
}

#[test]
fn promotion() {
    let catalog = with(&with(&Catalog::built_in(), "ext.a"), "ext.b");
    for (id, name, error) in [
        ("ext.c", "macp.mode.x", ModeRegistryError::Unknown("ext.c".to_owned())),
        (DECISION, "", ModeRegistryError::AlreadyPromoted(DECISION.to_owned())),
        ("ext.a", "macp.mode.a.v1", ModeRegistryError::ReservedId("macp.mode.a.v1".to_owned())),
        ("ext.a", " ", ModeRegistryError::BlankPromotedName),
        ("ext.a", "ext.b", ModeRegistryError::AlreadyRegistered("ext.b".to_owned())),
    ] {
        assert_eq!(catalog.promote_mode(id, name), Err(error), "{id} {name}");
    }
    for (name, expected) in [("", "ext.a"), ("ext.a", "ext.a"), ("std.a", "std.a")] {
        let (after, id) = catalog.promote_mode("ext.a", name).unwrap();
        assert_eq!(id, expected);
        let entry = after.mode(expected).unwrap();
        assert_eq!(entry.descriptor, mode(expected));
        assert!(entry.strict && entry.standards_track && !entry.built_in);
        assert_eq!(after.mode("ext.a").is_some(), expected == "ext.a");
        assert_eq!(after.promote_mode(expected, ""), Err(ModeRegistryError::AlreadyPromoted(id)));
        assert!(catalog.mode("ext.a").is_some_and(|it| !it.strict));
    }
}

#[test]
fn listed_modes() {
    let mut catalog = Catalog::built_in();
    for id in ["ext.z", "ext.a", "a.first", "zz.last"] {
        catalog = with(&catalog, id);
    }
    let ids = |modes: Vec<String>| modes.join(" ");
    let own: Vec<_> = ["decision", "proposal", "task", "handoff", "quorum"]
        .iter()
        .map(|name| format!("macp.mode.{name}.v1"))
        .filter(|id| catalog.mode(id).is_some())
        .collect();
    for id in ["zz.last", "a.first"] {
        catalog = catalog.promote_mode(id, "").unwrap().0;
    }
    let standard = ids(catalog.standard_modes().map(|it| it.descriptor.mode.clone()).collect());
    assert_eq!(standard, format!("{} a.first zz.last", ids(own)));
    let extensions: Vec<_> = catalog.extension_modes().map(|it| it.descriptor.mode.as_str()).collect();
    assert!(extensions.is_sorted() && extensions.contains(&"ext.a") && extensions.contains(&"ext.z"));
    assert_eq!(extensions.len() + catalog.standard_modes().count(), catalog.modes().count());
}
