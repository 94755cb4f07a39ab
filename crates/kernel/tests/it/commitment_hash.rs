//! The commitment hash: the published vectors, coverage, and what every projection has in common.

use macp_kernel::commitment_hash::{Verification, covered, hash, projection, verify};
use macp_wire::v1::{CommitmentPayload, CommitmentRef};
use proptest::prelude::*;
use prost::Message as _;

fn minimal() -> CommitmentPayload {
    CommitmentPayload {
        commitment_id: "c1".into(),
        action: "decision.approved".into(),
        authority_scope: "seam".into(),
        reason: "sealed by seam".into(),
        mode_version: "macp.mode.decision.v1".into(),
        policy_version: "1.0.0".into(),
        configuration_version: "1.0.0".into(),
        outcome_positive: true,
        supersedes: None,
    }
}

fn chained() -> CommitmentPayload {
    let supersedes = CommitmentRef { session_id: "prior-sess".into(), commitment_hash: hash(&minimal()) };
    CommitmentPayload { commitment_id: "c2".into(), supersedes: Some(supersedes), ..minimal() }
}

fn escapes() -> CommitmentPayload {
    CommitmentPayload {
        commitment_id: "c5".into(),
        action: "decision.\"appro\\ved\"".into(),
        authority_scope: "caf\u{e9}".into(),
        reason: "r\u{e9}\tsum\u{e9}\n\u{2014} na\u{ef}ve \u{1f702}".into(),
        outcome_positive: false,
        ..minimal()
    }
}

/// The vectors cmt_hash_001 to 005.
fn vectors() -> [(CommitmentPayload, &'static str); 5] {
    let empty = CommitmentPayload::default();
    let empty_reference =
        CommitmentPayload { supersedes: Some(CommitmentRef::default()), ..CommitmentPayload::default() };
    [
        (minimal(), "9f58e9d114d11860d48aa2bcb8cda458b9618b1cc8560595a802b68c4af85d41"),
        (chained(), "7cc490432ad6b25e9c19fc7c3a84f1e33abe497fca1fd5266ff0275db3650f9d"),
        (empty, "3240d1a7adb7bd9420ad5490182227ce699c9e4e465f7934885fe2ded939f32e"),
        (empty_reference, "9776c22ef165f26817f89bb456cf6bc56a659eb1561a576f6ea9a435bd3291d7"),
        (escapes(), "03f8ac2b8172958504092ce9fe5154dbcfe300fd30a350453d4e4bd715822ab2"),
    ]
}

#[test]
fn published_hashes() {
    for (payload, digits) in vectors() {
        assert_eq!(hash(&payload), format!("sha256:{digits}"));
        assert_eq!(verify(&payload.encode_to_vec(), &hash(&payload)), Verification::Match);
    }
}

#[test]
fn canonical_text() {
    assert_eq!(
        projection(&chained()).to_string(),
        concat!(
            r#"{"action":"decision.approved","authority_scope":"seam","commitment_id":"c2","#,
            r#""configuration_version":"1.0.0","mode_version":"macp.mode.decision.v1","#,
            r#""outcome_positive":true,"policy_version":"1.0.0","reason":"sealed by seam","#,
            r#""supersedes":{"commitment_hash":"#,
            r#""sha256:9f58e9d114d11860d48aa2bcb8cda458b9618b1cc8560595a802b68c4af85d41","#,
            r#""session_id":"prior-sess"}}"#
        )
    );
    let reason = "\"\\\u{8}\t\n\u{c}\r\0\u{1f}/\u{7f}\u{2028}\u{1f702}".to_owned();
    let payload = CommitmentPayload { reason, ..CommitmentPayload::default() };
    let text = projection(&payload).to_string();
    assert!(
        text.contains("\"reason\":\"\\\"\\\\\\b\\t\\n\\f\\r\\u0000\\u001f/\u{7f}\u{2028}\u{1f702}\""),
        "{text}"
    );
}

/// Vectors cmt_hash_006 to 010, and their neighbours.
#[test]
fn verification() {
    use Verification::{CannotVerify, Match, Mismatch};
    let wire = minimal().encode_to_vec();
    let claim = hash(&minimal());
    let with = |tail: &[u8]| [&wire[..], tail].concat();
    let upper = claim.to_uppercase().replace("SHA", "sha");
    let mut other = claim.clone();
    other.replace_range(claim.len() - 1.., "0");
    for (claim, outcome) in [
        (claim.as_str(), Match),
        (&other, Mismatch),
        (&upper, Mismatch),
        (claim.strip_prefix("sha256:").unwrap(), Mismatch),
        (&format!(" {claim}"), Mismatch),
        ("", Mismatch),
    ] {
        assert_eq!(verify(&wire, claim), outcome, "{claim:?}");
    }
    for (tail, what) in [
        (&[0x9a, 0x06, 0x01, b'x'][..], "unknown field 99"),
        (&[0x50, 0x01], "unknown field 10"),
        (&[0x4a, 0x02, 0x18, 0x01], "unknown field 3 in supersedes"),
        (&[0x53, 0x54], "an unknown group"),
        (&[0x0b, 0x0c], "a known field as a group"),
        (&[0x02, 0x00], "field number 0"),
        (&[0x4f], "a reserved wire type"),
        (&[0x08, 0x01], "a wrong wire type"),
        (&[0x0a, 0x05, b'x'], "a truncated field"),
        (&[0x0a, 0x01, 0xff], "text that is not UTF-8"),
    ] {
        assert_eq!(verify(&with(tail), &claim), CannotVerify, "{what}");
        assert_eq!(verify(&with(tail), "nonsense"), CannotVerify, "{what}: coverage is judged first");
    }
    assert_eq!(verify(&[], &hash(&CommitmentPayload::default())), Match, "no bytes are all defaults");
}

#[test]
fn repeated_fields_follow_protobuf() {
    let first = CommitmentPayload { action: "first".into(), ..CommitmentPayload::default() };
    let halves = [
        CommitmentRef { session_id: "s".into(), ..CommitmentRef::default() },
        CommitmentRef { commitment_hash: "h".into(), ..CommitmentRef::default() },
    ];
    let mut wire = first.encode_to_vec();
    wire.extend(minimal().encode_to_vec());
    for half in &halves {
        let part = CommitmentPayload { supersedes: Some(half.clone()), ..CommitmentPayload::default() };
        wire.extend(part.encode_to_vec());
    }
    let whole = CommitmentRef { session_id: "s".into(), commitment_hash: "h".into() };
    assert_eq!(covered(&wire), Some(CommitmentPayload { supersedes: Some(whole), ..minimal() }));
}

fn any_payload() -> impl Strategy<Value = CommitmentPayload> {
    let reference = (any::<String>(), any::<String>())
        .prop_map(|(session_id, commitment_hash)| CommitmentRef { session_id, commitment_hash });
    (prop::collection::vec(any::<String>(), 7), any::<bool>(), prop::option::of(reference)).prop_map(
        |(texts, outcome_positive, supersedes)| {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().unwrap();
            CommitmentPayload {
                commitment_id: text(),
                action: text(),
                authority_scope: text(),
                reason: text(),
                mode_version: text(),
                policy_version: text(),
                configuration_version: text(),
                outcome_positive,
                supersedes,
            }
        },
    )
}

proptest! {
    #[test]
    fn every_payload_verifies_against_its_own_hash(payload in any_payload(), other in any_payload()) {
        let wire = payload.encode_to_vec();
        prop_assert_eq!(covered(&wire), Some(payload.clone()));
        prop_assert_eq!(verify(&wire, &hash(&payload)), Verification::Match);
        prop_assert_eq!(hash(&payload) == hash(&other), payload == other);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = covered(&bytes);
    }
}
